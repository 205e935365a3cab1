"""What is proved of the read-out layer, against every choice of flips, on a reference of the equations of its own."""

from itertools import combinations
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spikeproof.eval.faults.against import broken
from spikeproof.eval.faults.memory import Memory
from spikeproof.eval.faults.readout import absent, ends, layer, proved
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.progress import silent


def reference(program: Program, messages: np.ndarray, variants: list[Program]) -> np.ndarray:
    """Outputs (variants, samples, neurons) of one layer on its input, from the equations as loihi.md has them."""
    population = program.populations[-1]
    half = 2**23

    def leak(x: np.ndarray, d: int) -> np.ndarray:
        return np.sign(x) * (np.abs(x) * (4096 - d) >> 12)

    x = messages.reshape(*messages.shape[:2], -1).astype(np.int64)
    u = v = np.zeros((len(variants), x.shape[1], int(np.prod(population.shape))), dtype=np.int64)
    bias = np.stack([p.populations[-1].bias.ravel().astype(np.int64) << population.bias_exponent for p in variants])
    spikes = []
    for t in range(program.steps):
        a = np.zeros_like(u)
        for number, synapse in enumerate(program.synapses):
            source = t - program.lag(synapse)
            if source < 0:
                continue
            matrices = np.stack([p.synapses[number].matrix().astype(np.int64) for p in variants])
            sums = np.einsum("pns,bs->pbn", matrices, x[source])
            a = a + np.floor(sums * 2.0**synapse.exponent).astype(np.int64)
        u = leak(u, population.du + 1) + 64 * a
        u = np.where(u > half, u - 2 * half, np.where(u <= -half, u + 2 * half, u))
        v = np.clip(leak(v, population.dv) + u + bias[:, None], 1 - half, half - 1)
        fired = v > 64 * population.vth
        v = np.where(fired, 0, v)
        spikes.append(fired)
    raster = np.stack(spikes)
    if program.readout.kind == "spike_count":
        return raster.sum(0)
    if program.readout.kind == "membrane":
        return v
    return np.where(raster.any(0), program.steps - raster.argmax(0), 0)


@st.composite
def tiny(draw: Any) -> Program:
    """One layer on binary or graded input, few bits, thresholds near what arrives."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, neurons = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    synapses: list[Any] = []
    for number in range(draw(st.integers(1, 2))):
        bits, sign = draw(st.integers(1, 3)), draw(st.sampled_from(["mixed", "excitatory", "inhibitory"]))
        low, shift = (-(2 ** (bits - 1)), 9 - bits) if sign == "mixed" else (0, 8 - bits)
        values = rng.integers(low, low + 2**bits, (neurons, inputs)) << shift
        values = -values if sign == "inhibitory" else values
        options = {"source": "input", "target": "out", "bits": bits, "sign": sign}
        options |= {"exponent": draw(st.integers(-8, 1)), "delay": number * draw(st.integers(0, 1))}
        if number:
            rows, columns = np.nonzero(rng.integers(0, 2, (neurons, inputs)) | (np.arange(inputs) == 0))
            there = {"shape": (neurons, inputs), "rows": rows, "columns": columns}
            synapses.append(Sparse(**options, **there, weight=values[rows, columns]))
        else:
            synapses.append(Dense(**options, weight=values))
    return Program(
        input=Input(shape=(inputs,), message_bits=draw(st.sampled_from([0, 0, 2]))),
        populations=(
            Population(
                name="out",
                shape=(neurons,),
                du=draw(st.sampled_from([4095, 4095, 2000, -1])),
                dv=draw(st.sampled_from([0, 2048, 4096])),
                vth=draw(st.sampled_from([1, 20, 100, 400, 131071])),
                bias_exponent=draw(st.integers(0, 7)),
                bias=rng.integers(-300, 300, neurons),
            ),
        ),
        synapses=tuple(synapses),
        readout=Readout(kind=draw(st.sampled_from(["spike_count", "membrane", "first_spike"])), population="out"),
        steps=draw(st.integers(1, 4)),
    )


def enumerated(program: Program, messages: np.ndarray, flips: int) -> list[np.ndarray]:
    """Outputs without flips, with every single flip, with every two, ... of the layer's weights and biases."""
    memory = Memory(program)
    bits = np.concatenate([memory.select("out", "weight"), memory.select("out", "bias")])
    return [
        reference(program, messages, [memory.flipped(choice) for choice in combinations(bits.tolist(), size)])
        for size in range(flips + 1)
    ]


