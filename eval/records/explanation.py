"""The record of an explanation: stages, where neighbours part, and what each cause does."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from .base import Data, Machine, Part, ProgramId, Record, Share, read_model
from .sensitivity import Paired, Sensitivities


class Stage(Part):
    """One form of the network.

    Attributes:
        name: one of :data:`..explain.causes.STAGES`.
        what: in words.
        samples: how many it was run on, the first ones.
        accuracy: of its classes.
    """

    name: str
    what: str
    samples: int
    accuracy: Share


class Place(Part):
    """Where two forms part first.

    Attributes:
        population: earliest in the order of computation (in a recurrent network: of those of the earliest step).
        step: of the population's window, from 0.
        neuron: index in the population's shape.
        sample: index of the image.
        fires: which of the two forms fires there.
    """

    population: str
    step: int
    neuron: tuple[int, ...]
    sample: int
    fires: Literal["before", "after"]


class Effect(Part):
    """What changed between two runs.

    Attributes:
        different: spike values (a neuron, a step, a sample) that differ.
        compared: how many were compared.
        paired: classes.
        accuracy: of the second run.
        first: None if nothing differs.
    """

    different: int
    compared: int
    paired: Paired
    accuracy: Share
    first: Place | None


class Reason(Part):
    """Why a first difference is there, found by repeating that one sample.

    Attributes:
        code: of a cause.
        sufficient: switched on alone, on top of the stage before, it makes the later stage's spike.
        necessary: left out of the later stage alone, the earlier stage's spike comes back.
    """

    code: str
    sufficient: bool
    necessary: bool


class Pair(Part):
    """Two neighbouring stages.

    Attributes:
        before: name of the first stage.
        after: name of the second.
        effect: of going from one to the other.
        by_population: spike values that differ.
        reasons: of the first difference.
        membranes: voltage over threshold at the first difference, before and after; None where not computed.
    """

    before: str
    after: str
    effect: Effect
    by_population: dict[str, int]
    reasons: list[Reason]
    membranes: tuple[float, float] | None


class Contribution(Part):
    """One cause.

    Attributes:
        code: see :data:`..explain.causes.CAUSES`.
        title: its name.
        kind: rounding, limit or fault.
        evidence: what shows that it can act.
        alone: the network in real numbers, against the same with this cause switched on.
        repaired: the Program, against the same with this cause switched off.
        left: spike values in which the repaired Program still differs from the network in real numbers.
        share: of the Program's differing spike values, the mean of what it adds first (alone) and last (repaired).
        remedy: what to do about it.
    """

    code: str
    title: str
    kind: Literal["rounding", "limit", "fault"]
    evidence: list[str]
    alone: Effect
    repaired: Effect
    left: int
    share: float
    remedy: str

    @property
    def acts(self) -> bool:
        """Whether it changes any spike or class, alone or as the last one."""
        both = self.alone, self.repaired
        return any(one.different or one.paired.classes_changed for one in both)


class Findings(Part):
    """What :func:`..explain.explainer.explain` finds.

    Attributes:
        samples: images, the first so many.
        stages: in the order of deployment.
        pairs: neighbours.
        whole: the first stage against the Program.
        base: the stage that causes are switched on in: the last one before anything is rounded.
        total: spike values in which the Program differs from it.
        causes: those that can act, largest share first, faults before limits before roundings.
        exact: causes that cannot act here, by code.
        unknown: causes that nothing can be said of, since the Program came without the network that it was made from.
        base_differs: spike values in which the base in real numbers (float64) differs from the stage in float32.
        program_differs: the same of all causes together against the Program: 0, or this explanation is not complete.
        overflow: events of the Program, a population.
        verdict: the answer in a few sentences.
    """

    samples: int
    stages: list[Stage]
    pairs: list[Pair]
    whole: Effect
    base: str
    total: int
    causes: list[Contribution]
    exact: list[str]
    unknown: list[str] = Field(default=[], exclude_if=lambda found: not found)
    base_differs: int
    program_differs: int
    overflow: dict[str, dict[str, int]]
    verdict: list[str]


class Explanation(Record, Findings):
    """The same with where it comes from, and with what each layer's weights cost; None where that was not looked at."""

    data: Data
    program: ProgramId
    recipe: dict[str, Any] | None
    machine: Machine
    layers: Sensitivities | None = None
    notes: list[str]
    seconds: float


def read(path: Path) -> Explanation:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Explanation, path, "run 'spikeproof explain'")
