"""Energy and time: sums done on paper, bounds that hold, and nothing where nothing is public."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.eval.cost.constants import Interval, parse, table
from spikeproof.eval.cost.energy import Events, Traffic, count_events, estimate, mapped, steps_an_inference, unmapped
from spikeproof.eval.measure.activity import MembraneUpdates
from spikeproof.eval.measure.metrics import SynapticOperations
from spikeproof.export.chip.mapping import Core, Mapping, Slice
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.errors import InputError


def population(name: str, shape: tuple[int, ...], dv: int = 0, vth: int = 50) -> Population:
    return Population(name=name, shape=shape, du=4095, dv=dv, vth=vth, bias=np.zeros(shape, dtype=int))


def three_neurons() -> Program:
    """Two neurons a without memory, one neuron b that keeps its voltage; binary input of two."""
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(population("a", (2,), dv=4096), population("b", (1,))),
        synapses=(
            Dense(source="input", target="a", weight=np.array([[64, 0], [64, 64]])),
            Dense(source="a", target="b", weight=np.array([[40, 40]])),
        ),
        readout=Readout(population="b"),
        steps=2,
    )


def measured(program: Program, messages: np.ndarray, traffic: Traffic | None = None) -> Events:
    trace = get_target("loihi").compile(program).run(messages, rasters=True)
    operations, updates = SynapticOperations(program), MembraneUpdates()
    operations.update(trace, messages)
    for name, raster in trace.rasters.items():
        assert raster.v is not None
        updates.update(name, raster.v, raster.spikes)
    counts = {program.input.name: np.count_nonzero(messages, axis=0), **trace.spike_counts}
    sent = {name: part.reshape(1, -1).sum(0).astype(float) for name, part in counts.items()}
    active = {name: float(found.active) for name, found in updates.compute().items()}
    where = traffic or unmapped(program, "loihi1", table())
    return count_events(program, sent, operations.compute(), active, where)


def test_three_neurons_cost_what_they_cost_on_paper() -> None:
    """One sample; the input sends (1, 0), then (0, 1).

    Threshold: 50. Step 1: a0 gets 64 and fires, a1 gets 64 and fires; b gets 40 + 40 and fires. Step 2: a0 gets 0, a1
    gets 64 and fires; b gets 40 and keeps it. So a fires 3 times and b once. Operations: 2 input messages reach 2
    neurons each, 3 spikes reach one: 7. The chip needs 2 steps and 2 more until b's window: 4 steps, 12 updates. Active
    are a0 once, a1 twice, b twice (it fires, then its voltage changes): 5, and 7 are idle. Messages: 2 + 3, each to one
    core; b's spikes go nowhere.
    """
    events = measured(three_neurons(), np.array([[[1, 0]], [[0, 1]]]))
    assert events == Events({"dense": 7.0}, 5.0, 7.0, 4.0, Interval(5, 5), Interval(0, 50), 4, Interval(1, 128))
    found = estimate(events, "loihi1", table())
    pico = {name: (1e12 * term.low, 1e12 * term.high) for name, term in found.terms.items()}
    # Time of all events in ns, one after the other:
    #   low  7 3.1 + 5 8.4 + 7 5.3 + 4 0.0 + 5 2.1 + 0 4.1 = 111.3
    #   high 7 4.7 + 5 9.7 + 7 6.0 + 4 30.0 + 5 21.1 + 50 6.5 = 673.9
    # Static: low end 7.4 mW for one of 128 cores and 4 113 + 111.3 ns; high end 104 mW for 4 1800 + 673.9 ns.
    paper = {
        "synapse": (7 * 23.6, 7 * 35.5),
        "active": (5 * 72.8, 5 * 81.0),
        "idle": (7 * 51.2, 7 * 52.0),
        "spike": (0.0, 4 * 69.3),
        "message": (5 * 1.7, 5 * 111.0),
        "hop": (0.0, 50 * 4.2),
        "static": (7.4 * 563.3 / 128, 104 * 7873.9),
    }
    assert pico == {name: pytest.approx(ends) for name, ends in paper.items()}
    assert (1e12 * found.total.low, 1e12 * found.total.high) == pytest.approx((896.1 + 7.4 * 563.3 / 128, 820_945.3))
    assert (1e9 * found.time.low, 1e9 * found.time.high) == pytest.approx((4 * 113 + 111.3 / 128, 7873.9))
    assert (1e9 * found.step.low, 1e9 * found.step.high) == pytest.approx((113 + 111.3 / 512, 7873.9 / 4))


def test_silence_costs_idle_updates_and_static_power_only() -> None:
    events = measured(three_neurons(), np.zeros((2, 1, 2), dtype=int))
    terms = estimate(events, "loihi1", table()).terms
    assert {name for name, term in terms.items() if term.high} == {"idle", "static"}
    assert terms["idle"].low == pytest.approx(12 * 51.2e-12)


def test_a_bias_coded_input_sends_no_messages() -> None:
    coded = Population(
        name="a", shape=(3,), du=4095, dv=4096, vth=1, bias=np.zeros(3, dtype=int), input_bias=True, bias_exponent=6
    )
    program = Program(
        input=Input(shape=(3,), message_bits=8),
        populations=(coded,),
        synapses=(),
        readout=Readout(population="a"),
        steps=2,
    )
    events = measured(program, np.full((2, 1, 3), 200))
    assert (events.spike, events.message, events.synapse) == (6.0, Interval(0, 0), {})


def test_two_kinds_of_synapse_have_their_own_price() -> None:
    image = (1, 4, 4)
    program = Program(
        input=Input(shape=image, message_bits=0),
        populations=(population("a", (1, 2, 2)), population("b", (1,))),
        synapses=(
            Convolution(source="input", target="a", weight=np.full((1, 1, 2, 2), 64), stride=(2, 2)),
            Dense(source="a", target="b", weight=np.full((1, 4), 40)),
        ),
        readout=Readout(population="b"),
        steps=1,
    )
    events = measured(program, np.ones((1, 1, *image), dtype=int))
    assert events.synapse == {"convolution": 16.0, "dense": 4.0}
    term = estimate(events, "loihi1", table()).terms["synapse"]
    assert 1e12 * term.high == pytest.approx(16 * 24.0 + 4 * 35.5)


def test_without_a_mapping_a_message_may_go_to_every_core_of_its_target_but_no_further() -> None:
    """3000 neurons need 3 cores; a sender that reaches two neurons needs two at most."""
    wide = Program(
        input=Input(shape=(1, 1, 3001), message_bits=0),
        populations=(population("a", (1, 1, 3000)), population("b", (2500,))),
        synapses=(
            Convolution(source="input", target="a", weight=np.full((1, 1, 1, 2), 64)),
            Dense(source="a", target="b", weight=np.full((2500, 3000), 2)),
        ),
        readout=Readout(population="b"),
        steps=1,
    )
    found = unmapped(wide, "loihi1", table())
    assert found.cores == Interval(6, 128)  # 5500 / 1024
    assert found.packets == {"input": (1, 2), "a": (1, 3), "b": (0, 0)}
    assert found.hops["a"] == (0, 30)
    assert steps_an_inference(wide) == 3


def test_a_mapping_says_how_far_messages_go() -> None:
    """Neurons a on core 0, in the corner; b on core 127, in the opposite one: 7 tiles east and 3 south."""
    mapping = Mapping("loihi1", (Core(0, (Slice("a", 0, 2),)), Core(127, (Slice("b", 0, 1),))))
    program = three_neurons()
    events = measured(program, np.array([[[1, 0]], [[0, 1]]]), mapped(program, mapping, table()))
    # Two input messages to core 0, three spikes of a to core 127; how far the input comes is not known.
    assert (events.message, events.hop) == (Interval(5, 5), Interval(3 * 10, 3 * 10 + 2 * 10))
    assert events.cores == Interval(2, 2)
    found = estimate(events, "loihi1", table())
    assert 1e12 * found.terms["hop"].low == pytest.approx(30 * 3.0)


@given(
    st.lists(st.floats(0, 1e6), min_size=8, max_size=8),
    st.integers(0, 5),
    st.floats(0, 1e5),
)
def test_more_events_never_cost_less_and_low_never_passes_high(counts: list[float], which: int, more: float) -> None:
    def events(numbers: list[float]) -> Events:
        dense, conv, active, idle, spike, message, hop, spread = numbers
        return Events(
            {"dense": dense, "convolution": conv},
            active,
            idle,
            spike,
            Interval(message, message + spread),
            Interval(hop, hop + spread),
            7,
            Interval(2, 128),
        )

    before = estimate(events(counts), "loihi1", table())
    counts[which] += more
    after = estimate(events(counts), "loihi1", table())
    assert before.total.low <= before.total.high
    assert before.total.low <= after.total.low
    assert before.total.high <= after.total.high
    for name, term in before.terms.items():
        assert term.low <= term.high, name


def test_what_is_not_public_is_not_estimated() -> None:
    events = measured(three_neurons(), np.ones((2, 1, 2), dtype=int))
    with pytest.raises(InputError, match="no public constant for 'synapse' in pJ on 'loihi2'"):
        estimate(events, "loihi2", table())
    unknown = dataclasses.replace(events, synapse={"fractal": 3.0})
    assert estimate(unknown, "loihi1", table()).terms["synapse"] == Interval(3 * 23.6e-12, 3 * 23.6e-12)


def test_every_constant_has_a_source_that_can_be_opened() -> None:
    found = table()
    assert {one.source for one in found.constants} == set(found.sources)
    assert all(source.url.startswith("https://") and source.title for source in found.sources.values())
    assert all(one.note for one in found.constants)


SOURCE = '[sources.s]\ntitle = "t"\nurl = "https://x"\nnote = "n"\n'
CONSTANT = '[[constants]]\nchip = "c"\nterm = "t"\nunit = "pJ"\nvalue = [1.0, 2.0]\nquality = "assumed"\nnote = "n"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SOURCE + CONSTANT + 'source = "other"', "names the source 'other'"),
        (SOURCE + CONSTANT, "source"),
        (SOURCE + CONSTANT.replace("assumed", "sure") + 'source = "s"', "quality"),
        (SOURCE + CONSTANT.replace("[1.0, 2.0]", "[2.0, 1.0]") + 'source = "s"', "in order"),
        ("[", "energy constants"),
    ],
)
def test_constants_without_source_quality_or_order_are_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse(text)
