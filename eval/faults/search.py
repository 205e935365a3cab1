"""Worst flips: bits ranked by the twin's gradient, the first ones run on ``loihi``, the worst kept; then again.

Progressive bit search after Rakin, He and Fan (ICCV 2019), with the exact Program as the judge of every candidate.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...export.program import Population, Program, Sparse
from ...hw_targets.loihi.sums import to_tensor
from ...hw_targets.twin import Twin
from ...toolkit.progress import Track
from ..records.faults import Flip, Search
from .chance import POINTS, Judge
from .memory import Addresses, Memory, StoredField

BEAM = 8
"""Candidates a field and flip; thresholds and decays have no gradient, and so few bits that each is run."""


class _Shifted:
    """A synapse of the twin and a constant 0 added to what it delivers, whose gradient is that of a bias."""

    def __init__(self, wire: Any) -> None:
        self.wire, self.synapse, self.shape = wire, wire.synapse, wire.shape
        self.zero = torch.zeros(wire.shape, requires_grad=True)

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = self.wire(x) + self.zero
        return found


def gradients(
    program: Program, messages: NDArray[np.int32], labels: NDArray[np.integer]
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Return the derivatives of the mean cross-entropy to weights and biases, flattened, by kind and part's number.

    A bias counts as if its 64th part arrived at the synapses, which is exact where the current has no memory.
    """
    twin = Twin(program)
    shifts: dict[str, _Shifted] = {}
    numbers = {id(synapse): number for number, synapse in enumerate(program.synapses)}
    weights = {}
    for name, wires in twin.wires().items():
        for wire in wires:
            wire.sums.window = None  # The compiled pool has no derivative of its weights.
            weights[numbers[id(wire.synapse)]] = wire.sums.weight.requires_grad_()
        if wires and isinstance(program.population(name), Population):
            shifts[name] = _Shifted(wires[0])
            wires[0] = shifts[name]  # type: ignore[call-overload]
    loss = functional.cross_entropy(
        twin.answer(to_tensor(messages, twin.device, program.input.peak)), torch.from_numpy(labels).long()
    )
    places = [*weights.values(), *(shift.zero for shift in shifts.values())]
    found = torch.autograd.grad(loss, places, allow_unused=True)
    arrays = [
        np.zeros(place.numel()) if slope is None else slope.double().numpy().ravel()
        for place, slope in zip(places, found, strict=True)
    ]
    by: dict[tuple[str, int], NDArray[np.float64]] = {}
    for (number, weight), slope in zip(weights.items(), arrays, strict=False):
        synapse = program.synapses[number]
        if isinstance(synapse, Sparse):
            slope = slope.reshape(weight.shape)[synapse.rows, synapse.columns]
        by["weight", number] = slope
    for place, population in enumerate(program.populations):
        if population.name in shifts:
            slope = arrays[len(weights) + list(shifts).index(population.name)]
            by["bias", place] = slope * 2.0**population.bias_exponent / 64  # type: ignore[union-attr]
    return by


def changes(memory: Memory, field: StoredField) -> NDArray[np.int64]:
    """Return by how much each bit's flip changes its integer, (words, bits)."""
    bit = np.arange(field.bits)
    is_set = field.codes(memory.values(field))[:, None] >> bit & 1
    return np.where(is_set == 1, -1, 1) * field.worth(bit)


class _Search:
    def __init__(self, judge: Judge, among: Addresses, samples: int) -> None:
        self.memory, self.among, self.judge = judge.memory, among, judge
        self.looked = Judge(judge.memory, judge.messages[:, :samples], judge.labels[:samples])
        self.twin = Twin(judge.memory.program)
        self.tried = 0
        self.flips: list[int] = []

    def _candidates(self) -> list[int]:
        now = Memory(self.memory.flipped(self.flips))
        slopes = gradients(now.program, self.looked.messages, self.looked.labels)
        found: list[int] = []
        for field in now.fields:
            end = field.first + field.words * field.bits
            here = self.among[(self.among >= field.first) & (self.among < end)]
            here = here[~np.isin(here, self.flips)]
            if field.kind in ("weight", "bias") and (slope := slopes.get((field.kind, field.part))) is not None:
                gain = (slope[:, None] * changes(now, field)).ravel()[here - field.first]
                here = here[np.argsort(-gain, kind="stable")[:BEAM]]
            found += here.tolist()
        return found

    def _score(self, flips: list[int]) -> tuple[int, float]:
        self.tried += 1
        output = self.looked.outputs(flips)
        labels = torch.from_numpy(self.looked.labels).long()
        loss = float(functional.cross_entropy(self.twin.logits(torch.from_numpy(output)), labels))
        return -int((output.argmax(1) == self.looked.labels).sum()), loss

    def step(self, track: Track) -> int | None:
        """Flip the worst candidate and return it; None if no bits are left."""
        candidates = self._candidates()
        if not candidates:
            return None
        tried = track(candidates, f"worst flip {len(self.flips) + 1}", len(candidates))
        scores = [self._score([*self.flips, address]) for address in tried]
        self.flips.append(candidates[max(range(len(scores)), key=scores.__getitem__)])
        return self.flips[-1]


def search(
    judge: Judge,
    among: Addresses,
    *,
    field: str | None,
    most: int,
    level: float,
    samples: int,
    clean: float,
    track: Track,
) -> Search:
    """Search the flips that cost most: each time the one that leaves fewest right, then the highest loss.

    Args:
        judge: of the Program, with all samples.
        among: bits that may flip.
        field: what they are restricted to, for the record.
        most: flips.
        level: accuracy of all samples at which it stops.
        samples: that candidates are run on, the first ones.
        clean: accuracy without flips.
        track: progress.
    """
    hunt = _Search(judge, among, min(samples, len(judge.labels)))
    found: list[Flip] = []
    while len(found) < most and (not found or found[-1].accuracy > level):
        before = Memory(judge.memory.flipped(hunt.flips))
        address = hunt.step(track)
        if address is None:
            break
        where, word, bit = judge.memory.place(address)
        after = Memory(judge.memory.flipped(hunt.flips))
        found.append(
            Flip(
                layer=where.layer,
                field=where.kind,
                word=word,
                bit=bit,
                before=int(before.values(where)[word]),
                after=int(after.values(where)[word]),
                accuracy=judge.accuracy(hunt.flips),
            )
        )

    def first(limit: float) -> int | None:
        return next((number for number, flip in enumerate(found, 1) if flip.accuracy <= limit + 1e-12), None)

    return Search(
        field=field,
        bits=len(among),
        samples=len(hunt.looked.labels),
        level=level,
        tried=hunt.tried,
        flips=found,
        reached=first(level),
        points=first(clean - POINTS),
    )
