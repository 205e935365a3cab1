"""Energy and time of one inference on a chip, as intervals: events counted on the Program, times public constants.

    E = sum_k n_syn,k e_syn,k + n_active e_active + n_idle e_idle + n_spike e_spike + n_message e_message
        + n_hop e_hop + P_static t,      t = steps (t_barrier + t_work)

Events are means a sample. Ends of intervals are added up, so the sum is as wide as if all terms erred the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.chip.limits import load_limits
from ...export.chip.mapping import Mapping as Mapped
from ...export.chip.mapping import hops, routes
from ...export.program import Population, Program
from ..measure.metrics import fan_out
from .constants import NOTHING, Interval, Table

PICO, NANO, MILLI = 1e-12, 1e-9, 1e-3


@dataclass(frozen=True)
class Traffic:
    """Where the network is on the chip, as far as it is known.

    Attributes:
        cores: how many are used.
        packets: messages that one spike of a neuron needs, one a core that it reaches: low and high end, numbers or
            (neurons,), by sender.
        hops: tiles that all of them cross together, as ``packets``.
        basis: where that comes from, in words.
    """

    cores: Interval
    packets: Mapping[str, tuple[Any, Any]]
    hops: Mapping[str, tuple[Any, Any]]
    basis: str


def unmapped(program: Program, chip: str, constants: Table) -> Traffic:
    """Return what can be said without a mapping: bounds from neurons a core and the mesh of the chip.

    A message goes to one core at least for each population that its sender reaches, and at most to as many as the
    population's neurons fill, or as the sender reaches neurons.
    """
    limits = load_limits(chip).limits
    room, most = int(limits["neurons"].low or 1), float(limits["cores"].high or 1)
    neurons = sum(int(np.prod(population.shape)) for population in program.populations)
    ends: dict[str, dict[str, int]] = {}
    for synapse in program.synapses:
        reached = min(int(fan_out(program, synapse).max()), int(np.prod(program.shape_of(synapse.target))))
        filled = -(-int(np.prod(program.shape_of(synapse.target))) // room)
        of = ends.setdefault(synapse.source, {})
        of[synapse.target] = max(of.get(synapse.target, 0), min(reached, filled))
    names = [program.input.name, *(population.name for population in program.populations)]
    far = constants.interval(chip, "hops a message", "count")
    packets = {name: (len(ends.get(name, {})), sum(ends.get(name, {}).values())) for name in names}
    return Traffic(
        Interval(min(float(-(-neurons // room)), most), most),
        packets,
        {name: (low * far.low, high * far.high) for name, (low, high) in packets.items()},
        f"no mapping: cores from the number of neurons alone, {far.low:g} to {far.high:g} hops a message",
    )


def mapped(program: Program, mapping: Mapped, constants: Table) -> Traffic:
    """Return the traffic of a mapping; only how far the input comes is not known."""
    far = constants.interval(mapping.chip, "hops a message", "count")
    ways = hops(program, mapping)
    packets: dict[str, tuple[Any, Any]] = {name: (way.packets, way.packets) for name, way in ways.items()}
    crossed: dict[str, tuple[Any, Any]] = {name: (way.east_west + way.north_south,) * 2 for name, way in ways.items()}
    outside = np.zeros(int(np.prod(program.input.shape)), dtype=np.int64)
    for route in routes(program, mapping):
        if route.synapse.source == program.input.name:
            outside += np.bincount(route.reached.nonzero()[1], minlength=len(outside))
    packets[program.input.name] = (outside, outside)
    crossed[program.input.name] = (outside * far.low, outside * far.high)
    used = float(len(mapping.cores))
    return Traffic(
        Interval(used, used),
        packets,
        crossed,
        f"placed on {used:g} cores as by 'spikeproof fit'; the input crosses {far.low:g} to {far.high:g} tiles",
    )


@dataclass(frozen=True)
class Events:
    """What happens in one inference, on average.

    Attributes:
        synapse: synaptic operations by kind of synapse.
        active: neuron updates that change the voltage or fire.
        idle: all other neuron updates, those before and after a population's window among them.
        spike: spikes that populations fire.
        message: spikes and input messages on their way to one core each.
        hop: tiles that messages cross.
        steps: time steps from the first input to the last output.
        cores: that are used.
    """

    synapse: Mapping[str, float]
    active: float
    idle: float
    spike: float
    message: Interval
    hop: Interval
    steps: int
    cores: Interval


def steps_an_inference(program: Program) -> int:
    """Return the steps from the first input to the last step of the last window: one sample at a time, no overlap."""
    return program.steps + max(program.depths().values())


def count_events(
    program: Program,
    sent: Mapping[str, NDArray[np.float64]],
    operations: Mapping[str, float],
    active: Mapping[str, float],
    traffic: Traffic,
    steps: int | None = None,
) -> Events:
    """Return the events of an inference from what was counted on it.

    Args:
        program: what runs.
        sent: messages a sample of every neuron, (neurons,), by input or population.
        operations: synaptic operations a sample, by "source -> target".
        active: neuron updates a sample that change the voltage or fire, by population; populations without voltage
            are active when they send.
        traffic: where the populations are.
        steps: of an inference; None: as of one alone, see :func:`steps_an_inference`.
    """
    kinds: dict[str, float] = {}
    for name, count in operations.items():
        source, target = name.split(" -> ")
        here = [synapse for synapse in program.synapses if (synapse.source, synapse.target) == (source, target)]
        # Two synapses between the same populations are counted together; their shares follow their size.
        sizes = [float(fan_out(program, synapse).sum()) for synapse in here]
        for synapse, size in zip(here, sizes, strict=True):
            kinds[synapse.kind] = kinds.get(synapse.kind, 0.0) + count * (size / sum(sizes) if sum(sizes) else 0.0)
    steps = steps_an_inference(program) if steps is None else steps
    updates = steps * sum(int(np.prod(population.shape)) for population in program.populations)
    total = {name: float(counts.sum()) for name, counts in sent.items()}
    busy = sum(active[p.name] if isinstance(p, Population) else total[p.name] for p in program.populations)
    message = hop = NOTHING
    for name, counts in sent.items():
        if name == program.input.name and not any(synapse.source == name for synapse in program.synapses):
            continue  # Bias-coded: the host writes it, nothing is sent.
        message += Interval(*(float((counts * end).sum()) for end in traffic.packets[name]))
        hop += Interval(*(float((counts * end).sum()) for end in traffic.hops[name]))
    fired = sum(total[population.name] for population in program.populations)
    return Events(kinds, busy, updates - busy, fired, message, hop, steps, traffic.cores)


@dataclass(frozen=True)
class Estimate:
    """Energy and time of one inference.

    Attributes:
        chip: whose constants.
        terms: joules, by term.
        total: joules, the sum of the terms.
        step: seconds a time step.
        time: seconds an inference.
        steps: time steps an inference.
    """

    chip: str
    terms: Mapping[str, Interval]
    total: Interval
    step: Interval
    time: Interval
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: joules and seconds, each interval as two numbers."""
        pairs = {name: (term.low, term.high) for name, term in self.terms.items()}
        ends = {name: (part.low, part.high) for name in ("total", "step", "time") if (part := getattr(self, name))}
        return {"chip": self.chip, "terms": pairs, **ends, "steps": self.steps}


