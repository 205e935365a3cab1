"""Small Programs whose classes change within reach, small regions around a sample, and all that happens in them."""

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import assume, reject

from spikeproof.eval.proof.layers import unsupported
from spikeproof.eval.proof.region import Ball, Edits, Region
from spikeproof.export.program import Convolution, Dense, Graded, Input, Population, Program, Readout, Sparse, Synapse
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Trace
from spikeproof.toolkit.errors import UnsupportedError

MOST = 1500
"""Inputs of a region that are enumerated."""


@dataclass(frozen=True, repr=False)
class Case:
    """A Program, a region, and every input of it with what the Program does."""

    program: Program
    region: Region
    inputs: np.ndarray
    trace: Trace
    label: int

    def __repr__(self) -> str:
        return f"Case({self.program.header()}, {self.region})"

    @property
    def winners(self) -> set[int]:
        """Classes that win somewhere, without the sample's own."""
        return set(self.trace.classes.tolist()) - {self.label}


def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    # Small weights come to the very threshold, large ones to many sums.
    wide = rng.choice([3, 10, 60])
    return 2 * rng.integers(-wide, wide + 1, shape)


def _neurons(
    draw: st.DrawFn, rng: np.random.Generator, name: str, shape: tuple[int, ...], most: int, **kw: Any
) -> Population:
    vth = int(most * draw(st.sampled_from([0.05, 0.2, 0.5])))
    exponent = 4
    room = min(4096 - 256, max(1, 64 * vth // 2**exponent // 2))
    return Population(
        name=name,
        shape=shape,
        du=draw(st.sampled_from([4095, 4095, 4095, 2047, 1500, 3000])),
        dv=draw(st.sampled_from([2048, 2048, 0, 1024, 700, 4096, 3001])),
        vth=min(max(vth, 1), 131071),
        bias_exponent=exponent,
        bias=rng.integers(-room, room, shape) * draw(st.sampled_from([0, 1])),
        **kw,
    )


def _most(program_synapses: list[Synapse], target: str, peaks: dict[str, int]) -> int:
    """A typical largest input of a population: half of what its excitatory weights bring."""
    total = 0.0
    for synapse in program_synapses:
        if synapse.target == target:
            rows = np.maximum(synapse.matrix(), 0).sum(1).astype(float)
            total += rows.mean() * peaks[synapse.source] * 2.0**synapse.exponent
    return max(int(total / 2), 2)


@st.composite
def small_programs(draw: st.DrawFn, binary: bool) -> Program:
    """Draw Programs with what lowering makes: dense, convolutions, pools, joins, delays, loops, bias-coded input."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = 0 if binary else draw(st.sampled_from([4, 8]))
    first = Input(shape=draw(st.sampled_from([(1, 2, 2), (3,), (2, 2, 1)])), message_bits=bits)
    steps = draw(st.integers(1, 4))
    peaks = {"input": first.peak}
    parts: list[Any] = []
    synapses: list[Synapse] = []
    source, shape = "input", first.shape
    if not binary and draw(st.integers(0, 4)) == 4:
        parts.append(_neurons(draw, rng, "coded", shape, first.peak // 2 + 1, input_bias=True))
        source, peaks["coded"] = "coded", 1
    for number in range(draw(st.integers(1, 3))):
        name = f"p{number}"
        exponent = draw(st.sampled_from([0, -2, -3, 1])) if source == "input" else draw(st.sampled_from([0, 0, -1, 1]))
        kind = draw(st.sampled_from(["dense", "dense", "sparse", "convolution", "either", "sum", "join"]))
        if kind == "convolution" and len(shape) == 3:
            size = (draw(st.integers(1, 2)), shape[0], min(2, shape[1]), min(2, shape[2]))
            pad = draw(st.sampled_from([(0, 0), (1, 1)]))
            synapse: Synapse = Convolution(
                source=source, target=name, weight=_weight(rng, size), padding=pad, exponent=exponent
            )
            after: tuple[int, ...] = synapse.output_shape(shape)
        elif kind in ("either", "sum") and len(shape) == 3 and source != "input":
            ones = np.full((shape[0], 1, shape[1], shape[2]), 2)
            synapse = Convolution(source=source, target=name, weight=ones, groups=shape[0], sign="excitatory")
            after = (shape[0], 1, 1)
        else:
            after = draw(st.sampled_from([(3,), (2, 2, 1)]))
            size2 = int(np.prod(after)), int(np.prod(shape))
            weight = _weight(rng, size2)
            if kind == "sparse":
                rows, columns = np.nonzero(rng.integers(0, 2, size2))
                assume(len(rows))
                synapse = Sparse(
                    source=source,
                    target=name,
                    shape=size2,
                    weight=weight[rows, columns],
                    rows=rows,
                    columns=columns,
                    exponent=exponent,
                )
            else:
                synapse = Dense(source=source, target=name, weight=weight, exponent=exponent)
        synapses.append(synapse)
        # A window that starts before anything arrives: all of it lags.
        start = number + 1 if draw(st.integers(0, 3)) == 3 else None
        if start is not None:
            synapses[-1] = synapse.model_copy(update={"delay": draw(st.integers(1, 2))})
        if draw(st.integers(0, 3)) == 3:
            # A second path: from the same source, later; or a shortcut from the input.
            other, before = draw(st.sampled_from([(source, shape), ("input", first.shape)]))
            size2 = int(np.prod(after)), int(np.prod(before))
            synapses.append(Dense(source=other, target=name, weight=_weight(rng, size2), delay=draw(st.integers(0, 2))))
        if draw(st.integers(0, 5)) == 5 and kind not in ("either", "sum"):
            size2 = int(np.prod(after)), int(np.prod(after))
            synapses.append(Dense(source=name, target=name, weight=_weight(rng, size2), delay=draw(st.integers(0, 1))))
            peaks[name] = 1
        if kind == "either" and isinstance(synapse, Convolution) and synapse.sign == "excitatory":
            parts.append(
                Population(
                    name=name, shape=after, du=4095, dv=4095, vth=1, start=start, bias=np.zeros(after, dtype=int)
                )
            )
        elif kind in ("sum", "join") and not any(s.source == name for s in synapses):
            parts.append(
                Graded(name=name, shape=after, vth=draw(st.sampled_from([0, 0, 3])), message_bits=20, start=start)
            )
        else:
            parts.append(_neurons(draw, rng, name, after, _most(synapses, name, peaks), start=start))
        peaks[name] = 300 if isinstance(parts[-1], Graded) else 1
        source, shape = name, after
    size2 = 3, int(np.prod(shape))
    synapses.append(
        Dense(source=source, target="head", weight=_weight(rng, size2), exponent=draw(st.sampled_from([0, 0, -1])))
    )
    head = _neurons(draw, rng, "head", (3,), _most(synapses, "head", peaks))
    kind = draw(st.sampled_from(["spike_count", "first_spike", "membrane", "membrane"]))
    if kind == "membrane" and draw(st.booleans()):
        head = head.model_copy(update={"vth": 131071})
    try:
        program = Program(
            input=first,
            populations=(*parts, head),
            synapses=tuple(synapses),
            readout=Readout(kind=kind, population="head"),
            steps=steps,
        )
    except UnsupportedError:
        reject()
    assume(not unsupported(program))
    return program


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a Program and a region, and run all inputs of it."""
    binary = draw(st.booleans())
    program = draw(small_programs(binary))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, steps = int(np.prod(program.input.shape)), program.steps
    if binary:
        spikes = rng.integers(0, 2, (steps, size))
        region: Region = Edits(spikes, draw(st.integers(1, 2)), draw(st.sampled_from(["flip", "shift"])))
    else:
        levels = rng.integers(0, program.input.peak + 1, size)
        region = Ball(levels, draw(st.integers(1, 2)), steps, program.input.peak)
    inputs = np.concatenate(list(region.every()), axis=1)
    assert inputs.shape[1] <= MOST
    compiled = LoihiTarget().compile(program)
    shape = program.input.shape
    label = int(compiled.run(region.clean[:, None].astype(np.int32).reshape(steps, 1, *shape)).classes[0])
    trace = compiled.run(inputs.reshape(steps, -1, *shape), rasters=True)
    return Case(program, region, inputs, trace, label)
