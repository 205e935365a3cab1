"""The stability study: how far trainings part whose samples differ in one example."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...toolkit.config import Recipe
from ...toolkit.data import Dataset, Images, Labels, load_data
from ...toolkit.errors import InputError
from ...toolkit.models import build_network
from ...toolkit.network.neurons import LIF
from ...toolkit.progress import Track, quiet_libraries
from ...toolkit.train import Epoch, train_network
from ..records.base import header, write_record
from ..records.stability import Row, Stability
from . import stability_page as page
from .cells import Cell, run_cells
from .shallow import Rate, Shallow, descend, squared_errors
from .twins import Observe, Task, draw, part

RECIPE = "recipe"
"""The name of the recipe's own network."""
SCALES, TARGETS = ("pixels", "unit"), ("half", "parity")
"""How shallow networks see images, and which classes are +1 for them."""


def check_network(name: str) -> str:
    """Return the name of a network.

    Raises:
        InputError: it is not known.
    """
    kind, _, width = name.partition(":")
    if name != RECIPE and (kind not in ("tanh", "lif") or not width.isdecimal()):
        raise InputError(f"network {name!r}: expected tanh:WIDTH, lif:WIDTH or {RECIPE}")
    return name


@dataclass(frozen=True)
class Prepared:
    """A task, what its steps are called, and what is known of its network."""

    task: Task
    unit: str
    parameters: int
    smoothness: float | None


def rows_seen(images: Images, scale: str) -> Tensor:
    """Return images as rows of float64, (samples, features): pixels as they are, or each divided by its length.

    Raises:
        InputError: another scale.
    """
    rows = torch.from_numpy(images).double().flatten(1)
    if scale not in SCALES:
        raise InputError(f"--scale {scale!r}: expected one of {', '.join(SCALES)}")
    return nn.functional.normalize(rows) if scale == "unit" else rows


def signs(labels: Labels, classes: int, targets: str) -> Tensor:
    """Return -1 or +1 a label: +1 for the upper half of the classes, or for the odd ones.

    Raises:
        InputError: another kind.
    """
    if targets not in TARGETS:
        raise InputError(f"--targets {targets!r}: expected one of {', '.join(TARGETS)}")
    found = torch.from_numpy(labels)
    upper = 2 * found >= classes if targets == "half" else found % 2 == 1
    return upper.double() * 2 - 1


def prepare(recipe: Recipe, plan: Mapping[str, Any], data: Dataset) -> Prepared:
    """Return the task of a cell.

    Args:
        recipe: of the recipe's own network, and whose neurons and time steps "lif" has.
        plan: see :func:`measure`.
        data: what samples are drawn of.

    Raises:
        InputError: the plan is refused.
    """
    return _own(recipe, plan, data) if plan["network"] == RECIPE else _shallow(recipe, plan, data)


def _shallow(recipe: Recipe, plan: Mapping[str, Any], data: Dataset) -> Prepared:
    kind, _, width = check_network(plan["network"]).partition(":")
    x, test_x = (rows_seen(images, plan["scale"]) for images in (data.train_images, data.test_images))
    y, test_y = (signs(labels, data.classes, plan["targets"]) for labels in (data.train_labels, data.test_labels))
    model, seed, points = recipe.model, recipe.train.seed, plan["steps"]

    def made() -> Shallow:
        phi: nn.Module = nn.Tanh()
        if kind == "lif":
            phi = Rate(LIF(model.beta, model.threshold, model.alpha), recipe.coding.steps)
        return Shallow(x.shape[1], int(width), phi, seed)

    def train(given: Tensor, wanted: Tensor, observe: Observe) -> None:
        network = made()
        options = {"rate": plan["rate"], "steps": points[-1], "batch": plan["batch"], "seed": seed}
        for step in descend(network, squared_errors, given, wanted, **options):
            if step in (0, *points):
                observe(step, network)

    task = Task(train, squared_errors, lambda outputs, wanted: outputs * wanted > 0, x, y, test_x, test_y)
    everything = torch.cat([x, test_x]), torch.cat([y, test_y])
    return Prepared(task, "step", int(width) * x.shape[1], made().smoothness(*everything))


