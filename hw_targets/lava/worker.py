"""Runs a Program on lava-nc 0.10.0. A script for Python 3.10, in Lava's own environment: it imports no spikeproof.

    python worker.py FOLDER NUMBER WORKERS

does the jobs FOLDER/job-NUMBER, FOLDER/job-(NUMBER + WORKERS)...: reads program.safetensors and input.safetensors there
and writes trace.safetensors. It makes FOLDER/ready-NUMBER once Lava is imported. Its standard input is a pipe to its
parent: when that closes, a guardian ends the worker's whole process group and removes what that leaves behind.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import shared_memory
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, np.dtype[Any]]


SEGMENTS = "/dev/shm"
PATIENCE = 5.0
"""Seconds that killed processes may take to be gone."""


def name_segments(folder: str) -> None:
    """Let all shared memory of this process and of those that it forks be called after the job folder."""
    prefix = f"/{os.path.basename(folder)}-"
    # Python has no public way to choose the names that a SharedMemoryManager gives.
    shared_memory._make_filename = lambda: prefix + secrets.token_hex(8)  # type: ignore[attr-defined]


def guard(folder: str) -> None:
    """Fork a guardian that outlives this process group: what kills a group leaves it no time to clean up.

    Once standard input reaches its end, the guardian kills the group and removes its shared memory and the job folder.
    """
    group = os.getpgrp()
    if os.fork():
        return
    os.setsid()
    while os.read(0, 1024):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.01)
    prefix = os.path.basename(folder) + "-"
    for name in os.listdir(SEGMENTS):
        if name.startswith(prefix):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(SEGMENTS, name))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def begin(folder: str) -> None:
    """Make sure that nothing is left of this worker, however it ends; before it imports anything that makes memory."""
    if os.path.isdir(SEGMENTS):
        name_segments(folder)
        guard(folder)
    else:
        threading.Thread(target=end_with_parent, daemon=True).start()


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
    """Move (..., C, H, W) to Lava's (..., W, H, C), and back; populations of one axis stay.

    Args:
        array: any array.
        axes: number of axes of one population.
    """
    return np.swapaxes(array, -1, -3) if axes == 3 else array


def flat_places(shape: Sequence[int]) -> Array:
    """Return the place in Lava's flattened (W, H, C) of each neuron of PyTorch's flattened (C, H, W)."""
    order = to_lava(np.arange(int(np.prod(shape))).reshape(shape), len(shape)).ravel()
    return np.argsort(order)


def kernel(weight: Array) -> Array:
    """Turn PyTorch's (O, I, H, W) cross-correlation kernel into Lava's (O, W, H, I) convolution kernel."""
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))


def unrolled(weight: Array, synapse: dict[str, Any], source: Sequence[int], target: Sequence[int]) -> tuple[Array, ...]:
    """Return a convolution's connections: target neuron, source neuron (both flattened (C, H, W)), weight."""
    (_, height, width), (_, rows, columns) = source, target
    per_group, groups = weight.shape[1], synapse["groups"]
    o, i, ky, kx, y, x = np.meshgrid(*(np.arange(n) for n in (*weight.shape, rows, columns)), indexing="ij")
    sy = y * synapse["stride"][0] + ky * synapse["dilation"][0] - synapse["padding"][0]
    sx = x * synapse["stride"][1] + kx * synapse["dilation"][1] - synapse["padding"][1]
    inside = (sy >= 0) & (sy < height) & (sx >= 0) & (sx < width)
    channel = i + o // (weight.shape[0] // groups) * per_group
    to = ((o * rows + y) * columns + x)[inside]
    start = ((channel * height + sy) * width + sx)[inside]
    return to, start, np.broadcast_to(weight[:, :, :, :, None, None], o.shape)[inside]


def connections(
    arrays: dict[str, Array], index: int, synapse: dict[str, Any], source: Sequence[int], target: Sequence[int]
) -> tuple[Array, ...]:
    """Return a synapse's connections: target neuron, source neuron (both flattened (C, H, W)), weight."""
    weight = arrays[f"weight/{index}"].astype(np.int64)
    if synapse["kind"] == "sparse":
        return arrays[f"rows/{index}"], arrays[f"columns/{index}"], weight
    if synapse["kind"] == "convolution":
        return unrolled(weight, synapse, source, target)
    to, start = (grid.ravel() for grid in np.indices(weight.shape))
    return to, start, weight.ravel()


