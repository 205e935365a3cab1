"""A protocol on every form of a network: float, quantized, and the Program on the chip's arithmetic.

:func:`measure` is the door for whoever has no run folder; :func:`run_protocol` is what it and runs stand on.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from ...export.program import Program
from ...hw_targets.family import family_for, simulator
from ...hw_targets.target import Compiled, get_target
from ...toolkit.attacks.base import Attack
from ...toolkit.attacks.protocol import Protocol
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.attacks.victim import predict
from ...toolkit.coding import Coder, Direct
from ...toolkit.data import Images, Labels
from ...toolkit.errors import InputError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.train import seeded
from ..records.base import share
from ..records.robustness import FormResult, Judged
from .attackers import Attackers
from .form import Found, Side, assess
from .probes import efforts
from .runner import counted
from .summary import summary
from .threat import AsGiven, Pixel, Threat, Timing, threat_of

JUDGE = "loihi"
"""The target that answers for a Program of Loihi's integers; for others it is their own simulator."""


@dataclass(frozen=True)
class Subject:
    """A network's forms; at least one.

    Attributes:
        network: in float; where transferred examples are made.
        quantized: fake-quantized.
        program: its integers.
        targets: samples that each other target of the Program gets, by name; they judge worst-case examples.
        torch: whether the float and the quantized form are attacked, too.
        name: of the float form, in results and alarms.
        given_coder: how images become messages; None for the network's own.
    """

    network: nn.Module | None = None
    quantized: nn.Module | None = None
    program: Program | None = None
    targets: Mapping[str, int] = field(default_factory=dict)
    torch: bool = True
    name: str = "float"
    given_coder: Coder | None = None

    @property
    def coder(self) -> Coder:
        """How images become messages: as given, the network's own, or the Program's steps of the direct coder.

        Raises:
            InputError: none is given and none is known.
        """
        if self.given_coder is not None:
            return self.given_coder
        for network in (self.network, self.quantized):
            if isinstance(network, SpikingNetwork):
                return network.coder
        if self.program is None:
            raise InputError("coder: not known of this module; give one, as coder=Direct(4)")
        return Direct(self.program.steps)


@dataclass(frozen=True, repr=False)
class Measured:
    """What a protocol found.

    Attributes:
        protocol: the attacks that were run.
        threat: name of the threat model.
        threat_model: the same in words; the worst cases are about no other.
        epsilon: radius of the ball; of spikes, the number of edits.
        forms: a result for every form: "float", "quantized", "program", or the name that was given.
        unreceivable: why the Program was not attacked; None if it was, or if there is none.
        examples: the worst-case examples of every form, (samples, ...): the first that broke a sample, else the first
            that was tried on it.
    """

    protocol: Protocol
    threat: str
    threat_model: str
    epsilon: float
    forms: tuple[FormResult, ...]
    unreceivable: str | None = None
    examples: Mapping[str, Images] = field(default_factory=dict)

    def __getitem__(self, form: str) -> FormResult:
        """Return the result of one form."""
        return {result.form: result for result in self.forms}[form]

    def __repr__(self) -> str:
        return f"<protocol {self.protocol.name}, {self.threat}, {self.epsilon:g}: {self.summary}>"

    @property
    def summary(self) -> str:
        """One sentence: what deployment did to robustness, or what is left of the only form."""
        return summary(list(self.forms), self.unreceivable)


def measure(
    network: nn.Module | Program | None,
    images: Images,
    labels: Labels,
    *,
    quantized: nn.Module | None = None,
    program: Program | None = None,
    coder: Coder | None = None,
    protocol: str | Protocol = "standard",
    threat: str | None = None,
    epsilon: float | None = None,
    budget: int | None = None,
    shifts: Shifts | None = None,
    seed: int = 0,
    draws: int = 1,
    targets: Sequence[str] = (),
    name: str = "network",
    folder: Path | None = None,
    track: Track = silent,
) -> Measured:
    """Run a protocol on any classifier, on a Program, or on all forms of a network beside each other.

    A network alone is attacked as it is. With a quantized network, a Program, a coder or a threat model, inputs and
    radius are first rounded to what the chip receives, for every form alike, so that forms can be compared.

    Args:
        network: from images in [0, 1] to logits, put into evaluation mode; or a Program; or None.
        images: (samples, channels, height, width), or what the coder takes.
        labels: (samples,).
        quantized: the fake-quantized network.
        program: what was made of it.
        coder: how images become messages; None for the network's own.
        protocol: "quick", "standard", "strong", or one of your own.
        threat: "pixel", "encoded", "encoded-binary" or "timing"; None for the protocol's, which is "pixel" for the
            built-in ones.
        epsilon: radius of the ball; None for the protocol's, or the usual one of the threat model.
        budget: edits of spikes a sample, for "encoded-binary"; spikes that move, for "timing".
        shifts: how far spikes move, for "timing"; by one step if None.
        seed: added to the seed of every attack.
        draws: of a stochastic coder, that attacks with gradients average.
        targets: other targets of the Program that judge its worst-case examples.
        name: of the form, where there is but a network.
        folder: for attacks that are done or interrupted; None keeps nothing.
        track: progress.

    Raises:
        DisagreementError: the twin's verdict differs from the simulator's.
        InputError: something is refused, or there is nothing to attack.
    """
    if isinstance(network, Program):
        if program is not None:
            raise InputError("program: given twice; give a network first, or None")
        network, program = None, network
    own = protocol.threat if isinstance(protocol, Protocol) else Pixel.name
    alone = quantized is None and program is None and coder is None and threat is None and own == Pixel.name
    judges = dict.fromkeys(targets, len(labels))
    subject = Subject(network, quantized, program, judges, name=name if alone else "float", given_coder=coder)
    if alone:
        radius = protocol.radius if epsilon is None and isinstance(protocol, Protocol) else epsilon
        model: Threat = AsGiven(radius)
    else:
        model = threat_of(protocol, subject.coder, threat, epsilon, budget, shifts)
    return run_protocol(
        subject,
        images,
        labels,
        protocol=protocol,
        threat=model,
        seed=seed,
        draws=draws,
        folder=folder,
        track=track,
    )