@settings(max_examples=25)
@given(data=st.data())
def test_no_choice_of_so_many_flips_changes_a_class(data: Any, messages: Any) -> None:
    program = data.draw(tiny())
    x = messages(program, 4, data.draw(st.integers(0, 99)))
    trace = get_target("loihi").compile(program).run(x, rasters=True)
    every = enumerated(program, x, 2)
    assert np.array_equal(every[0][0], trace.output)
    found = layer(program, x, trace)
    numbers = proved(found, trace.classes, 2)
    for number, flips in zip(numbers, broken(found, x, trace, 2, silent), strict=True):
        assert flips is None or (flips[0] == len(set(flips[1])) and flips[0] > number)
    low, high = ends(found, 2)
    for size, outputs in enumerate(every):
        assert (low[..., size] <= outputs).all()
        assert (outputs <= high[..., size]).all()
        changed = (outputs.argmax(2) != trace.classes).any(0)
        for number, differs in zip(numbers, changed, strict=True):
            assert not (differs and number >= size)


def test_what_is_proved_is_sometimes_exact_and_never_all_or_nothing(messages: Any) -> None:
    """The same spikes at every step, no leak: what is worst for one step is for all, and the bound is the truth."""
    weight = np.array([[64, 0, 128], [0, 64, -64]])
    program = Program(
        input=Input(shape=(3,), message_bits=0),
        populations=(Population(name="out", shape=(2,), du=4095, dv=0, vth=131071, bias=np.array([2000, -2000])),),
        synapses=(Dense(source="input", target="out", bits=3, weight=weight),),
        readout=Readout(kind="membrane", population="out"),
        steps=2,
    )
    x = messages(program, 12, 3)
    x[1:] = x[0]
    trace = get_target("loihi").compile(program).run(x, rasters=True)
    numbers = proved(layer(program, x, trace), trace.classes, 3)
    every = enumerated(program, x, 3)
    for sample, number in enumerate(numbers):
        first = next(
            (size for size, out in enumerate(every) if (out[:, sample].argmax(1) != trace.classes[sample]).any()), 4
        )
        assert number == first - 1
    assert len(set(numbers)) > 1
    found = broken(layer(program, x, trace), x, trace, 4, silent)
    assert any(flips is not None for flips in found)
    memory = Memory(program)
    for sample, flips in enumerate(found):
        if flips is not None:
            assert flips[0] == numbers[sample] + 1
            changed = reference(program, x[:, [sample]], [memory.flipped(flips[1])])
            assert changed.argmax(2)[0, 0] != trace.classes[sample]


@pytest.mark.parametrize("wrong", ["convolution", "recurrent", "bias-coded"])
def test_what_the_proof_does_not_cover_is_refused_by_name(wrong: str) -> None:
    zeros = np.zeros((1, 2, 2), int)
    options = {"vth": 1, "du": 4095, "dv": 0, "bias": zeros}
    coded = wrong == "bias-coded"
    synapses: tuple[Any, ...] = (Convolution(source="input", target="out", weight=np.ones((1, 1, 1, 1), int) * 2),)
    if wrong == "recurrent":
        dense = Dense(source="input", target="out", weight=np.zeros((4, 4), int))
        synapses = (dense, Dense(source="out", target="out", weight=np.zeros((4, 4), int)))
    program = Program(
        input=Input(shape=(1, 2, 2), message_bits=0),
        populations=(Population(name="out", shape=(1, 2, 2), input_bias=coded, **options),),
        synapses=() if coded else synapses,
        readout=Readout(population="out"),
        steps=2,
    )
    word = {"convolution": "kernel", "recurrent": "sends to others", "bias-coded": "bias-coded"}[wrong]
    assert word in str(absent(program))
