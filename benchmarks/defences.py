"""Measure every defence where the design notes say what it must show: python benchmarks/defences.py --help.

Writes records/defences/METHOD.json after every cell (a variant trained from one seed) and goes on where it stopped.
What a paper claims, what we measured, and whether our own acceptance figure is met stand side by side; a gain that does
not appear is recorded so.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.eval.evaluate import gradient_sparsity
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.strong import SAPGD
from spikeproof.toolkit.attacks.victim import predict
from spikeproof.toolkit.backward import Backward
from spikeproof.toolkit.coding import Direct, Events
from spikeproof.toolkit.coding.base import Coder
from spikeproof.toolkit.config import TrainSettings, load_recipe, parse_recipe
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.defences.base import Defence
from spikeproof.toolkit.defences.neuron import opened
from spikeproof.toolkit.defences.trr import TRR
from spikeproof.toolkit.files import write_json
from spikeproof.toolkit.layers import SpikingNetwork
from spikeproof.toolkit.neurons import LIF
from spikeproof.toolkit.surrogates import AdaptiveSharpness, Spike, Surrogate
from spikeproof.toolkit.train import fit, seeded

OUT = Path(__file__).resolve().parents[1] / "records" / "defences"
SCHEMA = "spikeproof defences, version 1"
Numbers = dict[str, float]


class Rows(Coder):
    """The rows of an image, one after the other: x(t) is row t."""

    name: ClassVar[str] = "rows"

    def encode(self, images: Tensor) -> Tensor:
        """Return (rows, batch, channels, 1, width)."""
        return images.permute(2, 0, 1, 3).unsqueeze(3)


def moving_digits(seed: int, count: int, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return events of digits that move over 12x12 pixels, 6 steps of two polarities, and labels."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(labels), count)
    frames = np.zeros((count, 7, 12, 12), dtype=bool)
    for sample, index in enumerate(chosen):
        place, speed = rng.integers(0, 5, 2), rng.integers(-1, 2, 2)
        speed[rng.integers(2)] = rng.choice([-1, 1])
        for t in range(7):
            frames[sample, t, place[0] : place[0] + 8, place[1] : place[1] + 8] = images[index, 0] > 0.5
            speed = np.where((place + speed < 0) | (place + speed > 4), -speed, speed)
            place = place + speed
    on, off = frames[:, 1:] & ~frames[:, :-1], frames[:, :-1] & ~frames[:, 1:]
    return np.stack([on, off], 2).astype(np.float32), labels[chosen]


def convolutional(coder: Coder, width: int, features: int, surrogate: Surrogate | None = None) -> SpikingNetwork:
    """Return the network of the design notes: two convolutions of 16 channels, 3x3 average pools, a linear read-out."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in (1, 2):
        layers[f"conv{number}"] = nn.Conv2d(width, 16, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(16)
        layers[f"lif{number}"] = LIF(0.5, 1.0, 2.0)
        layers[f"pool{number}"] = nn.AvgPool2d(3, 2, 1)
        width = 16
    layers |= {"flatten": nn.Flatten(), "linear": nn.Linear(features, 10)}
    for layer in layers.values():
        if isinstance(layer, LIF) and surrogate is not None:
            layer.neuron.spike_grad = Spike(surrogate)
    return SpikingNetwork(layers, coder, 1.0)


def rows_network(decay: float) -> SpikingNetwork:
    """Return 64-64 LIF neurons that see one row a step."""
    layers: OrderedDict[str, nn.Module] = OrderedDict({"flatten": nn.Flatten()})
    for number, inputs in ((1, 8), (2, 64)):
        layers[f"linear{number}"] = nn.Linear(inputs, 64)
        layers[f"lif{number}"] = LIF(decay, 1.0, 2.0)
    layers["linear"] = nn.Linear(64, 10)
    return SpikingNetwork(layers, Rows(8), 1.0)


def perceptron(hidden: int) -> SpikingNetwork:
    """Return a network without spikes: linear, or with one hidden layer of ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict({"flatten": nn.Flatten()})
    if hidden:
        layers |= {"hidden": nn.Linear(64, hidden), "relu": nn.ReLU()}
    layers["linear"] = nn.Linear(hidden or 64, 10)
    return SpikingNetwork(layers, Direct(1), 1.0)


def image_gradient(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean L1 norm of the gradient of the true class's probability with respect to the image."""
    x, y = torch.from_numpy(images).requires_grad_(), torch.from_numpy(labels)
    (gradient,) = torch.autograd.grad(network(x).softmax(1).gather(1, y[:, None]).sum(), x)
    return float(gradient.abs().flatten(1).sum(1).mean())


def loss_of(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels)))


