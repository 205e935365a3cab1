"""Runs a .net file on lava-dl 0.6.0's importer netx. A script for Python 3.10, in its own environment.

    python worker_netx.py FOLDER NUMBER WORKERS

does the jobs FOLDER/job-NUMBER, FOLDER/job-(NUMBER + WORKERS)...: loads network.net there, feeds it input.safetensors,
whose header says which neurons are which, and writes trace.safetensors. All else is as in worker.py beside it.

lava-dl imports PyTorch, 5.6 GB with CUDA, for two things that no Program has: the decays of resonate-and-fire neurons,
and modules that run outside Lava. Where PyTorch is not installed, these are left out; the rest is lava-dl's own.
"""

import importlib.util
import json
import os
import sys
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from worker import Array, begin, read, to_lava  # type: ignore[import-not-found]


def _no_rf(*ignored: Any) -> None:
    raise RuntimeError("resonate-and-fire neurons need PyTorch")


def leave_out_torch() -> None:
    """Put empty modules in place of those of lava-dl that import PyTorch."""
    package = "lava.lib.dl."
    here = importlib.util.find_spec(package + "netx")
    for name in ("slayer", "slayer.neuron", "slayer.neuron.rf", "netx.sequential_modules"):
        module = sys.modules[package + name] = ModuleType(package + name)
        # Lava looks for process models in the folder of every module of netx.
        module.__file__ = here.origin if here is not None else None
    sys.modules[package + "slayer.neuron.rf"].neuron_params = _no_rf  # type: ignore[attr-defined]


def variables(neurons: Any) -> dict[str, Any]:
    """Return u, v and bias of a layer's neurons; sigma-delta ones have sigma and their activation instead."""
    if hasattr(neurons, "bias_mant"):
        return {"u": neurons.u, "v": neurons.v, "bias": neurons.bias_mant}
    return {"u": neurons.sigma, "v": getattr(neurons, "act", neurons.sigma), "bias": getattr(neurons, "bias", None)}


