"""The record of faults: what flipped bits of a Program's memory cost, by chance and by search, and what is proved."""

from pathlib import Path

from .base import Part, ProgramId, Record, Share, read_model


class Stored(Part):
    """One array of the Program as it is stored.

    Attributes:
        field: weight, bias, vth, du or dv.
        layer: the population that it belongs to.
        label: what it is, in words.
        bits: of one word.
        words: how many.
        signed: whether words are two's complement.
    """

    field: str
    layer: str
    label: str
    bits: int
    words: int
    signed: bool


class Selection(Part):
    """Which bits may flip by chance and by search; None: any.

    Attributes:
        layer: population.
        field: weight, bias, vth, du or dv.
        bit: position in the word, from 0, the least significant.
        bits: how many bits that are.
    """

    layer: str | None
    field: str | None
    bit: int | None
    bits: int


class RandomFlips(Part):
    """Accuracy with so many random flips; a share, one a seed.

    Attributes:
        flips: how many.
        accuracies: one a seed.
        mean: of the seeds.
        deviation: sample standard deviation over seeds; None for one seed.
        least: over seeds.
        most: over seeds.
        lost: accuracy without flips minus the mean.
    """

    flips: int
    accuracies: list[float]
    mean: float
    deviation: float | None
    least: float
    most: float
    lost: float


class FlipCost(Part):
    """How many random flips cost so much accuracy, on lines between the numbers that were measured.

    Attributes:
        points: of accuracy, a share.
        flips: where the mean over seeds has lost it; None: never.
        seeds: of each seed.
        least: over the seeds that lose it; None: none does.
        most: over seeds; None: some seed never loses it.
    """

    points: float
    flips: float | None
    seeds: list[float | None]
    least: float | None
    most: float | None


class Chance(Part):
    """Random flips among some bits.

    Attributes:
        field: which may flip; None: any that are selected.
        bits: how many bits that are.
        random: accuracy against the number of flips.
        cost: the number that costs 5 points.
    """

    field: str | None
    bits: int
    random: list[RandomFlips]
    cost: FlipCost


class Group(Part):
    """Random flips in one layer and field only, at one bit position or any.

    Attributes:
        layer: population.
        field: weight, bias, vth, du or dv.
        bit: position in the word, from 0, the least significant; None: any.
        bits: how many such bits are stored.
        flips: how many of them flipped.
        accuracies: one a choice of bits.
        lost: accuracy without flips minus their mean.
    """

    layer: str
    field: str
    bit: int | None
    bits: int
    flips: int
    accuracies: list[float]
    lost: float


class Flip(Part):
    """One flip of a search.

    Attributes:
        layer: population.
        field: weight, bias, vth, du or dv.
        word: index in the flattened array.
        bit: position in the word.
        before: the integer without it.
        after: the integer with it.
        accuracy: of all samples with this flip and all before it.
    """

    layer: str
    field: str
    word: int
    bit: int
    before: int
    after: int
    accuracy: float


class Search(Part):
    """Worst flips, found one after the other.

    Attributes:
        field: which may flip; None: any.
        bits: how many bits that are.
        samples: that the search looked at, the first ones.
        level: accuracy that it was to reach.
        tried: flips that were run on those samples.
        flips: in order.
        reached: how many of them until accuracy was at the level or below; None: never.
        points: how many until 5 points were lost; None: never.
    """

    field: str | None
    bits: int
    samples: int
    level: float
    tried: int
    flips: list[Flip]
    reached: int | None
    points: int | None


class Proof(Part):
    """Flips in the read-out layer's weights and biases that cannot change a sample's class, whichever they are.

    Attributes:
        bits: of the read-out layer that may flip.
        most: the largest number that was looked at.
        proved: a sample: no so many flips change its class; ``most`` means that many or more.
        broken: a sample: so many flips that do change it, run on loihi; None: none found.
        absent: why nothing is proved; None if it is.
    """

    bits: int
    most: int
    proved: list[int]
    broken: list[int | None]
    absent: str | None = None


class Faults(Record):
    """What flipped bits cost.

    Attributes:
        samples: how many.
        clean: accuracy without flips.
        memory: everything that is stored, field by field.
        left_out: what is not modelled, and why.
        selection: which bits could flip.
        seeds: of random flips, from 0.
        chances: random flips, of weights alone and of all that is selected.
        groups: by layer, field and bit position.
        searches: worst flips.
        proof: of the read-out layer.
        seconds: all of it.
    """

    program: ProgramId
    samples: int
    clean: Share
    memory: list[Stored]
    left_out: list[str]
    selection: Selection
    seeds: int
    chances: list[Chance]
    groups: list[Group]
    searches: list[Search]
    proof: Proof
    seconds: float

    @property
    def bits(self) -> int:
        """How many bits are stored."""
        return sum(one.bits * one.words for one in self.memory)

    @property
    def sentences(self) -> list[str]:
        """What was found, in words."""
        found = []
        for chance in self.chances:
            points = f"{100 * chance.cost.points:g} points"
            flips, ends = chance.cost.flips, (chance.cost.least, chance.cost.most)
            low, high = ("never" if end is None else f"{end:.0f}" for end in ends)
            if flips is None:
                found.append(
                    f"Up to {chance.random[-1].flips:,} random flips {_of(chance.field)} do not cost {points}."
                )
            else:
                found.append(f"{flips:.0f} random flips {_of(chance.field)} cost {points} (seeds: {low} to {high}).")
        for search in self.searches:
            took = "not lost" if search.points is None else f"lost after {search.points}"
            level = f"{100 * search.level:.0f} %"
            end = f"{level} is not reached" if search.reached is None else f"{level} reached after {search.reached}"
            found.append(f"Searched flips {_of(search.field)}, {len(search.flips)} in all: 5 points {took}, {end}.")
        if self.proof.absent:
            found.append(f"Nothing is proved of the read-out layer: {self.proof.absent}.")
        else:
            safe = [sum(number >= k for number in self.proof.proved) for k in (1, 2, 3)]
            parts = ", ".join(f"{count} bear any {k}" for k, count in enumerate(safe, 1))
            found.append(
                f"Proved of {self.samples} samples' classes, flips of the read-out layer's weights and biases: {parts}."
            )
        return found


def _of(field: str | None) -> str:
    return "of weights" if field == "weight" else f"of {field}" if field else "of any field"


def read_faults(path: Path) -> Faults:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Faults, path, "run 'spikeproof faults'")
