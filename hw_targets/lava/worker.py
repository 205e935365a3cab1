"""Runs a Program on lava-nc 0.10.0. A script for Python 3.10, in Lava's own environment: it imports no spikeproof.

    python worker.py FOLDER

reads FOLDER/program.safetensors and FOLDER/input.safetensors, writes FOLDER/trace.safetensors and, while it works,
FOLDER/ready once Lava is imported. Its standard input is a pipe to its parent: when that closes, the worker ends its
whole process group, so nothing is left behind even if the parent is killed.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, np.dtype[Any]]


def end_with_parent() -> None:
    """Kill this process group once standard input reaches its end."""
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def read(path: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return (arrays, header) of a spikeproof file."""
    with safe_open(path, "np") as file:
        return load_file(path), json.loads(file.metadata()["spikeproof"])


def to_lava(array: Array, axes: int) -> Array:
    """Move (..., C, H, W) to Lava's (..., W, H, C); other shapes stay.

    Args:
        array: any array.
        axes: number of dimensions of one population.
    """
    return np.swapaxes(array, -1, -3) if axes == 3 else array


def flat_order(shape: Sequence[int]) -> Array:
    """Return, for each position in Lava's flattened (W, H, C), the index in PyTorch's flattened (C, H, W)."""
    return to_lava(np.arange(int(np.prod(shape))).reshape(shape), len(shape)).ravel()


def kernel(weight: Array) -> Array:
    """Turn PyTorch's (O, I, H, W) cross-correlation kernel into Lava's (O, W, H, I) convolution kernel."""
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))


def unrolled(weight: Array, synapse: dict[str, Any], source: Sequence[int], target: Sequence[int]) -> Any:
    """Return a convolution as a sparse matrix (target neurons, source neurons), both flattened (C, H, W)."""
    from scipy.sparse import coo_matrix

    (_, height, width), (_, rows, columns) = source, target
    per_group, groups = weight.shape[1], synapse["groups"]
    o, i, ky, kx, y, x = np.meshgrid(
        *(np.arange(n) for n in (*weight.shape, rows, columns)), indexing="ij", sparse=False
    )
    sy = y * synapse["stride"][0] + ky * synapse["dilation"][0] - synapse["padding"][0]
    sx = x * synapse["stride"][1] + kx * synapse["dilation"][1] - synapse["padding"][1]
    inside = (sy >= 0) & (sy < height) & (sx >= 0) & (sx < width)
    channel = i + o // (weight.shape[0] // groups) * per_group
    to = ((o * rows + y) * columns + x)[inside]
    start = ((channel * height + sy) * width + sx)[inside]
    values = np.broadcast_to(weight[:, :, :, :, None, None], o.shape)[inside]
    matrix = coo_matrix((values, (to, start)), shape=(int(np.prod(target)), int(np.prod(source))))
    # Two taps never meet at one pair of neurons unless stride or dilation is 0, which a Program excludes.
    return matrix.tocsr()