def estimate(events: Events, chip: str, constants: Table) -> Estimate:
    """Return energy and time of an inference on a chip.

    The low end of a step's time has all work spread evenly over the cores, the high end has it on one core,
    one event after the other. The low end of the static energy is the share of the fewest cores, which never wait; the
    high end is the whole chip, for the longest time.

    Args:
        events: of one inference.
        chip: key of the constants.
        constants: the table.

    Raises:
        InputError: a constant is not public for this chip.
    """

    def price(term: str, unit: str, kind: str | None = None) -> Interval:
        return constants.interval(chip, term, unit, kind)

    counts = {
        "active": Interval(events.active, events.active),
        "idle": Interval(events.idle, events.idle),
        "spike": Interval(events.spike, events.spike),
        "message": events.message,
        "hop": events.hop,
    }
    energy, work = NOTHING, NOTHING
    for kind, count in events.synapse.items():
        energy += price("synapse", "pJ", kind) * (PICO * count)
        work += price("synapse", "ns", kind) * (NANO * count)
    terms = {"synapse": energy}
    for term, events_of in counts.items():
        terms[term] = price(term, "pJ") * events_of * PICO
        work += price(term, "ns") * events_of * NANO
    step = price("barrier", "ns") * NANO + Interval(work.low / events.cores.high, work.high) * (1 / events.steps)
    time = step * float(events.steps)
    power = price("static", "mW") * MILLI
    # The fewer cores, the smaller their share but the longer they work; the product is least at the fewest.
    shared = events.cores.low * events.steps * price("barrier", "ns").low * NANO + work.low
    whole = float(load_limits(chip).limits["cores"].high or 1)
    terms["static"] = Interval(power.low * shared / whole, power.high * time.high)
    total = NOTHING
    for part in terms.values():
        total += part
    return Estimate(chip, terms, total, step, time, events.steps)