def near_threshold(network: SpikingNetwork, images: np.ndarray) -> list[float]:
    """Return for each LIF layer the share of membranes, over neurons and steps, within 0.25 of the threshold."""
    twin = copy.deepcopy(network).eval()
    layers = [layer for _, layer in opened(twin)]
    for layer in layers:
        layer.told = []
    with torch.no_grad():
        twin(torch.from_numpy(images))
    found = []
    for layer in layers:
        assert layer.told
        found.append(float(((torch.stack(layer.told[0]) - layer.threshold).abs() < 0.25).float().mean()))
    return found


@dataclass(frozen=True)
class Setup:
    """A network, its data and what is measured of it."""

    build: Callable[[], SpikingNetwork]
    measure: Callable[[SpikingNetwork, Dataset], Numbers]
    epochs: int = 20
    train: int | None = None
    events: bool = False
    rate: float = 2e-3
    batch: int = 64


def accuracy(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float((predict(network, images) == labels).mean())


def attacked(network: SpikingNetwork, data: Dataset, strong: bool = False) -> Numbers:
    images, labels = data.test_images, data.test_labels
    found = {
        "clean": accuracy(network, images, labels),
        "fgsm@0.1": 100 * float(FGSM(epsilon=0.1)(network, images, labels).robust.mean()),
        "pgd-10@0.1": 100 * float(PGD(epsilon=0.1, steps=10)(network, images, labels).robust.mean()),
        "gradient L1": image_gradient(network, images, labels),
    }
    if strong:
        attack = SAPGD(epsilon=0.1, steps=50, backward=Backward(surrogate=AdaptiveSharpness()))
        found["sa-pgd-50@0.1, adaptive"] = 100 * float(attack(network, images, labels).robust.mean())
    return found


def guarded(network: SpikingNetwork, data: Dataset) -> Numbers:
    near = near_threshold(network, data.test_images)
    zeros = gradient_sparsity(network, data.test_images, data.test_labels, batch=250)["hidden"]
    return attacked(network, data) | {"near 1": near[0], "near 2": near[1], "zero-gradient share": float(zeros)}


def few(network: SpikingNetwork, data: Dataset) -> Numbers:
    seen = loss_of(network, data.train_images[:300], data.train_labels[:300])
    test = loss_of(network, data.test_images, data.test_labels)
    return attacked(network, data) | {"loss gap": test - seen}


def clean(network: SpikingNetwork, data: Dataset) -> Numbers:
    return {"clean": accuracy(network, data.test_images, data.test_labels)}


def reversal(network: SpikingNetwork, data: Dataset) -> Numbers:
    method, inputs = TRR(reversed="input"), torch.from_numpy(data.test_images)
    with torch.no_grad(), method.backward_in_time(network, len(inputs)):
        backward = network(inputs)
    with torch.no_grad():
        kl = float(method.divergence(network(inputs), backward))
    return clean(network, data) | {"reversal KL": kl}


def far(network: SpikingNetwork, data: Dataset) -> Numbers:
    made = PGD(epsilon=0.15, steps=50)(network, data.test_images, data.test_labels)
    return clean(network, data) | {"pgd-50@0.15": 100 * float(made.robust.mean())}


def _conv(surrogate: Surrogate | None = None) -> Callable[[], SpikingNetwork]:
    return lambda: convolutional(Direct(4), 1, 64, surrogate)


SETUPS = {
    "conv": Setup(_conv(), lambda network, data: attacked(network, data, strong=True)),
    "conv, triangular": Setup(_conv(Surrogate("triangular", 1.0)), guarded),
    "conv, 300 images": Setup(_conv(), few, epochs=25, train=300, batch=16),
    **{f"rows, decay {decay}": Setup(lambda decay=decay: rows_network(decay), clean) for decay in (0.2, 0.5, 0.9)},
    "events": Setup(lambda: convolutional(Events(6), 2, 144), reversal, epochs=25, events=True),
    "perceptron": Setup(lambda: perceptron(64), far, epochs=40, rate=1e-2),
    "linear": Setup(lambda: perceptron(0), far, epochs=40, rate=1e-2),
}
ROWS = [name for name in SETUPS if name.startswith("rows")]


@dataclass(frozen=True)
class Found:
    """The numbers of all cells of these seeds, by setup, variant and name."""

    cells: list[dict[str, Any]]
    seeds: set[int]

    def runs(self, setup: str, variant: str, number: str) -> list[float]:
        """Return one number a seed, in the order of the seeds."""
        key = (setup, variant)
        mine = [cell for cell in self.cells if (cell["setup"], cell["variant"]) == key and cell["seed"] in self.seeds]
        return [cell["numbers"][number] for cell in sorted(mine, key=lambda cell: cell["seed"])]

    def __call__(self, setup: str, variant: str, number: str) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.runs(setup, variant, number))

    def gains(self, setup: str, variant: str, number: str) -> list[float]:
        """Return the difference to plain training, one a seed."""
        pairs = zip(self.runs(setup, variant, number), self.runs(setup, "plain", number), strict=True)
        return [mine - plain for mine, plain in pairs]