def build(
    program: dict[str, Any], arrays: dict[str, Array], inputs: Array
) -> tuple[Any, dict[str, Any], dict[str, int]]:
    """Make Lava processes for a Program; return (source, populations by name, depths by name)."""
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIFReset
    from lava.proc.sparse.process import Sparse
    from lava.utils.weightutils import SignMode

    steps, samples = inputs.shape[:2]
    shapes = {program["input"]["name"]: program["input"]["shape"]}
    depths = {program["input"]["name"]: 0}
    signs = {"mixed": SignMode.MIXED, "excitatory": SignMode.EXCITATORY, "inhibitory": SignMode.INHIBITORY}

    # Samples follow one another without a gap; silence lets the last one pass through all stages.
    latency = len(program["populations"])
    stream = np.moveaxis(inputs, 1, 0).reshape(steps * samples, *inputs.shape[2:])
    stream = np.concatenate([stream, np.zeros((latency, *stream.shape[1:]), stream.dtype)])
    source = RingBuffer(data=np.moveaxis(to_lava(stream, inputs.ndim - 2), 0, -1).astype(np.int32))
    ports = {program["input"]["name"]: source.s_out}
    made = {}
    for population in program["populations"]:
        name, shape = population["name"], population["shape"]
        shapes[name] = shape
        incoming = [(i, s) for i, s in enumerate(program["synapses"]) if s["target"] == name]
        depths[name] = depths[incoming[0][1]["source"]] + 1
        made[name] = LIFReset(
            shape=tuple(reversed(shape)) if len(shape) == 3 else tuple(shape),
            du=population["du"],
            dv=population["dv"],
            vth=population["vth"],
            bias_mant=to_lava(arrays["bias/" + name], len(shape)),
            bias_exp=population["bias_exponent"],
            # Lava counts steps from 1, and each synapse on the way costs one.
            reset_interval=steps,
            reset_offset=depths[name] + 1,
        )
        ports[name] = made[name].s_out
        for index, synapse in incoming:
            weight = arrays[f"weight/{index}"].astype(np.int64)
            start, end = shapes[synapse["source"]], shape
            message = program["input"]["message_bits"] if synapse["source"] == program["input"]["name"] else 0
            common = {
                "num_weight_bits": synapse["bits"],
                "num_message_bits": message,
                "weight_exp": synapse["exponent"],
            }
            if synapse["kind"] == "convolution" and synapse["exponent"] == 0:
                wires = Conv(
                    weight=kernel(weight),
                    input_shape=tuple(reversed(start)),
                    stride=tuple(reversed(synapse["stride"])),
                    padding=tuple(reversed(synapse["padding"])),
                    dilation=tuple(reversed(synapse["dilation"])),
                    groups=synapse["groups"],
                    **common,
                )
                ports[synapse["source"]].connect(wires.s_in)
                wires.a_out.connect(made[name].a_in)
                continue
            order, rows = flat_order(start), flat_order(end)
            if synapse["kind"] == "convolution":
                # Conv ignores weight_exp; the same connections as a Sparse synapse do not.
                weight, kind = unrolled(weight, synapse, start, end), Sparse
            else:
                kind = Dense
            wires = kind(weights=weight[rows][:, order], sign_mode=signs[synapse["sign"]], **common)
            port = ports[synapse["source"]]
            (port.flatten() if len(start) == 3 else port).connect(wires.s_in)
            (wires.a_out.reshape(made[name].a_in.shape) if len(end) == 3 else wires.a_out).connect(made[name].a_in)
    return source, made, depths


def run(folder: str) -> None:
    """Run the Program in ``folder`` on its input and write the trace."""
    arrays, header = read(os.path.join(folder, "program.safetensors"))
    job, settings = read(os.path.join(folder, "input.safetensors"))
    inputs, states = job["input"], settings["states"]

    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.monitor.process import Monitor

    open(os.path.join(folder, "ready"), "w").close()
    steps, samples = inputs.shape[:2]
    source, made, depths = build(header["program"], arrays, inputs)
    total = steps * samples + max(depths.values())
    probes = {}
    for name, process in made.items():
        observed = {"spikes": process.s_out}
        if states:
            observed.update(u=process.u, v=process.v)
        for what, target in observed.items():
            probes[name, what] = (Monitor(), process.name, what)
            probes[name, what][0].probe(target, total)
    # Without the tag Lava silently picks the floating-point models.
    source.run(condition=RunSteps(num_steps=total), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    out = {}
    for (name, what), (monitor, process, _) in probes.items():
        ((values),) = [v for k, v in monitor.get_data()[process].items()]
        values = values[depths[name] : depths[name] + steps * samples]
        values = to_lava(values, values.ndim - 1).reshape(samples, steps, *to_lava(values, values.ndim - 1).shape[1:])
        exact = np.rint(values).astype(np.int32)
        if (exact != values).any():
            raise RuntimeError(f"monitor of {what} of {name} returned non-integers")
        out[f"{what}/{name}"] = np.ascontiguousarray(np.moveaxis(exact, 0, 1))
    source.stop()
    path = os.path.join(folder, "trace.safetensors")
    save_file(out, path + ".part", metadata={"spikeproof": json.dumps({"kind": "trace"})})
    os.replace(path + ".part", path)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    run(sys.argv[1])
    # Lava may leave helper processes and threads that wait for ever; the answer is on disk.
    sys.stdout.flush()
    os._exit(0)
