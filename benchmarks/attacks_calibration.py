"""Measure the attack suite on digits, max against average pooling: python benchmarks/attacks_calibration.py --help.

Two families: "harness", the network of the design notes (3x3 pools of stride 2, linear read-out), on which their
figures were measured, and "recipe", the default of the project. Writes attacks/FAMILY-POOL-seedN.json under --out.
"""

import argparse
import time
from collections import OrderedDict
from typing import Any

import given_out
import numpy as np
import torch
from art.attacks.evasion import AutoProjectedGradientDescent
from rich.console import Console
from rich.table import Table
from torch import nn

from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.toolkit.attacks.base import Attack
from spikeproof.toolkit.attacks.blind import Noise, Square
from spikeproof.toolkit.attacks.gradient import FGSM, PGD, classifier
from spikeproof.toolkit.attacks.iterative import AnyPGD
from spikeproof.toolkit.attacks.strong import APGD, SAPGD
from spikeproof.toolkit.attacks.victim import predict
from spikeproof.toolkit.config import TrainSettings, load_recipe
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import KINDS, AdaptiveSharpness
from spikeproof.toolkit.progress import bars
from spikeproof.toolkit.train import seeded, train_network

OUT = given_out.USUAL / "attacks"
RECIPES = {"max": "digits", "avg": "digits-avg"}