def fits_conv(arrays: dict[str, Array], index: int, synapse: dict[str, Any]) -> bool:
    """Return whether Lava's Conv, which keeps its geometry in 8 bits, can hold a convolution's."""
    fields = [*arrays[f"weight/{index}"].shape[2:], *synapse["stride"], *synapse["padding"], *synapse["dilation"]]
    return bool(max([*fields, synapse["groups"]]) <= 127)


def forward(program: dict[str, Any], synapse: dict[str, Any]) -> bool:
    """Return whether a synapse points forward in the order of populations."""
    order = [program["input"]["name"], *(population["name"] for population in program["populations"])]
    return order.index(synapse["source"]) < order.index(synapse["target"])


def depths(program: dict[str, Any]) -> dict[str, int]:
    """Return when each population's window starts: what it says, else the shortest forward path, delays included."""
    found = {program["input"]["name"]: 0}
    for population in program["populations"]:
        incoming = [s for s in program["synapses"] if s["target"] == population["name"] and forward(program, s)]
        shortest = min((found[s["source"]] + 1 + s["delay"] for s in incoming), default=0)
        found[population["name"]] = population.get("start", shortest)
    return found


def lagging(program: dict[str, Any]) -> bool:
    """Return whether anything is left for the next sample: late messages, or neurons that Lava does not reset."""
    found = depths(program)
    late = any(found[s["source"]] + 1 + s["delay"] > found[s["target"]] for s in program["synapses"])
    return late or any(population.get("kind") == "sigma_delta" for population in program["populations"])


