from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spikeproof.export.program import (
    Convolution,
    Dense,
    Graded,
    Input,
    Population,
    Program,
    Readout,
    Sparse,
    Synapse,
)
from spikeproof.hw_targets.loihi import simulator
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Trace
from spikeproof.toolkit.errors import UnsupportedError

Programs = Callable[..., st.SearchStrategy[Program]]
Messages = Callable[..., np.ndarray]
M = 2**23


def twos_complement(x: np.ndarray, bits: int) -> np.ndarray:
    return (x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def scaled(x: np.ndarray, exponent: int) -> np.ndarray:
    x = twos_complement(x, 32)
    return x * 2**exponent if exponent >= 0 else x // 2**-exponent


def convolved(x: np.ndarray, conv: Convolution) -> np.ndarray:
    """Cross-correlate (batch, C, H, W), tap by tap, group by group."""
    out, per, height, width = conv.weight.shape
    (py, px), (sy, sx), (dy, dx) = conv.padding, conv.stride, conv.dilation
    x = np.pad(x, [(0, 0), (0, 0), (py, py), (px, px)])
    rows = (x.shape[2] - dy * (height - 1) - 1) // sy + 1
    columns = (x.shape[3] - dx * (width - 1) - 1) // sx + 1
    y = np.zeros((len(x), out, rows, columns), dtype=np.int64)
    for o, i, ky, kx in np.ndindex(conv.weight.shape):
        channel = x[:, o // (out // conv.groups) * per + i]
        seen = channel[:, ky * dy : ky * dy + rows * sy : sy, kx * dx : kx * dx + columns * sx : sx]
        y[:, o] += int(conv.weight[o, i, ky, kx]) * seen[:, :rows, :columns]
    return y


def arriving(x: np.ndarray, synapse: Synapse, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(synapse, Sparse):
        total = np.zeros((len(x), synapse.shape[0]), dtype=np.int64)
        for row, column, weight in zip(synapse.rows, synapse.columns, synapse.weight, strict=True):
            total[:, row] += int(weight) * x.reshape(len(x), -1)[:, column]
        return twos_complement(scaled(total, synapse.exponent), 32).reshape(len(x), *shape)
    if isinstance(synapse, Dense):
        total = x.reshape(len(x), -1) @ synapse.weight.astype(np.int64).T
        return twos_complement(scaled(total, synapse.exponent), 32).reshape(len(x), *shape)
    total = convolved(x, synapse)
    return twos_complement(total, 24) if synapse.exponent == 0 else twos_complement(scaled(total, synapse.exponent), 32)


def decayed(x: np.ndarray, factor: int) -> np.ndarray:
    return np.sign(x) * (np.abs(x) * (4096 - factor) // 4096)


def simulate(
    program: Program, messages: np.ndarray
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, int]]]:
    """Run on one clock, each synapse a step and its delay late.

    Returns what each population did in its window, (time, batch, ...), and how often its numbers' limits showed.
    """
    steps, batch = messages.shape[:2]
    order = [program.input.name, *(p.name for p in program.populations)]
    arrival = {program.input.name: 0}
    for name in order[1:]:
        ways = [s for s in program.synapses if s.target == name and order.index(s.source) < order.index(name)]
        arrival[name] = min((arrival[s.source] + s.delay + 1 for s in ways), default=0)
        start = program.populations[len(arrival) - 2].start
        arrival[name] = arrival[name] if start is None else start
    history: dict[str, dict[int, np.ndarray]] = {name: {} for name in order}
    states = {p.name: np.zeros((2, batch, *p.shape), dtype=np.int64) for p in program.populations}
    told: dict[str, dict[str, list[np.ndarray]]] = {
        p.name: {"spikes": [], "u": [], "v": []} for p in program.populations
    }
    counts = {p.name: dict.fromkeys(("wraps", "saturations", "swallowed"), 0) for p in program.spiking}
    for clock in range(steps + max(arrival.values())):
        if clock < steps:
            history[program.input.name][clock] = messages[clock].astype(np.int64)
        for p in program.populations:
            if not arrival[p.name] <= clock < arrival[p.name] + steps:
                continue
            a = np.zeros((batch, *p.shape), dtype=np.int64)
            for s in program.synapses:
                sent = history[s.source].get(clock - 1 - s.delay)
                if s.target == p.name and sent is not None:
                    a += arriving(sent, s, p.shape)
            if isinstance(p, Graded):
                history[p.name][clock] = np.where(a > p.vth, a, 0)
                told[p.name]["spikes"].append(history[p.name][clock])
                continue
            drive = messages[clock - arrival[p.name]].astype(np.int64) if p.input_bias else 0
            u, v = states[p.name]
            kept, held = decayed(u, p.du + 1), decayed(v, p.dv)
            lost = (u != 0) & (kept == 0) & (p.du < 4095) | (v != 0) & (held == 0) & (p.dv < 4096)
            u = twos_complement(kept + twos_complement(64 * a, 32), 32)
            u = np.where(u > M, u - 2 * M, np.where(u <= -M, u + 2 * M, u))
            raw = held + u + (p.bias.astype(np.int64) + drive) * 2**p.bias_exponent
            v = np.clip(raw, -M + 1, M - 1)
            for what, where in (("wraps", u != kept + 64 * a), ("saturations", v != raw), ("swallowed", lost)):
                counts[p.name][what] += int(where.sum())
            spikes = v > 64 * p.vth
            states[p.name] = np.stack([u, np.where(spikes, 0, v)])
            history[p.name][clock] = spikes.astype(np.int64)
            for what, values in zip(("spikes", "u", "v"), (spikes, *states[p.name]), strict=True):
                told[p.name][what].append(values)
    found = {name: {what: np.stack(values) for what, values in parts.items() if values} for name, parts in told.items()}
    return found, counts


def run(program: Program, messages: np.ndarray, **settings: Any) -> Trace:
    return LoihiTarget(**settings).compile(program).run(messages, rasters=True)


def test_a_program_runs_as_the_step_by_step_reference_does(
    programs: Programs, messages: Messages, share: float
) -> None:
    @settings(max_examples=int(500 * share))
    @given(programs(), st.integers(0, 999))
    def law(program: Program, seed: int) -> None:
        sent = messages(program, batch=3, seed=seed)
        trace, (expected, counts) = run(program, sent), simulate(program, sent)
        bare = LoihiTarget().compile(program).run(sent)
        assert {name: asdict(events) for name, events in trace.overflow.items()} == counts
        assert bare.overflow == trace.overflow
        np.testing.assert_array_equal(bare.output, trace.output)
        for name, parts in expected.items():
            raster = trace.rasters[name]
            np.testing.assert_array_equal(raster.spikes, parts["spikes"], err_msg=name)
            for what, values in (("u", raster.u), ("v", raster.v)):
                assert (values is None) == (what not in parts)
                if values is not None:
                    np.testing.assert_array_equal(values, parts[what], err_msg=name)
            np.testing.assert_array_equal(trace.spike_counts[name], (parts["spikes"] != 0).sum(0))
            np.testing.assert_array_equal(bare.spike_counts[name], trace.spike_counts[name])
        last = expected[program.readout.population]
        if program.readout.kind == "membrane":
            read = last["v"][-1]
        elif program.readout.kind == "spike_count":
            read = last["spikes"].sum(0)
        else:
            read = np.max(
                last["spikes"] * np.arange(program.steps, 0, -1).reshape(-1, *[1] * (last["spikes"].ndim - 1)), 0
            )
        np.testing.assert_array_equal(trace.output, read.reshape(3, -1))

    law()


@given(st.data())
def test_a_step_of_latency_a_synapse_changes_nothing_in_a_populations_own_window(
    programs: Programs, messages: Messages, data: st.DataObject
) -> None:
    program = data.draw(programs())
    if program.recurrent:
        with pytest.raises(UnsupportedError, match="is recurrent, and without latency"):
            run(program, messages(program, batch=2), latency=0)
        return
    sent = messages(program, batch=2)
    fast, faithful = run(program, sent, latency=0), run(program, sent, latency=1)
    assert faithful.overflow == fast.overflow
    np.testing.assert_array_equal(faithful.output, fast.output)
    for name, raster in fast.rasters.items():
        for what in ("spikes", "u", "v"):
            np.testing.assert_array_equal(getattr(faithful.rasters[name], what), getattr(raster, what))


@given(st.data())
def test_samples_of_a_batch_do_not_touch_each_other(
    programs: Programs, messages: Messages, data: st.DataObject
) -> None:
    program = data.draw(programs())
    sent = messages(program, batch=4)
    together = run(program, sent)
    alone = [run(program, sent[:, sample : sample + 1]) for sample in range(4)]
    np.testing.assert_array_equal(together.output, np.concatenate([trace.output for trace in alone]))
    for name, events in together.overflow.items():
        assert events.wraps == sum(trace.overflow[name].wraps for trace in alone)  # type: ignore[misc]
        assert events.saturations == sum(trace.overflow[name].saturations for trace in alone)  # type: ignore[misc]


def test_the_references_convolution_is_the_textbooks() -> None:
    conv = Convolution(source="input", target="a", weight=2 * np.arange(4).reshape(1, 1, 2, 2))
    x = np.arange(9).reshape(1, 1, 3, 3)
    assert convolved(x, conv).ravel().tolist() == [2 * (0 + 1 * b + 2 * c + 3 * d) for b, c, d in FOUR]


FOUR = [(1, 3, 4), (2, 4, 5), (4, 6, 7), (5, 7, 8)]


def planted(vth: int = 131071, dv: int = 4096, bias: int = 0, steps: int = 1) -> Program:
    """One neuron without memory, u = 128 x message."""
    neuron = Population(name="a", shape=(1,), du=4095, dv=dv, vth=vth, bias=np.array([bias]))
    return Program(
        input=Input(shape=(1,), message_bits=18),
        populations=(neuron,),
        synapses=(Dense(source="input", target="a", weight=np.array([[2]])),),
        readout=Readout(population="a"),
        steps=steps,
    )


@pytest.mark.parametrize(
    ("message", "wraps", "saturations"),
    [
        (0, 0, 0),
        (65535, 0, 0),
        (65536, 0, 1),
        (65537, 1, 0),
        (131072, 1, 0),
        (2**18 - 1, 1, 1),
    ],
    ids=["silence", "below 2^23", "at 2^23", "past 2^23", "2^24 is 0", "out of range after one wrap"],
)
@pytest.mark.parametrize("latency", [0, 1])
def test_every_wrap_and_saturation_is_counted_once(message: int, wraps: int, saturations: int, latency: int) -> None:
    events = run(planted(), np.array([[[message]]]), latency=latency).overflow["a"]
    assert (events.wraps, events.saturations) == (wraps, saturations)


def wrapped_once(x: int) -> int:
    x = (x + 2**31) % 2**32 - 2**31
    if x > M:
        return x - 2 * M
    return x + 2 * M if x <= -M else x


@pytest.mark.parametrize("kind", [Dense, Convolution])
@pytest.mark.parametrize("exponent", [0, -3, 3])
@pytest.mark.parametrize("weight", [2, 254, -2, -256])
@pytest.mark.parametrize("message", [1, 3, 2**15, 2**15 + 1, 2**16, 2**16 + 1, 2**22, 2**23 - 1, 2**23, 2**24 - 1])
def test_large_sums_overflow_where_their_synapse_and_the_current_say(
    kind: type[Dense | Convolution], exponent: int, weight: int, message: int
) -> None:
    values = np.full((1, 1) if kind is Dense else (1, 1, 1, 1), weight)
    program = Program(
        input=Input(shape=(1, 1, 1), message_bits=24),
        populations=(Population(name="a", shape=(1, 1, 1), du=4095, dv=0, vth=9, bias=np.zeros((1, 1, 1), int)),),
        synapses=(kind(source="input", target="a", weight=values, exponent=exponent),),
        readout=Readout(population="a"),
        steps=1,
    )
    bits = 24 if kind is Convolution and exponent == 0 else 32
    total = weight * message * 2**exponent if exponent >= 0 else weight * message // 2**-exponent
    arrived = (total + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    expected = wrapped_once((64 * arrived + 2**31) % 2**32 - 2**31)
    assert run(program, np.array([[[[[message]]]]])).rasters["a"].u.item() == expected


@pytest.mark.parametrize("latency", [0, 1])
def test_events_add_up_over_steps_and_samples(latency: int) -> None:
    sent = np.zeros((4, 5, 1), dtype=np.int32)
    sent[0, 1] = sent[2, 1] = sent[3, 4] = 65537
    sent[1, 0] = sent[1, 2] = 65536
    events = run(planted(steps=4), sent, latency=latency).overflow["a"]
    assert (events.wraps, events.saturations) == (3, 2)


def test_a_voltage_pushed_down_for_long_saturates_at_the_bottom() -> None:
    trace = run(planted(dv=0, bias=-4096, steps=2100), np.zeros((2100, 1, 1), dtype=np.int32))
    expected = np.maximum(-4096 * np.arange(1, 2101), -M + 1)
    np.testing.assert_array_equal(trace.rasters["a"].v.ravel(), expected)
    assert trace.overflow["a"].saturations == (4096 * np.arange(1, 2101) > M - 1).sum()


@pytest.mark.parametrize(("message", "spikes"), [(500, 0), (501, 1)])
def test_a_neuron_fires_above_its_threshold_and_not_at_it(message: int, spikes: int) -> None:
    assert run(planted(vth=1000), np.array([[[message]]])).output.tolist() == [[spikes]]


def test_without_rasters_the_trace_holds_the_same_counts(messages: Messages) -> None:
    program = planted(vth=1000, steps=3)
    sent = messages(program, batch=4)
    bare, full = LoihiTarget().compile(program).run(sent), run(program, sent)
    assert bare.rasters == {}
    np.testing.assert_array_equal(bare.output, full.output)
    assert bare.overflow == full.overflow


def test_sums_beyond_float64_are_refused_with_the_synapse(monkeypatch: pytest.MonkeyPatch) -> None:
    program = planted()
    assert LoihiTarget().unsupported(program) == []
    # A synapse that wide would need gigabytes.
    monkeypatch.setattr(simulator, "largest_sum", lambda *ignored: 2**53)
    (reason,) = LoihiTarget().unsupported(program)
    assert reason.startswith("synapse 'input' -> 'a': sums up to 9007199254740992 exceed 2^53")