class Runner:
    """A loaded file, through which samples pass one after another without a gap.

    Where a layer has loops, what it sends last would reach the next sample, and nothing resets sigma-delta neurons:
    then there is one sample only, and biases are held back until a layer's window starts, so that nothing fires before
    its sample is there.

    Args:
        path: of the .net file.
        layout: message_bits, whether there are loops (or delays that outlast a sample), how many of the file's layers
            are loaded (None: all), and for each layer depth, shape, members, and transform where the input is
            bias-coded: what a message is multiplied by and the bias, or "file" for those of the file.
        inputs: messages (time, samples, ...).
    """

    def __init__(self, path: str, layout: dict[str, Any], inputs: Array) -> None:
        from lava.lib.dl.netx.hdf5 import Network
        from lava.proc.io.source import RingBuffer

        self.steps, self.samples = inputs.shape[:2]
        self.layers, self.loops = layout["layers"], layout["loops"]
        self.total = self.steps * self.samples + self.layers[-1]["depth"]
        first = self.layers[0]
        self.coded = first["transform"] is not None
        # The importer counts reset offsets on from this one, by a step a layer; Lava's first step is 1.
        self.net = Network(
            net_config=path,
            num_layers=layout["only"],
            input_message_bits=layout["message_bits"],
            reset_interval=self.steps,
            reset_offset=0 if self.coded else 1,
        )
        self.net.net_config.f.close()
        self.neurons = [layer.neuron for layer in self.net.layers]
        self.infos = self.layers if self.coded else self.layers[1:]
        for info, neurons in zip(self.infos, self.neurons, strict=True):
            # Delays shift the layers behind them; the importer's documentation says to set the neurons' own parameter.
            neurons.proc_params.overwrite("reset_offset", info["depth"] + 1)
        stream = np.moveaxis(inputs, 1, 0).reshape(self.steps * self.samples, *first["shape"])
        shape = tuple(self.net.in_layer.inp.shape)
        # A RingBuffer starts over when its data end, so silence lasts to the end of the run.
        data = np.zeros((self.total, *shape), np.int32)
        data[: len(stream)] = stream.reshape(-1, *shape) if len(shape) == 1 else to_lava(stream, len(first["shape"]))
        self.data = data
        if self.coded and not hasattr(self.neurons[0], "bias_mant"):
            weight, bias = self._transform()
            RingBuffer(data=np.moveaxis(data * weight + bias, 0, -1)).s_out.connect(self.neurons[0].a_in)
        if not self.coded:
            RingBuffer(data=np.moveaxis(data, 0, -1)).s_out.connect(self.net.inp)

    def _transform(self) -> tuple[int, int]:
        """Return what a message of bias-coded input is multiplied by, and what is added."""
        given, own = self.layers[0]["transform"], self.net.in_layer.transform
        return (own["weight"], own["bias"]) if given == "file" else given

    def _changes(self) -> dict[int, list[tuple[Any, Array]]]:
        """Return at which steps which biases are set to what: bias-coded input, and biases held back."""
        changes: dict[int, list[tuple[Any, Array]]] = {}
        if self.coded and hasattr(self.neurons[0], "bias_mant"):
            weight, offset = self._transform()
            biases = self.data * weight + offset
            for t in range(self.total):
                if t == 0 or (biases[t] != biases[t - 1]).any():
                    changes.setdefault(t, []).append((self.neurons[0].bias_mant, biases[t]))
        if self.loops:
            for info, neurons in zip(self.infos, self.neurons, strict=True):
                own = variables(neurons)["bias"]
                bias = None if own is None else np.broadcast_to(own.init, own.shape)
                if info["depth"] and bias is not None and bias.any():
                    changes.setdefault(0, []).append((own, np.zeros_like(bias)))
                    changes.setdefault(info["depth"], []).append((own, bias))
        return changes

    def run(self) -> None:
        """Run to the end; stop where biases change, to set them."""
        from lava.magma.core.run_conditions import RunSteps
        from lava.magma.core.run_configs import Loihi2SimCfg

        # Without the tag Lava silently picks the floating-point models.
        config = Loihi2SimCfg(select_tag="fixed_pt")
        changes = self._changes()
        stops = sorted({0, *changes})
        for now, then in zip(stops, [*stops[1:], self.total], strict=True):
            for variable, value in changes.get(now, []):
                if now:
                    variable.set(np.ascontiguousarray(value))
                else:
                    variable.init = value
            self.net.run(condition=RunSteps(num_steps=then - now), run_cfg=config)

    def observe(self, states: bool, membranes: list[str]) -> dict[str, Array]:
        """Run, and return what every population did, (time, samples, ...) in its own window.

        Args:
            states: whether u and v of every population are wanted beside the spikes.
            membranes: populations of which v is wanted in any case.
        """
        from lava.proc.monitor.process import Monitor

        probes = {}
        for index, (info, neurons) in enumerate(zip(self.infos, self.neurons, strict=True)):
            wanted = {"spikes": neurons.s_out}
            if states or any(member["name"] in membranes for member in info["members"]):
                wanted |= {what: variables(neurons)[what] for what in ("uv" if states else "v")}
            for what, target in wanted.items():
                probes[index, what] = Monitor()
                probes[index, what].probe(target, self.total)
        self.run()
        found = {}
        for (index, what), monitor in probes.items():
            ((values,),) = [list(parts.values()) for parts in monitor.get_data().values()]
            info = self.infos[index]
            window = values[info["depth"] : info["depth"] + self.steps * self.samples]
            exact = np.rint(window).astype(np.int32)
            if (exact != window).any():
                raise RuntimeError(f"monitor of {what} of layer {index} returned non-integers")
            flat = to_lava(exact, len(info["shape"])).reshape(self.samples, self.steps, -1)
            for member in info["members"]:
                if not member["relay"]:
                    size = int(np.prod(member["shape"]))
                    part = flat[:, :, member["start"] : member["start"] + size]
                    by_sample = np.moveaxis(part, 1, 0).reshape(self.steps, self.samples, *member["shape"])
                    found[f"{what}/{member['name']}"] = np.ascontiguousarray(by_sample)
        self.net.stop()
        return found


def run(folder: str) -> None:
    """Run the file in ``folder`` on its input and write the trace."""
    job, settings = read(os.path.join(folder, "input.safetensors"))
    inputs, layout = job["input"], settings["layout"]
    at_once = 1 if layout["loops"] else inputs.shape[1]
    parts = [
        Runner(os.path.join(folder, "network.net"), layout, inputs[:, start : start + at_once]).observe(
            settings["states"], settings["membranes"]
        )
        for start in range(0, inputs.shape[1], at_once)
    ]
    out = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
    path = os.path.join(folder, "trace.safetensors")
    save_file(out, path + ".part", metadata={"spikeproof": json.dumps({"kind": "trace"})})
    os.replace(path + ".part", path)


def main(folder: str, number: int, workers: int) -> None:
    """Do every job of this worker."""
    if importlib.util.find_spec("torch") is None:
        leave_out_torch()
    import lava.lib.dl.netx.hdf5  # noqa: F401  (slow: the time limit for starting ends here)

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