class Network:
    """A Program as Lava processes, through which samples pass one after another without a gap.

    Each population resets itself when its next sample arrives (LIFReset, staggered by its depth). Where messages lag
    behind their sample (delays, longer paths, recurrence), what is still under way would reach the next sample, and
    sigma-delta neurons have no reset: such a Program runs one sample at a time, and biases are set only when a
    population's window starts, so that nothing fires before its sample is there.
    """

    def __init__(self, program: dict[str, Any], arrays: dict[str, Array], inputs: Array) -> None:
        self.program, self.arrays, self.inputs = program, arrays, inputs
        self.steps, self.samples = inputs.shape[:2]
        self.input = program["input"]["name"]
        self.shapes = {self.input: program["input"]["shape"]}
        self.bits = {self.input: program["input"]["message_bits"]}
        for population in program["populations"]:
            self.shapes[population["name"]] = population["shape"]
            # Lava asks only whether messages are more than spikes.
            self.bits[population["name"]] = population.get("message_bits", 32 * ("kind" in population))
        self.depths = depths(program)
        self.lagging = lagging(program)
        self.total = self.steps * self.samples + max(self.depths.values())
        self.sources: dict[int, Any] = {}
        self.made: dict[str, Any] = {}
        self.biases: dict[str, dict[int, Array]] = {}
        self.states: dict[str, dict[str, Any]] = {}
        for population in program["populations"]:
            self.made[population["name"]] = self._made(population)
        for index, synapse in enumerate(program["synapses"]):
            self._connect(index, synapse)

    def _made(self, population: dict[str, Any]) -> Any:
        """Return the process of a population; note its biases over time, and what of it is u and v."""
        from lava.proc.graded.process import GradedReluVec
        from lava.proc.lif.process import LIFReset

        name, shape, vth = population["name"], population["shape"], population["vth"]
        if population.get("kind") == "sigma_delta":
            return self._changes(population)
        if self.bits[name]:
            return GradedReluVec(shape=tuple(reversed(shape)) if len(shape) == 3 else tuple(shape), vth=vth)
        bias = self.biases[name] = self._timeline(population)
        # Lava counts steps from 1.
        reset = {"reset_interval": self.steps, "reset_offset": self.depths[name] + 1}
        common = {"du": population["du"], "dv": population["dv"], "vth": vth, "bias_exp": population["bias_exponent"]}
        made = LIFReset(shape=bias[0].shape, bias_mant=bias[0], **common, **reset)
        self.states[name] = {"u": made.u, "v": made.v, "bias": made.bias_mant}
        return made

    def _changes(self, population: dict[str, Any]) -> Any:
        """Return the process of sigma-delta neurons: Sigma, Delta where only the host drives them, else SigmaDelta."""
        from lava.proc.io.source import RingBuffer
        from lava.proc.sdn.process import ActivationMode, Delta, Sigma, SigmaDelta

        name, biases = population["name"], self._timeline(population)
        shape, unit = biases[0].shape, population["activation"] == "unit"
        if population["sends"] == "sigma":
            sigma = Sigma(shape=shape)
            self.states[name] = {"u": sigma.sigma, "v": sigma.sigma}
            return sigma
        exponents = {"spike_exp": population["spike_exponent"], "state_exp": population["state_exponent"]}
        common = {"shape": shape, "vth": population["vth"], **exponents}
        if unit and population.get("input_bias") and all(s["target"] != name for s in self.program["synapses"]):
            made: Any = Delta(**common)
            data = np.stack([biases[max(now for now in biases if now <= t)] for t in range(self.total)], -1)
            RingBuffer(data=data).s_out.connect(made.a_in)
        else:
            made = SigmaDelta(bias=biases[0], act_mode=ActivationMode(0 if unit else 1), **common)
            self.biases[name] = {now: value << sum(exponents.values()) for now, value in biases.items()}
        self.states[name] = {"u": made.sigma, "v": made.act, "bias": getattr(made, "bias", None)}
        return made

    def _timeline(self, population: dict[str, Any]) -> dict[int, Array]:
        """Return the bias mantissas of a population, in Lava's order, from each step on at which they change."""
        bias = self.arrays["bias/" + population["name"]]
        start, axes = self.depths[population["name"]], bias.ndim
        changes = {0: np.zeros_like(bias) if self.lagging else bias, start: bias}
        if population.get("input_bias"):
            stream = np.moveaxis(self.inputs, 1, 0).reshape(-1, *bias.shape)
            changes.update({start + t: bias + x for t, x in enumerate(stream)})
        kept: dict[int, Array] = {}
        for now, value in sorted(changes.items()):
            if not kept or (value != kept[max(kept)]).any():
                kept[now] = value
        return {now: np.ascontiguousarray(to_lava(value, axes)) for now, value in kept.items()}

    def _source(self, delay: int) -> Any:
        """Return the port of the process that sends the input ``delay`` steps late."""
        from lava.proc.io.source import RingBuffer

        if delay not in self.sources:
            shape = self.inputs.shape[2:]
            stream = np.moveaxis(self.inputs, 1, 0).reshape(self.steps * self.samples, *shape)
            silence = np.zeros((self.total, *shape), stream.dtype)
            # A RingBuffer starts over when its data end, so silence lasts to the end of the run.
            data = np.concatenate([silence[:delay], stream, silence])[: self.total]
            self.sources[delay] = RingBuffer(data=np.moveaxis(to_lava(data, len(shape)), 0, -1).astype(np.int32))
        return self.sources[delay].s_out

    def _connect(self, index: int, synapse: dict[str, Any]) -> None:
        """Make one synapse: Conv or Dense where Lava has them, else the same connections as Sparse or DelaySparse."""
        from lava.proc.conv.process import Conv
        from lava.proc.dense.process import Dense
        from lava.proc.sparse.process import DelaySparse, Sparse
        from lava.utils.weightutils import SignMode
        from scipy.sparse import csr_matrix

        start, end = self.shapes[synapse["source"]], self.shapes[synapse["target"]]
        target, delay, message = self.made[synapse["target"]], synapse["delay"], self.bits[synapse["source"]]
        if synapse["source"] == self.input:
            port, delay = self._source(delay), 0
        else:
            port = self.made[synapse["source"]].s_out
        common: dict[str, Any] = {
            "num_weight_bits": synapse["bits"],
            "num_message_bits": message,
            "weight_exp": synapse["exponent"],
        }
        if (
            synapse["kind"] == "convolution"
            and synapse["exponent"] == 0
            and delay == 0
            and fits_conv(self.arrays, index, synapse)
        ):
            wires = Conv(
                weight=kernel(self.arrays[f"weight/{index}"].astype(np.int64)),
                input_shape=tuple(reversed(start)),
                stride=tuple(reversed(synapse["stride"])),
                padding=tuple(reversed(synapse["padding"])),
                dilation=tuple(reversed(synapse["dilation"])),
                groups=synapse["groups"],
                **common,
            )
            port.connect(wires.s_in)
            wires.a_out.connect(target.a_in)
            return
        signs = {"mixed": SignMode.MIXED, "excitatory": SignMode.EXCITATORY, "inhibitory": SignMode.INHIBITORY}
        common["sign_mode"] = signs[synapse["sign"]]
        to, origin, weight = connections(self.arrays, index, synapse, start, end)
        to, origin = flat_places(end)[to], flat_places(start)[origin]
        size = (int(np.prod(end)), int(np.prod(start)))
        matrix = csr_matrix((weight, (to, origin)), shape=size)
        if delay:
            late = csr_matrix((np.full(len(to), delay), (to, origin)), shape=size, dtype=int)
            wires = DelaySparse(weights=matrix, delays=late, max_delay=delay, **common)
        elif synapse["kind"] == "dense":
            wires = Dense(weights=matrix.toarray(), **common)
        else:
            # Lava's Conv knows no exponent; its Sparse does, and makes the same connections.
            wires = Sparse(weights=matrix, **common)
        (port.flatten() if len(start) == 3 else port).connect(wires.s_in)
        (wires.a_out.reshape(target.a_in.shape) if len(end) == 3 else wires.a_out).connect(target.a_in)

    def run(self, config: Any = None) -> None:
        """Run to the end; stop where a population's biases change, to set them."""
        from lava.magma.core.run_conditions import RunSteps
        from lava.magma.core.run_configs import Loihi2SimCfg

        first = next(iter(self.made.values()))
        # Without the tag Lava silently picks the floating-point models.
        config = config or Loihi2SimCfg(select_tag="fixed_pt")
        stops = sorted({now for changes in self.biases.values() for now in changes if 0 < now < self.total})
        for now, then in zip([0, *stops], [*stops, self.total], strict=True):
            for name, changes in self.biases.items():
                if now and now in changes:
                    self.states[name]["bias"].set(changes[now])
            first.run(condition=RunSteps(num_steps=then - now), run_cfg=config)

    def observe(self, states: bool, membranes: Sequence[str], config: Any = None) -> dict[str, Array]:
        """Run, and return what every population did, (time, samples, ...) in its own window.

        Args:
            states: whether u and v of every population are wanted beside the spikes.
            membranes: populations of which v is wanted in any case.
            config: where Lava runs; None: its simulator of fixed-point models.
        """
        from lava.proc.monitor.process import Monitor

        probes = {}
        for name, process in self.made.items():
            observed = {"spikes": process.s_out}
            if name in self.states and (states or name in membranes):
                observed |= {what: self.states[name][what] for what in ("uv" if states else "v")}
            for what, target in observed.items():
                probes[name, what] = Monitor()
                probes[name, what].probe(target, self.total)
        self.run(config)
        found = {}
        for (name, what), monitor in probes.items():
            ((values,),) = [list(parts.values()) for parts in monitor.get_data().values()]
            depth = self.depths[name]
            values = to_lava(values[depth : depth + self.steps * self.samples], len(self.shapes[name]))
            exact = np.rint(values).astype(np.int32)
            if (exact != values).any():
                raise RuntimeError(f"monitor of {what} of {name} returned non-integers")
            by_sample = exact.reshape(self.samples, self.steps, *self.shapes[name])
            found[f"{what}/{name}"] = np.ascontiguousarray(np.moveaxis(by_sample, 0, 1))
        next(iter(self.made.values())).stop()
        return found


