"""A Program of the sizes at which libraries choose their fast ways, and what it does by integer arithmetic of NumPy."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ...export.program import Convolution, Dense, Input, Population, Program, Readout

Integers = NDArray[np.int64]
TOP = 2**23
"""Voltages stay below it in magnitude; currents wrap there."""


def sized() -> Program:
    """Return two convolutions of 3 x 3 with 32 channels, a pool, and a dense layer, for 8-bit images of 16 x 16.

    Weights are the largest that there are, with either sign, so that sums are near to what float32 still holds.
    """
    rng = np.random.default_rng(3407)

    def weights(*shape: int) -> NDArray[np.int32]:
        return rng.choice(np.array([-254, -2, 2, 86, 254], dtype=np.int32), shape, p=[0.35, 0.1, 0.1, 0.1, 0.35])

    def cells(name: str, shape: tuple[int, ...], vth: int, du: int = 4095) -> Population:
        bias = rng.integers(-4095, 4095, shape).astype(np.int32)
        return Population(name=name, shape=shape, bias=bias, du=du, dv=512, vth=vth, bias_exponent=3)

    pool = Population(name="p", shape=(32, 8, 8), bias=np.zeros((32, 8, 8), dtype=np.int32), du=4095, dv=4096, vth=1)

    return Program(
        input=Input(shape=(3, 16, 16), message_bits=8),
        populations=(
            cells("a", (32, 16, 16), vth=4000, du=1000),
            cells("b", (32, 16, 16), vth=2000),
            pool,
            cells("out", (10,), vth=3000),
        ),
        synapses=(
            Convolution(source="input", target="a", weight=weights(32, 3, 3, 3), padding=(1, 1)),
            Convolution(source="a", target="b", weight=weights(32, 32, 3, 3), padding=(1, 1)),
            Convolution(source="b", target="p", weight=np.full((32, 1, 2, 2), 2), stride=(2, 2), groups=32),
            Dense(source="p", target="out", weight=weights(10, 2048)),
        ),
        readout=Readout(population="out", kind="spike_count"),
        steps=4,
    )


def by_numpy(program: Program, messages: NDArray[np.int32]) -> dict[str, tuple[Integers, Integers, Integers]]:
    """Return spikes, u and v (time, batch, ...) of every population, by 64-bit integers and no library's product.

    Args:
        program: a chain of spiking populations, each with one synapse without exponent and delay.
        messages: (time, batch, ...).
    """
    sent = {program.input.name: messages.astype(np.int64)}
    found = {}
    for population in program.populations:
        assert isinstance(population, Population)
        (synapse,) = program.incoming(population.name)
        x = sent[synapse.source]
        arriving = (
            _convolved(synapse, x)
            if isinstance(synapse, Convolution)
            else _product(synapse.matrix().astype(np.int64), x)
        )
        found[population.name] = _cells(population, arriving)
        sent[population.name] = found[population.name][0]
    return found


def _product(matrix: Integers, x: Integers) -> Integers:
    flat = x.reshape(*x.shape[:2], -1)
    return np.stack([(flat * row).sum(2) for row in matrix], axis=2)


def _convolved(synapse: Convolution, x: Integers) -> Integers:
    weight = synapse.weight.astype(np.int64)
    (above, aside), (down, right) = synapse.padding, synapse.stride
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (above, above), (aside, aside)))
    windows = sliding_window_view(padded, weight.shape[2:], (3, 4))[:, :, :, ::down, ::right]
    each = len(weight) // synapse.groups
    own = weight.shape[1]
    parts = []
    for channel, kernel in enumerate(weight):
        first = channel // each * own
        parts.append(np.einsum("tbcyxij,cij->tbyx", windows[:, :, first : first + own], kernel, optimize=False))
    total = np.stack(parts, axis=2)
    # A convolution delivers 24 bits.
    return (total + TOP) % (2 * TOP) - TOP


def _cells(population: Population, arriving: Integers) -> tuple[Integers, Integers, Integers]:
    bias = population.bias.astype(np.int64) * 2**population.bias_exponent
    u = v = np.zeros(arriving.shape[1:], dtype=np.int64)
    states = []
    for a in arriving:
        u = np.sign(u) * (np.abs(u) * (4095 - population.du) // 4096) + 64 * a
        u = np.where(u > TOP, u - 2 * TOP, np.where(u <= -TOP, u + 2 * TOP, u))
        v = np.sign(v) * (np.abs(v) * (4096 - population.dv) // 4096) + u + bias
        v = np.clip(v, 1 - TOP, TOP - 1)
        spikes = v > 64 * population.vth
        v = np.where(spikes, 0, v)
        states.append((spikes.astype(np.int64), u, v))
    spikes, us, vs = (np.stack(part) for part in zip(*states, strict=True))
    return spikes, us, vs
