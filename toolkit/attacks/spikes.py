"""Attacks on binary encoded input: spikes flipped, inserted, deleted or shifted, with a budget in spikes."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Images, Labels
from ..errors import InputError
from ..network.backward import attack_gradient
from .ball import check_encoded
from .base import Access, Attack, Space, ThreatName, suffix
from .blind import QueryAttack, generator, margins
from .iterative import Search, look, wide
from .losses import Loss, check_loss
from .victim import Victim, device_of

Edit = Literal["flip", "insert", "delete", "shift"]
EDITS: tuple[Edit, ...] = ("flip", "insert", "delete", "shift")


@dataclass(frozen=True, kw_only=True)
class BinaryAttack(Attack):
    """What attacks on spikes (time, samples, ...) share: input and output are 0 or 1, behind the coder."""

    spares_wrong: ClassVar[bool] = True

    @property
    def space(self) -> Space:
        """Always encoded."""
        return "encoded"

    def check(self, inputs: NDArray[Any]) -> Images:
        """Return ``inputs`` as float32 if they are spikes; else raise :class:`InputError`."""
        checked = check_encoded(inputs)
        if not np.isin(checked, (0, 1)).all():
            raise InputError("spikes to attack: values other than 0 and 1; use an attack in continuous encoded space")
        return checked


@dataclass(frozen=True, kw_only=True)
class SpikeAttack(BinaryAttack):
    """What attacks that edit spikes share: the distance counts edits.

    Args:
        budget: edits a sample; a shift by one time step is one.
        edit: "flip" any entry, only "insert", only "delete", or "shift" a spike to the step before or after.
        others: as of :class:`.base.Attack`.
    """

    budget: int
    edit: Edit = "flip"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget < 1 or self.edit not in EDITS:
            known = ", ".join(EDITS)
            raise InputError(f"budget, edit: {self.budget}, {self.edit!r}, expected 1 or more, and one of {known}")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values, with the unit of the budget."""
        return {**super().settings, "unit": "spikes"}

    @property
    def label(self) -> str:
        """Name, edit, backward pass and budget in spikes."""
        return f"{self.stem}-{self.edit}{suffix(self.backward)}@{self.size}"

    @property
    def threat(self) -> ThreatName:
        """Spikes that a chip can receive."""
        return "encoded-binary"

    @property
    def radius(self) -> float:
        """The budget."""
        return self.budget

    @property
    def size(self) -> str:
        """The budget with its unit."""
        return f"{self.budget}-spikes"

    @property
    def place(self) -> str:
        """Space and edit, in words."""
        return f"encoded space, binary, {self.edit}"

    def within(self, radius: float) -> Self:
        """Return the same attack with another budget."""
        return replace(self, budget=int(radius))

    def project(self, raw: Images, clean: Images) -> Images:
        """Return ``raw``, with samples that break budget or edit put back to ``clean``."""
        samples = tuple(range(1, raw.ndim))
        wrong = (~np.isin(raw, (0, 1))).any(axis=samples) | (self.distances(raw, clean) > self.budget)
        if self.edit == "shift":
            wrong |= raw.sum(axis=samples) != clean.sum(axis=samples)
        elif self.edit != "flip":
            wrong |= ((raw < clean) if self.edit == "insert" else (raw > clean)).any(axis=samples)
        return np.where(wrong.reshape(-1, *[1] * len(samples)), clean, raw).astype(np.float32)

    def distances(self, made: Images, clean: Images) -> NDArray[np.float64]:
        """Return the edits of every sample (samples,)."""
        changed: NDArray[np.float64] = (made != clean).reshape(len(clean), -1).sum(1).astype(np.float64)
        return changed / 2 if self.edit == "shift" else changed

    def allowed(self, x: Tensor, touched: Tensor) -> Tensor:
        """Return which edits of spikes (batch, time, n) are possible, (batch, kinds, time, n).

        A shift at step t exchanges the entries of t and t + 1, to later or to earlier; nothing is edited twice.
        """
        spike, free = x > 0.5, ~touched
        if self.edit != "shift":
            kinds = {"flip": free, "insert": free & ~spike, "delete": free & spike}
            return kinds[self.edit][:, None]
        pair = (spike[:, :-1] ^ spike[:, 1:]) & free[:, :-1] & free[:, 1:]
        return torch.cat([pair, torch.zeros_like(pair[:, :1])], 1)[:, None]

    def gains(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Return what every edit adds to the loss, to first order, (batch, kinds, time, n)."""
        gain = gradient * (1 - 2 * x)
        if self.edit == "shift":
            gain = torch.cat([gain[:, :-1] + gain[:, 1:], torch.zeros_like(gain[:, :1])], 1)
        return gain[:, None]

    def apply(self, x: Tensor, touched: Tensor, scores: Tensor, edits: int) -> None:
        """Make up to ``edits`` edits a sample, by falling score; those without a positive score are left out."""
        every = torch.arange(len(x), device=x.device)
        step = x[0, 0].numel()
        flat, marks = x.flatten(1), touched.flatten(1)
        if self.edit != "shift":
            # No edit stands in the way of another: all at once, ties in the order of places.
            ranked = torch.where(self.allowed(x, touched), scores, -torch.inf).flatten(1)
            values, indices = ranked.sort(dim=1, descending=True, stable=True)
            row, rank = torch.nonzero(values[:, :edits] > 0, as_tuple=True)
            cells = indices[row, rank]
            flat[row, cells] = 1 - flat[row, cells]
            marks[row, cells] = True
            return
        for _ in range(edits):
            found = torch.where(self.allowed(x, touched), scores, -torch.inf).flatten(1).max(1)
            chosen = found.values > 0
            for offset in (0, step):
                rows, cells = every[chosen], found.indices[chosen] + offset
                flat[rows, cells] = 1 - flat[rows, cells]
                marks[rows, cells] = True


@dataclass(frozen=True, kw_only=True)
class SpikeFlip(SpikeAttack):
    """Edits chosen by the gradient: at each of ``steps`` gradients, those of the largest gain g (1 - 2 x) are made.

    Args:
        budget: edits a sample.
        edit: "flip", "insert", "delete" or "shift".
        steps: gradients, the budget is spread over them; at most the budget.
        loss: what is maximised.
        others: as of :class:`SpikeAttack`.
    """

    name: ClassVar[str] = "spike-gradient"
    steps: int = 10
    loss: Loss = "cross-entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise InputError(f"steps: {self.steps}, expected 1 or more")
        check_loss(self.loss)

    @property
    def stem(self) -> str:
        """The name, with steps and loss where they are not the usual ones."""
        return self.name + f"-{self.steps}" * (self.steps != 10) + f"-{self.loss}" * (self.loss != "cross-entropy")

    @property
    def effort(self) -> float:
        """Gradients."""
        return float(self.steps * self.restarts)

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return edited spikes (batch, time, ...)."""
        device = device_of(model)
        clean, y = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
        search = Search(clean.clone(), clean, y)
        made = clean.clone()
        search.more["touched"] = torch.zeros_like(clean, dtype=torch.bool).flatten(2)
        steps = min(self.steps, self.budget)
        with attack_gradient(model, self.backward) as swapped:
            for step in range(steps + 1):
                loss, right, gradient = look(model, search, self.loss, swapped)
                search.saw(loss)
                made[search.index] = torch.where(wide(right, search.x), search.best_x, search.x)
                if step == steps or not bool(right.any()):
                    break
                search.keep(right)
                swapped.keep(right)
                x = search.x.flatten(2).clone()
                edits = self.budget * (step + 1) // steps - self.budget * step // steps
                self.apply(x, search.more["touched"], self.gains(x, gradient[right].flatten(2)), edits)
                search.x = x.view_as(search.x)
        return made.cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class SpikeSearch(QueryAttack, SpikeAttack):
    """Random search on logits, without gradients: places of edits are exchanged, and kept if the margin does not rise.

    From ``budget`` edits at random places; query q of Q moves k = max(1, budget (1 - q / Q) / 4) of them at once, as
    sparse random search does (Croce et al. 2022, "Sparse-RS", arXiv 2006.12834). Samples leave when misclassified.

    Args:
        budget: edits a sample.
        edit: "flip", "insert" or "delete".
        queries: forward passes a sample.
        others: as of :class:`SpikeAttack`.
    """

    name: ClassVar[str] = "spike-search"
    access: ClassVar[Access] = "black box, logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.edit == "shift":
            raise InputError(f"edit: {self.edit!r}, expected flip, insert or delete")

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return edited spikes (batch, time, ...)."""
        rng = generator()
        clean = images.reshape(len(images), -1) > 0.5
        free = {"flip": np.ones_like(clean), "insert": ~clean, "delete": clean}[self.edit]

        def some(allowed: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
            """Choose up to ``count`` places of each row."""
            order = np.where(allowed, rng.random(allowed.shape, dtype=np.float32), 2.0)
            last = np.partition(order, min(count, order.shape[1]) - 1, axis=1)[:, min(count, order.shape[1]) - 1, None]
            return allowed & (order <= last)

        def spikes(edits: NDArray[np.bool_], rows: NDArray[np.int64]) -> Images:
            return (clean[rows] ^ edits).astype(np.float32).reshape(len(rows), *images.shape[1:])

        left = np.arange(len(images))
        edits = some(free, self.budget)
        made = spikes(edits, left)
        best = margins(model, made, labels, self.batch)
        for query in range(1, self.queries):
            going = best >= 0
            left, edits, best = left[going], edits[going], best[going]
            if not len(left):
                break
            moved = max(1, round(self.budget * (1 - query / self.queries) / 4))
            dropped = some(edits, moved)
            added = some(free[left] & ~edits, moved)
            # A row without places left gains nothing, and so may lose nothing.
            tried = np.where(
                added.sum(1, keepdims=True) < dropped.sum(1, keepdims=True), edits, edits & ~dropped | added
            )
            x = spikes(tried, left)
            found = margins(model, x, labels[left], self.batch)
            better = found <= best
            edits[better], best[better], made[left[better]] = tried[better], found[better], x[better]
        return made


@dataclass(frozen=True, kw_only=True)
class SpikeNoise(SpikeAttack):
    """The control: as many edits, at random places.

    Args:
        budget: edits a sample.
        others: as of :class:`SpikeAttack`.
    """

    name: ClassVar[str] = "spike-noise"
    access: ClassVar[Access] = "no access"

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return edited spikes (batch, time, ...)."""
        x = torch.from_numpy(images.copy()).flatten(2)
        touched = torch.zeros_like(x, dtype=torch.bool)
        scores = 0.5 + torch.rand(x.shape)[:, None]
        self.apply(x, touched, scores, self.budget)
        return x.view(images.shape).numpy()