Check = tuple[str, Callable[[Found], bool]]
"""What must hold, in words, and as a question."""


@dataclass(frozen=True)
class Method:
    """What a method must show.

    Attributes:
        paper: what its paper claims.
        variants: defences by name.
        setups: where.
        checks: our acceptance figures, from the design notes; none for the references.
    """

    paper: str
    variants: dict[str, list[dict[str, Any]]]
    setups: list[str]
    checks: tuple[Check, ...] = ()


def _gain(setup: str, variant: str, number: str) -> Callable[[Found], float]:
    return lambda found: statistics.fmean(found.gains(setup, variant, number))


def _rows_gain(variant: str, least: float) -> Check:
    def holds(mean: Found) -> bool:
        return all(_gain(setup, variant, "clean")(mean) >= least for setup in ROWS)

    return (f"accuracy at least {least:g} points above LIF at every decay", holds)


METHODS = {
    "plain": Method("", {"plain": []}, list(SETUPS)),
    "at": Method(
        "Madry et al.: robust to PGD at the radius of training, at some clean accuracy",
        {"at": [{"name": "at"}]},
        ["conv"],
    ),
    "trades": Method("Zhang et al.: a better balance of clean and robust", {"trades": [{"name": "trades"}]}, ["conv"]),
    "rat": Method("Ding et al.: more robust than adversarial training alone", {"rat": [{"name": "rat"}]}, ["conv"]),
    "sr": Method(
        "later paper, CIFAR-10: PGD-7 0.9 % without, 8.6 % with SR, clean 92.5 to 91.0 %",
        {
            "sr 0.02": [{"name": "sr"}],
            "sr 0.1": [{"name": "sr", "weight": 0.1}],
            "sr l1 0.02": [{"name": "sr", "form": "l1"}],
        },
        ["conv"],
        (
            (
                "gradient L1 falls by at least 30 %",
                lambda mean: mean("conv", "sr 0.02", "gradient L1") <= 0.7 * mean("conv", "plain", "gradient L1"),
            ),
            ("PGD-10 gains at least 20 points", lambda mean: _gain("conv", "sr 0.02", "pgd-10@0.1")(mean) >= 20),
            ("clean loses at most 5 points", lambda mean: _gain("conv", "sr 0.02", "clean")(mean) >= -5),
        ),
    ),
    "tgo": Method(
        "CIFAR-10, WRN-16: FGSM 14.1 to 51.4 %, PGD-10 0.0 to 6.1 %, clean 93.3 to 88.8 %; 40 % fewer near threshold",
        {"tgo": [{"name": "tgo"}], "tgo, no noise": [{"name": "tgo", "sigma": 0.0}]},
        ["conv, triangular"],
        (
            (
                "share near threshold in layer 1 falls by at least 25 %",
                lambda mean: (
                    mean("conv, triangular", "tgo", "near 1") <= 0.75 * mean("conv, triangular", "plain", "near 1")
                ),
            ),
            ("PGD-10 does not fall", lambda mean: _gain("conv, triangular", "tgo", "pgd-10@0.1")(mean) >= 0),
            ("clean loses at most 3 points", lambda mean: _gain("conv, triangular", "tgo", "clean")(mean) >= -3),
        ),
    ),
    "slif": Method(
        "a mean gain of 3.28 (third party, presumably % of return in control tasks)",
        {"slif": [{"name": "slif"}]},
        ROWS,
        (
            (
                "mean gain over all decays at least 0.5 points",
                lambda mean: sum(_gain(setup, "slif", "clean")(mean) for setup in ROWS) / len(ROWS) >= 0.5,
            ),
            (
                "no run worse by more than 1.5 points",
                lambda mean: min(gain for setup in ROWS for gain in mean.gains(setup, "slif", "clean")) >= -1.5,
            ),
        ),
    ),
    "trr": Method(
        "ImageNet 74.8 %, ModelNet40 90.6 % with two time steps",
        {"trr": [{"name": "trr", "reversed": "input"}]},
        ["events"],
        (
            (
                "KL of the reversed pass on unseen clips falls by at least 5 %",
                lambda mean: mean("events", "trr", "reversal KL") <= 0.95 * mean("events", "plain", "reversal KL"),
            ),
            ("accuracy not worse by more than 1.5 points", lambda mean: _gain("events", "trr", "clean")(mean) >= -1.5),
        ),
    ),
    "lfm": Method(
        "better than dropout under attack in person re-identification",
        {"lfm 0.15": [{"name": "lfm"}], "lfm 0.5": [{"name": "lfm", "probability": 0.5}]},
        ["conv, 300 images"],
        (
            (
                "PGD-10 gains at least 1.5 points",
                lambda mean: _gain("conv, 300 images", "lfm 0.15", "pgd-10@0.1")(mean) >= 1.5,
            ),
            ("clean loses at most 3 points", lambda mean: _gain("conv, 300 images", "lfm 0.15", "clean")(mean) >= -3),
        ),
    ),
    "sca": Method(
        "more robust than a multilayer perceptron to Auto-PGD without adversarial training",
        {"sca": [{"name": "sca"}]},
        ["linear"],
        (
            (
                "PGD-50 at 0.15 at least 10 points above a perceptron with 64 hidden units",
                lambda mean: mean("linear", "sca", "pgd-50@0.15") >= mean("perceptron", "plain", "pgd-50@0.15") + 10,
            ),
            (
                "PGD-50 at 0.15 above a linear classifier",
                lambda mean: mean("linear", "sca", "pgd-50@0.15") > mean("linear", "plain", "pgd-50@0.15"),
            ),
        ),
    ),
    "self_connection": Method(
        "eigenvalues of the dynamics can adapt (theory)",
        {
            "full": [{"name": "self_connection"}],
            "diagonal": [{"name": "self_connection", "matrix": "diagonal"}],
        },
        ROWS,
        (_rows_gain("full", 8),),
    ),
    "stochastic": Method(
        "Rademacher complexity falls exponentially (theory)",
        {"p = 0.9": [{"name": "stochastic"}], "p = 0.7": [{"name": "stochastic", "probability": 0.7}]},
        ["conv, 300 images"],
    ),
    "cap": Method(
        "graphs: better generalization, flatter minima",
        {"cap": [{"name": "cap"}]},
        ["conv, 300 images"],
        (
            (
                "gap of test and training loss falls by at least 15 %",
                lambda mean: (
                    mean("conv, 300 images", "cap", "loss gap") <= 0.85 * mean("conv, 300 images", "plain", "loss gap")
                ),
            ),
            ("clean accuracy not worse", lambda mean: _gain("conv, 300 images", "cap", "clean")(mean) >= 0),
        ),
    ),
}