def _own(recipe: Recipe, plan: Mapping[str, Any], data: Dataset) -> Prepared:
    points = plan["epochs"]
    x, test_x = torch.from_numpy(data.train_images), torch.from_numpy(data.test_images)
    y, test_y = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)

    def train(given: Tensor, wanted: Tensor, observe: Observe) -> None:
        # Defences may keep what they need between batches: each training has its own.
        own = recipe.model_copy(deep=True)
        network = build_network(own, data.shape, data.classes)

        def after(done: Epoch) -> None:
            if done.epoch in points:
                observe(done.epoch, network)

        observe(0, network)
        rate, defences = own.train.rate, own.defences
        arrays = given.numpy(), wanted.numpy()
        train_network(network, *arrays, own.train, epochs=points[-1], rate=rate, defences=defences, after_epoch=after)

    losses = partial(nn.functional.cross_entropy, reduction="none")
    task = Task(train, losses, lambda outputs, wanted: outputs.argmax(1) == wanted, x, y, test_x, test_y)
    network = build_network(recipe, data.shape, data.classes)
    return Prepared(task, "epoch", sum(parameter.numel() for parameter in network.parameters()), None)


def measure(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train on a sample and on those of its twins, and return what parted.

    Args:
        recipe: data, seed, and the recipe's own network with its training.
        plan: ``network``; ``samples``: n; ``twins``: how many; of shallow networks ``rate``, ``batch`` (None: all),
            ``scale``, ``targets`` and ``steps``, at which they are looked at, ascending; ``epochs``: the same of the
            recipe's own.
        folder: not used; a cell is measured in one go.

    Returns:
        Fields of :class:`..records.stability.Row`: unit, parameters, smoothness, points.
    """
    quiet_libraries()
    data = load_data(recipe.data, recipe.coding.steps)
    found = prepare(recipe, plan, data)
    sample = draw(len(data.train_labels), plan["samples"], plan["twins"], recipe.train.seed)
    points = part(found.task, sample)
    return {"unit": found.unit, "parameters": found.parameters, "smoothness": found.smoothness, "points": points}


def study(
    base: Recipe,
    networks: list[str],
    samples: list[int],
    seeds: list[int],
    plan: dict[str, Any],
    command: str,
    out: Path,
    ray: str | None,
    track: Track,
) -> Stability:
    """Measure every cell of a study and write stability.json and stability.html into ``out``.

    Args:
        base: data, and the recipe's own network.
        networks: "tanh:M", "lif:M" or "recipe".
        samples: sizes n.
        seeds: of sample, initial weights and order.
        plan: what all cells share, see :func:`measure`.
        command: that does the same again, for the record.
        out: folder.
        ray: see :func:`.cells.run_cells`.
        track: progress.

    Raises:
        InputError: a network, a size or the plan is refused.
    """
    for name in ("steps", "epochs"):
        given = plan[name]
        if not given or given[0] < 1 or sorted(set(given)) != given:
            raise InputError(f"--{name} {','.join(map(str, given))}: expected positive numbers that ascend")
    data = load_data(base.data, base.coding.steps)
    for name in networks:
        check_network(name)
        prepare(base, {"network": name, **plan}, data)
    draws = itertools.product(networks, samples, seeds)
    places = {f"{name}, n {size}, seed {seed}": (name, size, seed) for name, size, seed in draws}
    for size in samples:
        draw(len(data.train_labels), size, plan["twins"], 0)
    made = {}
    for name, (network, size, seed) in places.items():
        recipe = base.model_copy(update={"train": base.train.model_copy(update={"seed": seed})})
        made[name] = Cell(name, recipe, {"network": network, "samples": size, **plan}, data.sha256)
    results = run_cells(list(made.values()), measure, out / "cells", ray=ray, track=track)
    rows = [
        Row.model_validate(
            {"name": name, "network": network, "samples": size, "seed": seed, "key": made[name].key} | results[name]
        )
        for name, (network, size, seed) in places.items()
    ]
    record = Stability(**header(base.name, command, data=data, recipe=base), plan=plan, rows=tuple(rows))
    write_record(out / "stability.json", record)
    page.write_page(out / "stability.html", record)
    return record
