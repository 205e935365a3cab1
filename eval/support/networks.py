"""Networks from elsewhere on the whole road, found by walking it: each step of each network is done, or refused."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...export.nir.dynamics import ORIGINS
from ...export.program import Program
from ...hw_targets.target import get_target
from ...toolkit.data import Dataset
from ...toolkit.errors import InputError, SpikeproofError, UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from ..face.adaptation import adapt
from ..face.adopt import adopt
from ..face.conversion import convert
from ..face.measures import explain, fit, robustness
from ..face.networks import attack, load_data, lower, quantize
from ..measure.forms import Deployed, Forms
from ..run.adapt import adapt as adapt_run
from ..run.bring import import_program
from ..run.folder import Run
from ..run.steps import export as export_run
from ..run.steps import quantize as quantize_run
from .asked import Answer
from .constructs import markdown
from .foreign import FOREIGN, STEPS, ready

STEPS_OF_THE_ROAD = ("adopted", "attacked", "adapted", "fine-tuned", "exported", "simulated", "explained", "placed")
EXPORTED = {"nir": "zero", "norse": "zero", "sinabs": "zero", "snntorch": "zero", "spikingjelly": "zero"}
"""Resets of the NIR files that stand for their frameworks here."""


def samples() -> Dataset:
    """Return the digits on which networks walk the road: few, for the steps are what is tried, not the accuracy."""
    return load_data("digits", train_samples=128, test_samples=40)


def _file(origin: str) -> nir.NIRGraph:
    """Return a graph of the neurons that a framework exports, in its units: dense layers, LIF and IF."""
    random, dt = np.random.default_rng(3), ORIGINS[origin].dt

    def cells(size: int) -> nir.NIRNode:
        ones = np.ones(size)
        tau = 5 * dt * ones
        return nir.LIF(tau=tau, r=tau / dt, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)

    nodes = {
        "input": nir.Input({"input": np.array([1, 8, 8])}),
        "flat": nir.Flatten({"input": np.array([1, 8, 8])}, 0, -1),
        "first": nir.Affine(random.normal(size=(20, 64)) / 3, random.normal(size=20) / 9),
        "cells": cells(20),
        "second": nir.Linear(random.normal(size=(10, 20))),
        "last": cells(10),
        "output": nir.Output({"output": np.array([10])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(names)))


def _relu() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)
        ).eval()


def _adopted(name: str) -> Callable[[Dataset], SpikingNetwork]:
    def make(data: Dataset) -> SpikingNetwork:
        row = FOREIGN[name]
        images = data.test_images.reshape(len(data.test_images), -1) if row.flat else data.test_images
        return adopt(ready(name), images, **row.options).network

    return make


def _from_nir(origin: str) -> Callable[[Dataset], SpikingNetwork]:
    def make(data: Dataset) -> SpikingNetwork:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "theirs.nir"
            nir.write(str(path), _file(origin))
            told: dict[str, Any] = {"settings": origin, "reset": EXPORTED[origin], "one_spike": origin == "sinabs"}
            return adopt(path, data.test_images, steps=STEPS, **told).network

    return make


def _converted(data: Dataset) -> SpikingNetwork:
    return convert(_relu(), data, steps=STEPS).network


def _slayer(path: Path) -> None:
    """Write a file as lava-dl's networks write themselves: images as biases, a convolution, 10 classes, 4 steps."""
    import h5py

    random = np.random.default_rng(8)
    cells = {"iDecay": 4096, "vDecay": 1024, "vThMant": 40, "refDelay": 1, "type": b"CUBA", "gradedSpike": False}
    image: dict[str, Any] = {"shape": [1, 8, 8], "weight": np.full(1, 64, np.float32), "bias": np.zeros(1, np.float32)}
    conv: dict[str, Any] = {
        "shape": [4, 3, 3],
        "weight": (2 * random.integers(-9, 13, (4, 1, 3, 3, 1))).astype(np.float32),
    }
    conv |= {"stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    dense: dict[str, Any] = {"shape": [10, 1, 1], "weight": (2 * random.integers(-9, 13, (10, 36))).astype(np.float32)}
    with h5py.File(path, "w") as file:
        file["layer/2/type"] = b"flatten"
        for index, kind, fields in ((0, b"input", image), (1, b"conv", conv), (3, b"dense", dense)):
            file[f"layer/{index}/type"] = kind
            for name, value in (fields | {f"neuron/{name}": value for name, value in cells.items()}).items():
                file[f"layer/{index}/{name}"] = value
        file["simulation/tSample"] = STEPS


LAVA_DL = ("lava-dl", "a .net file of CUBA neurons, imported")
"""A Program from the start: it takes the steps that need no float network."""
NETWORKS: dict[tuple[str, str], Callable[[Dataset], SpikingNetwork]] = {
    **{(row.framework, name): _adopted(name) for name, row in FOREIGN.items()},
    **{("NIR", f"a file of {origin}'s neurons"): _from_nir(origin) for origin in EXPORTED},
    ("PyTorch", "a CNN of ReLU, converted"): _converted,
}
"""Networks by framework and name, adopted or converted on samples."""


def walk(framework: str, name: str, data: Dataset) -> list[Answer]:
    """Return for every step of the road why a network cannot take it, "" where it did.

    Args:
        framework: of the network.
        name: of :data:`NETWORKS`, or :data:`LAVA_DL`.
        data: from :func:`samples`.
    """
    done: dict[str, str] = {}
    about = f"{framework}: {name}"

    def take(step: str, do: Callable[[], Any]) -> Any:
        try:
            found = do()
        except SpikeproofError as error:
            done[step] = str(error)
            return None
        done[step] = ""
        return found

    if (framework, name) == LAVA_DL:
        _brought(data, take)
        return [Answer(about, step, done[step]) for step in STEPS_OF_THE_ROAD]
    network = take("adopted", lambda: NETWORKS[framework, name](data))
    if network is not None:
        take("attacked", lambda: attack(network, data, "fgsm", samples=8, epsilon=8 / 255))
        fitting = take("adapted", lambda: adapt(network, data, samples=20).network)
        if fitting is not None:
            _deploy(fitting, data, take)
    missing = "the step before was refused"
    return [Answer(about, step, done.get(step, missing)) for step in STEPS_OF_THE_ROAD]


def _brought(data: Dataset, take: Callable[[str, Callable[[], Any]], Any]) -> None:
    """Take the steps of a Program from elsewhere; what needs a float network is asked for, and refused."""
    with TemporaryDirectory() as folder:
        file, images = Path(folder) / "theirs.net", Path(folder) / "samples.npz"
        _slayer(file)
        np.savez(images, x=data.test_images, y=data.test_labels)
        run = Run(Path(folder) / "RUN")
        take("adopted", lambda: import_program(file, images, run.folder))
        deployed = Deployed(run.deployed().program, run.coder())
        take("attacked", lambda: robustness(deployed, data, "quick", samples=8))
        take("simulated", lambda: _same(deployed.program, deployed.coder.integers(data.test_images[:8])))
        take("explained", lambda: explain(deployed, data, samples=8, lava=False))
        take("placed", lambda: _place(deployed.program))
        steps: dict[str, Callable[[], Any]] = {
            "adapted": lambda: adapt_run(run, Path(folder) / "NEW"),
            "fine-tuned": lambda: quantize_run(run),
            "exported": lambda: export_run(run),
        }
        for name, step in steps.items():
            take(name, functools.partial(_told, step, folder))


def _told(step: Callable[[], Any], folder: str) -> Any:
    """Take a step of a run; its reason names the run, not where it lay."""
    try:
        return step()
    except InputError as error:
        raise InputError(str(error).replace(f"{folder}/", "")) from error


def _deploy(network: SpikingNetwork, data: Dataset, take: Callable[[str, Callable[[], Any]], Any]) -> None:
    """Take the steps to the chip with a network whose neurons exist there."""
    tuned = take("fine-tuned", lambda: quantize(network, data, epochs=1))
    if tuned is None:
        return
    program = take("exported", lambda: lower(tuned, data.shape, check=data.test_images[:8]))
    if program is not None:
        take("simulated", lambda: _same(program, tuned.coder.integers(data.test_images[:8])))
        forms = Forms(network, tuned, program)
        take("explained", lambda: explain(forms, data, samples=8, lava=False, layers=False))
        take("placed", lambda: _place(program))


def _place(program: Program) -> None:
    """Place a Program on Loihi 2.

    Raises:
        UnsupportedError: it does not fit, with the reasons.
    """
    record = fit(program, "loihi2").record
    if record.verdict == "refused":
        raise UnsupportedError("; ".join(record.reasons))


def _same(program: Program, messages: NDArray[np.int32]) -> None:
    """Check that targets agree on every spike.

    Raises:
        UnsupportedError: they do not.
    """
    traces = [get_target(name).compile(program).run(messages) for name in ("loihi", "onnx")]
    for name, counts in traces[0].spike_counts.items():
        if not np.array_equal(counts, traces[1].spike_counts[name]):
            raise UnsupportedError(f"onnx gives other spikes than loihi in population {name!r}")


def page(answers: list[Answer]) -> str:
    """Return docs/networks.md."""
    return f"""# Networks from elsewhere, step by step

Made by `spikeproof support --networks --markdown`, which takes every one of these networks the whole road: it is
adopted and proven equal spike for spike (or converted), attacked in float, adapted to what the chip has, fine-tuned
for an epoch on the grid of 8-bit weights, exported over NIR (whose graph is read back and executed), run on `loihi`
and `onnx`, explained, and placed on Loihi 2. They are in `eval/support/foreign.py`;
`tests/eval/support/test_networks.py` walks the same road. What is tried is the step, on 40 digits and untrained
weights, not the accuracy. "A file of a framework's neurons" is one graph of LIF neurons in that framework's units,
not a file that it wrote. [Bring your own network](adopt.md), [adapt it](adapt.md) and [convert one](convert.md) say
more. A file of lava-dl comes in by [`import`](import.md), as a Program without a float network: it is attacked through
its twin, and the steps that change or make a network are refused.

{markdown(answers)}"""


def roads(data: Dataset | None = None) -> list[Answer]:
    """Return the answers of every network that is here; frameworks that are not installed say so."""
    data = data or samples()
    found = []
    for framework, name in (*NETWORKS, LAVA_DL):
        try:
            found += walk(framework, name, data)
        except ModuleNotFoundError as error:
            reason = f"{error.name} is not installed here"
            found += [Answer(f"{framework}: {name}", step, reason) for step in STEPS_OF_THE_ROAD]
    return found