def harness(pool: str, data: Dataset) -> SpikingNetwork:
    """Return the network of the design notes: two convolutions of 16 channels, 3x3 pools, logits averaged over time."""

    def pooled() -> nn.Module:
        return nn.MaxPool2d(3, 2, 1) if pool == "max" else nn.AvgPool2d(3, 2, 1)

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = data.shape[0]
    for number in (1, 2):
        layers[f"conv{number}"] = nn.Conv2d(width, 16, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(16)
        layers[f"lif{number}"] = LIF(0.5, 1.0, 2.0)
        layers[f"pool{number}"] = pooled()
        width = 16
    layers["flatten"] = nn.Flatten()
    layers["linear"] = nn.Linear(64, data.classes)
    return SpikingNetwork(layers, 4, 1.0)


def trained(family: str, pool: str, seed: int, data: Dataset, track: Any) -> SpikingNetwork:
    """Return a network trained from ``seed``."""
    recipe = load_recipe(RECIPES[pool])
    if family == "harness":
        with seeded(seed):
            network = harness(pool, data)
        settings = TrainSettings(seed=seed, epochs=22, batch=64, rate=2e-3)
    else:
        network = build_network(recipe, data.shape, data.classes, seed)
        settings = recipe.train.model_copy(update={"seed": seed})
    arguments = data.train_images, data.train_labels, settings
    train_network(
        network, *arguments, epochs=settings.epochs, rate=settings.rate, what=f"train {family} {pool}", track=track
    )
    return network


def suite(pool: str) -> list[Attack]:
    """Return what is measured, weakest first."""
    common: dict[str, Any] = {"epsilon": 0.1}
    adaptive = {kind: Backward(surrogate=AdaptiveSharpness(kind)) for kind in KINDS}
    sharp = Backward(surrogate=AdaptiveSharpness(vanishing=0.95))
    attacks: list[Attack] = [
        Noise(kind="uniform", restarts=3, **common),
        Noise(kind="sign", restarts=3, **common),
        FGSM(**common),
        PGD(epsilon=0.05, steps=10),
        PGD(steps=10, **common),
        PGD(steps=50, **common),
        AnyPGD(steps=50, **common),
        APGD(steps=50, **common),
        APGD(steps=50, loss="dlr", **common),
        SAPGD(steps=50, **common),
        APGD(steps=50, backward=adaptive["arctan"], **common),
        *(SAPGD(steps=50, backward=backward, **common) for backward in adaptive.values()),
        SAPGD(steps=50, backward=sharp, **common),
        Square(queries=500, **common),
    ]
    if pool == "max":
        for backward in (Backward(pool="ties"), Backward(surrogate=AdaptiveSharpness(), pool="ties")):
            attacks += [kind(steps=50, backward=backward, **common) for kind in (APGD, SAPGD)]
        average = Backward(surrogate=AdaptiveSharpness(), pool="average")
        attacks.append(SAPGD(steps=50, backward=average, **common))
    return attacks


def library_apgd(network: SpikingNetwork, data: Dataset, samples: int) -> list[dict[str, Any]]:
    """Return what the library's own Auto-PGD finds: its last point, and how much of it is not a number."""
    rows = []
    for loss in ("cross_entropy", "difference_logits_ratio"):
        images, labels = data.test_images[:samples], data.test_labels[:samples]
        start = time.perf_counter()
        with seeded(0), np.errstate(all="ignore"):
            made = AutoProjectedGradientDescent(
                classifier(network, images),
                eps=0.1,
                eps_step=0.2,
                max_iter=50,
                nb_random_init=1,
                batch_size=250,
                loss_type=loss,
                verbose=False,
            ).generate(images, labels)
        valid = np.isfinite(made).all(axis=(1, 2, 3))
        robust = predict(network, np.clip(np.nan_to_num(made), 0, 1)) == labels
        row = {"label": f"library apgd {loss}", "robust": int(robust.sum()), "not_a_number": int((~valid).sum())}
        rows.append(row | {"seconds": round(time.perf_counter() - start, 1)})
    return rows


def measure(family: str, pool: str, seed: int, samples: int, data: Dataset, track: Any) -> dict[str, Any]:
    """Train, attack, and return the record."""
    network = trained(family, pool, seed, data, track)
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    clean = predict(network, images) == labels
    worst, rows = clean.copy(), []
    for attack in suite(pool):
        start = time.perf_counter()
        made = attack(network, images, labels, track=track)
        seconds = round(time.perf_counter() - start, 1)
        worst &= made.robust if attack.epsilon == 0.1 else True
        facts = {"label": attack.label, "threat_model": attack.threat_model, "settings": attack.settings}
        rows.append(facts | {"robust": int(made.robust.sum()), "distance": made.distance, "seconds": seconds})
    return {
        "family": family,
        "pool": pool,
        "seed": seed,
        "samples": samples,
        "clean": int(clean.sum()),
        "worst@0.1": int(worst.sum()),
        "attacks": rows,
        "library": library_apgd(network, data, samples),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=("harness", "recipe"), default=["harness", "recipe"])
    parser.add_argument("--pools", nargs="+", choices=("max", "avg"), default=["max", "avg"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[3407])
    parser.add_argument("--samples", type=int, default=500)
    global OUT
    OUT = given_out.out("attacks")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(load_recipe("digits").data)
    for family in asked.families:
        for seed in asked.seeds:
            records = {}
            for pool in asked.pools:
                with bars() as track:
                    records[pool] = measure(family, pool, seed, asked.samples, data, track)
                options = f"--families {family} --pools {pool} --seeds {seed} --samples {asked.samples}"
                about = header(f"{family}-{pool}", f"python benchmarks/attacks_calibration.py {options}", data=data)
                write_record(OUT / f"{family}-{pool}-seed{seed}.json", Benchmark(**about, **records[pool]))
            table = Table(title=f"{family}, seed {seed}, {asked.samples} digits, accuracy in %")
            for column in ("attack", *(f"{pool} {what}" for pool in records for what in ("", "s"))):
                table.add_column(column.strip())
            found = {pool: {row["label"]: row for row in [*r["attacks"], *r["library"]]} for pool, r in records.items()}
            names = list(dict.fromkeys(name for rows in found.values() for name in rows))
            table.add_row(
                "clean", *(x for r in records.values() for x in (f"{100 * r['clean'] / asked.samples:.1f}", ""))
            )
            for name in names:
                cells = []
                for rows in found.values():
                    row = rows.get(name)
                    cells += [f"{100 * row['robust'] / asked.samples:.1f}", str(row["seconds"])] if row else ["", ""]
                table.add_row(name, *cells)
            table.add_row(
                "worst@0.1", *(x for r in records.values() for x in (f"{r['worst@0.1'] / asked.samples:.1%}", ""))
            )
            Console(width=120).print(table)


if __name__ == "__main__":
    main()