def run_protocol(
    subject: Subject,
    images: Images,
    labels: Labels,
    *,
    protocol: str | Protocol,
    threat: Threat,
    seed: int = 0,
    draws: int = 1,
    probes: bool = True,
    folder: Path | None = None,
    track: Track = silent,
) -> Measured:
    """Attack every form and let the other targets judge the Program's worst-case examples.

    Args:
        subject: the forms.
        images: what the coder takes, (samples, ...); the threat model makes of them what is attacked.
        labels: (samples,).
        protocol: "quick", "standard", "strong", or one of your own.
        threat: the threat model, with its radius.
        seed: added to the seed of every attack.
        draws: of a stochastic coder, that attacks with gradients average.
        probes: whether the probes of the protocol, if it has any, are run here.
        folder: for attacks that are done or interrupted; None keeps nothing.
        track: progress.

    Raises:
        DisagreementError: the twin's verdict differs from the simulator's.
        InputError: the protocol is refused, or no form is left to attack.
    """
    chosen = threat.protocol(protocol).later(seed)
    probing = chosen.probes and probes
    x = threat.inputs(images)
    every = _sides(subject, chosen, threat, draws)
    shifts = threat.shifts if isinstance(threat, Timing) else None
    against = Attackers(
        (),
        chosen.cascade,
        threat.radius,
        seed,
        search=chosen.search,
        rounds=chosen.rounds,
        until=chosen.until,
        space=threat.space,
        probes=probing,
        shifts=shifts,
    )
    results: list[FormResult] = []
    examples: dict[str, Images] = {}
    source: Found | None = None
    effort = efforts(against, len(labels)) if probing else 0.0
    listed = {side.form: attacks for side, attacks in every}
    with one_thread(), counted(listed, len(labels), chosen, effort, folder, track) as runner:
        for side, attacks in every:
            if side.form == "program" and source is not None:
                side = replace(side, source=source.examples)
            runner.form = side.form
            found = assess(side, x, labels, replace(against, attacks=attacks), runner)
            if side.form == subject.name:
                source = found
            results.append(found.result)
            examples[side.form] = found.worst
            if side.form == "program" and subject.program is not None:
                compiled = simulator(subject.program).compile(subject.program)
                judged = {
                    name: _judged(
                        get_target(name).compile(subject.program), compiled, threat, x[:count], labels[:count], found
                    )
                    for name, count in subject.targets.items()
                    if count
                }
                results[-1] = found.result.model_copy(update={"judged": judged})
    refused = threat.unreceivable if subject.program is not None else None
    return Measured(chosen, threat.name, threat.words, threat.radius, tuple(results), refused, examples)


def _sides(subject: Subject, protocol: Protocol, threat: Threat, draws: int) -> list[tuple[Side, list[Attack]]]:
    """Return every form that is attacked, with what it has to bear."""
    every: list[tuple[Side, list[Attack]]] = []
    if subject.torch:
        for name, network in ((subject.name, subject.network), ("quantized", subject.quantized)):
            if network is not None:
                module = threat.module(network)
                every.append((Side(name, "torch", module, grid=threat.grid), protocol.on(module, draws=draws)))
    program = subject.program
    if program is not None and threat.unreceivable is None:
        family = family_for(program)
        answer = threat.function(get_target(family.target).compile(program))
        twin = threat.module(family.twin(program, family.coder(subject.coder)))
        source = None if subject.network is None else threat.module(subject.network)
        side = Side("program", family.target, twin, answer, program.sha256(), grid=threat.grid)
        every.append((side, protocol.on(twin, deployed=True, source=source, draws=draws)))
    if not every:
        why = "no network and no Program" if threat.unreceivable is None or program is None else threat.unreceivable
        raise InputError(f"nothing to attack: {why}")
    return every


@contextmanager
def one_thread() -> Iterator[None]:
    """Add in one order whatever the machine, so that records are repeated; small networks gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _judged(other: Compiled, judge: Compiled, threat: Threat, x: Images, labels: Labels, found: Found) -> Judged:
    """Let another target answer the first clean inputs and worst-case examples."""
    count = len(labels)
    right, same = [], 0
    for part in (x, found.worst[:count]):
        answers = []
        for one in (other, judge):
            with seeded(0):  # A stochastic coder shows both the same draws.
                answers.append(predict(threat.function(one), part, count))
        theirs, ours = answers
        right.append(theirs == labels)
        same += int((theirs == ours).sum())
    return Judged(samples=count, clean=share(right[0]), worst=share(right[0] & right[1]), same=same)