def run(folder: str) -> None:
    """Run the Program in ``folder`` on its input and write the trace."""
    arrays, header = read(os.path.join(folder, "program.safetensors"))
    job, settings = read(os.path.join(folder, "input.safetensors"))
    program, inputs = header["program"], job["input"]
    at_once = 1 if lagging(program) else inputs.shape[1]
    parts = [
        Network(program, arrays, inputs[:, start : start + at_once]).observe(settings["states"], settings["membranes"])
        for start in range(0, inputs.shape[1], at_once)
    ]
    out = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
    path = os.path.join(folder, "trace.safetensors")
    save_file(out, path + ".part", metadata={"spikeproof": json.dumps({"kind": "trace"})})
    os.replace(path + ".part", path)


def main(folder: str, number: int, workers: int) -> None:
    """Do every job of this worker."""
    import lava.proc.lif.process  # noqa: F401  (slow: the time limit for starting ends here)

    open(os.path.join(folder, f"ready-{number}"), "w").close()
    job = number
    while os.path.isdir(os.path.join(folder, f"job-{job}")):
        run(os.path.join(folder, f"job-{job}"))
        job += workers


if __name__ == "__main__":
    begin(sys.argv[1])
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    # Lava may leave helper processes and threads that wait for ever; the answers are on disk.
    sys.stdout.flush()
    os._exit(0)