def defences_of(entries: list[dict[str, Any]]) -> list[Defence]:
    return list(parse_recipe({"defences": entries}, "benchmark").defences)


def trained(
    setup: Setup, defences: list[Defence], seed: int, data: Dataset, epochs: int | None = None
) -> SpikingNetwork:
    with seeded(seed):
        network = setup.build()
        for defence in defences:
            defence.prepare(network)
    settings = TrainSettings(seed=seed, batch=setup.batch)
    count = setup.train
    images, labels = data.train_images[:count], data.train_labels[:count]
    fit(network, images, labels, settings, epochs=epochs or setup.epochs, rate=setup.rate, defences=defences)
    return network


def data_of(setup: Setup, data: Dataset) -> Dataset:
    if not setup.events:
        return data
    seen = moving_digits(1, 400, data.train_images, data.train_labels)
    unseen = moving_digits(2, 500, data.test_images, data.test_labels)
    return Dataset("moving digits", data.classes, *seen, *unseen, data.sha256, "events")


def path_of(method: str) -> Path:
    return OUT / f"{method}.json"


def cells_of(method: str) -> dict[str, dict[str, Any]]:
    path = path_of(method)
    return json.loads(path.read_text())["cells"] if path.exists() else {}


def summary(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean and spread (smallest, largest) of every number, by setup and variant."""
    groups: dict[str, list[Numbers]] = {}
    for cell in cells.values():
        groups.setdefault(f"{cell['setup']} | {cell['variant']}", []).append(cell["numbers"])
    return {
        group: {"seeds": len(found)}
        | {
            number: {
                "mean": statistics.fmean(cell[number] for cell in found),
                "least": min(cell[number] for cell in found),
                "most": max(cell[number] for cell in found),
            }
            for number in found[0]
        }
        for group, found in groups.items()
    }


def verdict(method: str, cells: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what each acceptance figure says, from the seeds that were measured with and without the method."""
    plain = list(cells_of("plain").values())
    everything = [*plain, *(cell for cell in cells.values() if cell not in plain)]
    seeds = set.intersection(
        *(
            {cell["seed"] for cell in part if cell["setup"] == setup}
            for part in (plain, cells.values())
            for setup in METHODS[method].setups
        )
    )
    found = Found(everything, seeds)
    checks = METHODS[method].checks if seeds else ()
    return [{"must": words, "accepted": holds(found), "seeds": sorted(seeds)} for words, holds in checks]


def complete(method: str, cells: dict[str, dict[str, Any]]) -> bool:
    """Return whether every variant has the same seeds in every setup."""
    groups = [
        {cell["seed"] for cell in cells.values() if (cell["setup"], cell["variant"]) == (setup, variant)}
        for setup in METHODS[method].setups
        for variant in METHODS[method].variants
    ]
    return all(group == groups[0] for group in groups)


def write(method: str, cells: dict[str, dict[str, Any]], overhead: dict[str, Any] | None = None) -> None:
    path = path_of(method)
    before = json.loads(path.read_text()) if path.exists() else {}
    record = {
        "schema": SCHEMA,
        "command": f"benchmarks/defences.py --methods {method}",
        "method": method,
        "paper": METHODS[method].paper,
        "ours": summary(cells),
        "acceptance": verdict(method, cells) if complete(method, cells) else [],
        "overhead": overhead or before.get("overhead"),
        "cells": cells,
        "versions": {name: version(name) for name in ("spikeproof", "torch", "snntorch", "numpy")},
    }
    write_json(path, record)


def measure(methods: list[str], seeds: list[int], data: Dataset) -> None:
    """Measure the cells that are missing, one seed of everything before the next."""
    for seed in seeds:
        for method in dict.fromkeys(["plain", *methods]):
            cells = cells_of(method)
            for name in METHODS[method].setups:
                setup = SETUPS[name]
                for variant, entries in METHODS[method].variants.items():
                    key = f"{name} | {variant} | {seed}"
                    wanted = [defence.model_dump(mode="json") for defence in defences_of(entries)]
                    if cells.get(key, {}).get("defences") == wanted:
                        continue
                    start, own = time.process_time(), data_of(setup, data)
                    network = trained(setup, defences_of(entries), seed, own)
                    facts = {"setup": name, "variant": variant, "seed": seed, "defences": wanted}
                    seconds = round(time.process_time() - start, 1)
                    cells[key] = facts | {"numbers": setup.measure(network, own), "training seconds": seconds}
                    write(method, cells)
                    print(key, cells[key]["numbers"], f"{seconds} s", flush=True)
            if cells:
                write(method, cells)


def memory(field: str) -> int:
    """Return a field of the kernel's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def one_overhead(method: str, data: Dataset) -> None:
    """Print processor seconds an epoch and the memory that training added at its peak; in a process of its own."""
    entries = next(iter(METHODS[method].variants.values()))
    defences = defences_of(entries)
    setup = SETUPS["conv"]
    before = memory("VmRSS")
    trained(setup, defences, 0, data, 1)
    start = time.process_time()
    trained(setup, defences, 0, data, 3)
    print(json.dumps({"seconds": (time.process_time() - start) / 3, "bytes": memory("VmHWM") - before}))


def overhead(methods: list[str], rounds: int) -> None:
    """Compare each method with plain training, each in a process of its own, one after the other, in rounds."""

    def ask(method: str) -> dict[str, float]:
        command = [sys.executable, __file__, "--one-overhead", method]
        found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found

    asked = ["plain", *(method for method in methods if method != "plain")]
    found = [{method: ask(method) for method in asked} for _ in range(rounds)]
    for method in asked[1:]:
        cells = cells_of(method)
        ratios = {what: [one[method][what] / one["plain"][what] for one in found] for what in ("seconds", "bytes")}
        facts = {
            "against": "plain training in the same run: processor time, and memory that training adds at its peak",
            **{what: statistics.median(values) for what, values in ratios.items()},
            "rounds": [{name: one[name] for name in ("plain", method)} for one in found],
        }
        write(method, cells, facts)
        print(method, ratios, flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[3407, 3408, 3409])
    parser.add_argument("--overhead", action="store_true", help="measure time and memory of training instead")
    parser.add_argument("--rounds", type=int, default=3, help="of --overhead")
    parser.add_argument("--one-overhead", choices=METHODS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(load_recipe("digits").data)
    if asked.one_overhead:
        one_overhead(asked.one_overhead, data)
    elif asked.overhead:
        overhead(asked.methods, asked.rounds)
    else:
        measure(asked.methods, asked.seeds, data)


if __name__ == "__main__":
    main()
