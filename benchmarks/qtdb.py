"""ECG waves named at every step, beside a recurrent snnTorch network: python benchmarks/qtdb.py [--epochs N] [SEEDS].

The recipes qtdb-recurrent and qtdb-feedforward, and snnTorch's RLeaky of the same width with a Leaky read-out, trained
on the same sequences with the same loss, optimizer, rate and batch, for as many epochs as the recurrent recipe's
training and fine-tuning together; its feedback is a linear layer, its constants are those of the recipe. ``--epochs``,
``--steps`` and ``--train`` shorten the training, cut the recordings otherwise, and take the first so many sequences;
``--only NAME`` measures one of the three. Writes benchmarks/qtdb.json, or qtdb-NAME.json, under --out
(runs/benchmarks), again after every seed.
"""

import argparse
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import given_out
import numpy as np
import snntorch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeproof.eval.measure.by_step import BalancedAccuracy, StepAccuracy
from spikeproof.eval.measure.forms import evaluate
from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.simulate import agree, require_equal
from spikeproof.toolkit.config import Recipe, load_recipe, parse_recipe
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.progress import bars
from spikeproof.toolkit.task.steps import Steps
from spikeproof.toolkit.train import seeded

SEEDS = (3407, 3408, 3409)
RECIPES = ("qtdb-recurrent", "qtdb-feedforward")
BATCH = 250
AGREE = 10
"""Sequences on which every spike, current and voltage of loihi and onnx is compared."""
BASELINE = "snntorch"
OUT = given_out.USUAL / "benchmarks"


class Baseline(nn.Module):
    """snnTorch as its tutorials have it: RLeaky, whose feedback is all to all, and a Leaky that never resets."""

    def __init__(self, channels: int, hidden: int, classes: int, beta: float, read: float) -> None:
        super().__init__()
        self.enter, self.last = nn.Linear(channels, hidden), nn.Linear(hidden, classes)
        surrogate = snntorch.surrogate.atan()
        self.cell = snntorch.RLeaky(
            beta=beta, linear_features=hidden, spike_grad=surrogate, reset_mechanism="zero", all_to_all=True
        )
        self.read = snntorch.Leaky(beta=read, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, time classes) of spikes (batch, time, channels, 1, 1)."""
        spikes, membrane = self.cell.init_rleaky()
        voltage = self.read.init_leaky()
        found = []
        for now in x.flatten(2).unbind(1):
            spikes, membrane = self.cell(self.enter(now), spikes, membrane)
            _, voltage = self.read(self.last(spikes), voltage)
            found.append(voltage)
        return torch.stack(found, 1).flatten(1)


def trained(recipe: Recipe, data: Dataset, task: Steps, seed: int) -> Baseline:
    """Return the baseline, trained as the recipe says."""
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    model, how = recipe.model, recipe.train
    with seeded(seed):
        network = Baseline(data.shape[0], 8 * model.channels[0], data.classes, model.beta, model.readout_beta)
        optimizer = torch.optim.Adam(network.parameters(), lr=how.rate)
        epochs, count = how.epochs + recipe.quantize.epochs, math.ceil(len(images) / how.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * count)
        for epoch in range(epochs):
            for part in torch.randperm(len(images)).split(how.batch):
                loss = task.loss(network(images[part]), labels[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            print(f"seed {seed}: snnTorch, epoch {epoch + 1} of {epochs}, loss {float(loss.detach()):.3f}", flush=True)
    return network.eval()


def judged(outputs: NDArray[Any], data: Dataset, task: Steps) -> dict[str, Any]:
    """Return accuracy, mean over sequences and over all steps, and balanced."""
    found: dict[str, Any] = {"accuracy": float(task.scores(outputs, data.test_labels).mean())}
    for kind in (StepAccuracy, BalancedAccuracy):
        metric = kind()
        metric.update(outputs, data.test_labels, task)
        found[kind.name] = metric.compute()
    return found


def chosen(name: str, asked: argparse.Namespace, seed: int) -> Recipe:
    """Return a recipe with what the command line changes."""
    recipe = load_recipe(name)
    changes: dict[str, Any] = {"train": {"seed": seed, "epochs": asked.epochs}}
    changes |= {"coding": {"steps": asked.steps}, "data": {"train_samples": asked.train}}
    values = recipe.model_dump(mode="json")
    for section, keys in changes.items():
        values[section] |= {key: value for key, value in keys.items() if value is not None}
    return parse_recipe(values, name)


def baseline(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return what the baseline reaches."""
    recipe = chosen(RECIPES[0], asked, seed)
    data = load_data(recipe.data, recipe.coding.steps)
    task = data.task
    assert isinstance(task, Steps)
    network = trained(recipe, data, task, seed)
    with torch.no_grad():
        parts = torch.from_numpy(data.test_images).split(BATCH)
        outputs = np.concatenate([network(part).numpy() for part in parts])
    weights = sum(part.numel() for part in network.parameters())
    return {"network": BASELINE, "seed": seed, "weights": weights, "float": judged(outputs, data, task)}


def ours(name: str, asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return what a recipe reaches, as float, quantized, and Program on loihi and onnx."""
    recipe = chosen(name, asked, seed)
    row: dict[str, Any] = {"network": name, "seed": seed}
    with TemporaryDirectory() as folder, bars(quiet=True) as track:
        run = Run.create(Path(folder) / "run", recipe)
        for step in (steps.train, steps.quantize, steps.export):
            step(run, track)
        compared = agree(run, ["loihi", "onnx"], AGREE, track).record
        require_equal(compared)
        data, forms = run.data(), run.forms()
        targets = dict.fromkeys(("loihi", "onnx"), len(data.test_labels))
        found = evaluate(
            forms, {"clean": data.test_images}, data.test_labels, targets, batch=BATCH, task=data.task, track=track
        )
    row["compared values"] = compared.spike_values_compared + compared.state_values_compared
    for form in found:
        clean = form.conditions["clean"]
        row[form.target if form.form == "program" else form.form] = {
            "accuracy": clean.judged.value,
            **{metric: one.value for metric, one in clean.others.items()},
        }
    return row


def main(asked: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    first = chosen(RECIPES[0], asked, 0)
    data = load_data(first.data, first.coding.steps)
    given = {"epochs": asked.epochs, "steps": asked.steps, "train": asked.train, "only": asked.only}
    words = [f"--{name} {value}" for name, value in given.items() if value is not None]
    command = " ".join(["python benchmarks/qtdb.py", *words, *map(str, asked.seeds)])
    name = "qtdb" if asked.only is None else f"qtdb-{asked.only}"
    for seed in asked.seeds:
        for network in (*reversed(RECIPES), BASELINE) if asked.only is None else (asked.only,):
            rows.append(baseline(asked, seed) if network == BASELINE else ours(network, asked, seed))
            print(rows[-1], flush=True)
        found = {"data_used": data.provenance, "time_steps": first.coding.steps, "rows": rows}
        OUT.mkdir(parents=True, exist_ok=True)
        write_record(OUT / f"{name}.json", Benchmark.model_validate({**header(name, command, data=data), **found}))


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--epochs", "--steps", "--train"):
        parser.add_argument(name, type=int)
    parser.add_argument("--only", choices=(*RECIPES, BASELINE))
    parser.add_argument("seeds", nargs="*", type=int, default=list(SEEDS))
    return parser.parse_args()


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    main(arguments())
