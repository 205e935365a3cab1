"""Named semantics: the integer arithmetic of lava-nc and of two emulators of Loihi 1, where they differ.

All run the same Programs, whose fields keep the meaning of docs/program.md: the current decays by (du + 1)/4096, the
voltage by dv/4096, threshold 64 vth, bias mantissa 2^exponent, reset to 0 in the step of the spike, one step of latency
a synapse. They differ in how a weight meets its exponent and in what happens at the edges of the number ranges:

                        lava                       nengo_loihi                brian2_loihi
    weight exponent     floor of the sum           each weight, half to even  each weight, floor
    largest weight      that of its format         +-254 (8 bits, mixed)      +-32767 after the exponent
    synaptic sum        32 bits; convolution 24    22 bits, wraps             no limit
    current             wraps once, see step       24 bits, wraps             no limit
    current + bias      no limit                   24 bits, wraps             no limit
    voltage             clipped to +-(2^23 - 1)    the same                   no limit

Each was checked against vectors recorded from the package that it is named after (tests/golden). None is silicon.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...export.program import Graded, Population, Program, SigmaDelta
from ...toolkit.errors import InputError
from .arithmetic import LIMIT, Step, arriving, decay, shift, step, swallowed


class Neuron(Protocol):
    """One time step of neurons, see :func:`spikeproof.hw_targets.loihi.arithmetic.step` for the arguments."""

    def __call__(self, u: Tensor, v: Tensor, a: Tensor, *, du: int, dv: int, vth: int, bias: Tensor) -> Step:
        """Return the state after the step, and its events."""


@dataclass(frozen=True)
class Profile:
    """One arithmetic by name.

    A synapse delivers ``arriving(W' x, exponent, convolution)`` with W' = ``weight(W, exponent)``; the sum of all that
    arrives at a population is the ``a`` of ``step``.

    Attributes:
        name: as it is chosen.
        source: the package that defines it, with its version.
        weight: (weights, exponent) -> the weights that meet the messages, all int64.
        arriving: (exact sum, exponent, whether a convolution) -> what one synapse delivers, int64.
        step: one time step of the neurons.
        limits: Program -> what the package's own fields cannot hold.
    """

    name: str
    source: str
    weight: Callable[[Tensor, int], Tensor]
    arriving: Callable[[Tensor, int, bool], Tensor]
    step: Neuron
    limits: Callable[[Program], list[str]]


def _two_complement(x: Tensor, bits: int) -> Tensor:
    """Return x in two's complement of ``bits`` bits and a sign: ((x + 2^bits) mod 2^(bits + 1)) - 2^bits."""
    half = 1 << bits
    return ((x + half) & (2 * half - 1)) - half


def _as_given(weight: Tensor, exponent: int) -> Tensor:
    return weight


def _sum_as_it_is(total: Tensor, exponent: int, convolution: bool) -> Tensor:
    return total


def nengo_weight(weight: Tensor, exponent: int) -> Tensor:
    """Return weights as NengoLoihi 1.1.0 applies them, in units of 64.

    Its synapses always have the 8-bit mixed format: q = clip(round(w / 2), -127, 127), rounded half to even. With
    e = exponent + 1 the result is q 2^e; where e is negative, q is rounded first to a multiple of 2^-e that fits again:
    q <- clip(round(q 2^e) 2^-e, -127, 127), and the shift to the right floors.
    """
    q = torch.round(weight.to(torch.float64) / 2).clamp(-127, 127)
    total = exponent + 1
    if total < 0:
        q = (torch.round(q * 2.0**total) * 2.0**-total).clamp(-127, 127)
    return shift(q.to(torch.int64), total)


def nengo_step(u: Tensor, v: Tensor, a: Tensor, *, du: int, dv: int, vth: int, bias: Tensor) -> Step:
    """Advance neurons as NengoLoihi's emulator does, its voltage range as wide as the chip's.

    u <- i24(decay(u, du + 1) + i22(64 a));  v <- clip(decay(v, dv) + i24(u + bias), -2^23 + 1, 2^23 - 1), where i22 and
    i24 wrap in two's complement of 21 and 23 bits and a sign. Its ``decay_u`` is du, its ``decay_v`` dv, its
    ``refract_delay`` 1 (none), its ``vmin`` and ``vmax`` are the chip's (its own builder sets narrower ones: 0 below).
    """
    drive = a << 6
    received = _two_complement(drive, 21)
    decayed_u, decayed_v = decay(u, du + 1), decay(v, dv)
    exact = decayed_u + received
    current = _two_complement(exact, 23)
    biased = current + bias
    pushed = _two_complement(biased, 23)
    raw = decayed_v + pushed
    voltage = raw.clamp(-LIMIT + 1, LIMIT - 1)
    spikes = voltage > (vth << 6)
    wrapped = (received != drive) | (current != exact) | (pushed != biased)
    lost = swallowed(u, v, decayed_u, decayed_v, du, dv)
    return Step(current, voltage.masked_fill(spikes, 0), spikes, wrapped, voltage != raw, lost)


def _nengo_limits(program: Program) -> list[str]:
    reasons = _spikes_only(program, "NengoLoihi")
    for synapse in program.synapses:
        if synapse.delay:
            reasons.append(f"{synapse.label}: NengoLoihi's emulator has no delays, found {synapse.delay}")
        if synapse.exponent < -7:
            reasons.append(f"{synapse.label}: exponent {synapse.exponent}; NengoLoihi has -7 to 7")
    for population in program.populations:
        if not isinstance(population, Population):
            continue
        label = f"population {population.name!r}"
        if population.du < 0:
            reasons.append(f"{label}: du is {population.du}; NengoLoihi has 0 to 4095")
        if population.dv > 4095:
            reasons.append(f"{label}: dv is {population.dv}; NengoLoihi has 0 to 4095")
        if population.vth < 1:
            reasons.append(f"{label}: vth is 0; NengoLoihi has 1 to 131071")
        if population.bias_exponent == 7 and (population.bias < -4095).any():
            reasons.append(f"{label}: a bias of -4096 * 2^7; NengoLoihi's mantissas end at 4095")
    return reasons


def brian2_weight(weight: Tensor, exponent: int) -> Tensor:
    """Return weights as Brian2Loihi 0.5.2 applies them, in units of 64: clip(floor(w 2^exponent), -32767, 32767)."""
    return shift(weight, exponent).clamp(-(2**15) + 1, 2**15 - 1)


def brian2_step(u: Tensor, v: Tensor, a: Tensor, *, du: int, dv: int, vth: int, bias: Tensor) -> Step:
    """Advance neurons as Brian2Loihi does: nothing wraps, nothing is clipped.

    u <- decay(u, du + 1) + 64 a;  v <- decay(v, dv) + u + bias. Its ``decay_I`` is du + 1, its ``decay_v`` dv, its
    ``refractory`` 1 (none). It has no bias: it is added here where the other profiles add it.
    """
    decayed_u, decayed_v = decay(u, du + 1), decay(v, dv)
    current = decayed_u + (a << 6)
    voltage = decayed_v + current + bias
    spikes = voltage > (vth << 6)
    never = torch.zeros_like(spikes)
    lost = swallowed(u, v, decayed_u, decayed_v, du, dv)
    return Step(current, voltage.masked_fill(spikes, 0), spikes, never, never, lost)


def _brian2_limits(program: Program) -> list[str]:
    reasons = _spikes_only(program, "Brian2Loihi")
    reasons += [
        f"{synapse.label}: weights of 9 bits; Brian2Loihi has up to 8"
        for synapse in program.synapses
        if synapse.bits > 8
    ]
    reasons += [
        f"population {population.name!r}: Brian2Loihi's neurons have no bias"
        for population in program.populations
        if isinstance(population, Population) and population.bias.any()
    ]
    return reasons


def _spikes_only(program: Program, package: str) -> list[str]:
    """Return where messages are more than spikes, which neither emulator of Loihi 1 knows."""
    reasons = []
    bias_coded = any(population.input_bias for population in program.sigma_delta)
    for population in program.populations:
        if isinstance(population, Graded):
            reasons.append(f"population {population.name!r}: {package} has no graded messages")
        elif isinstance(population, SigmaDelta):
            reasons.append(f"population {population.name!r}: {package} has no sigma-delta neurons")
        elif population.input_bias:
            bias_coded = True
            reasons.append(f"population {population.name!r}: {package} does not change biases while it runs")
    if program.input.message_bits and not bias_coded:
        reasons.append(
            f"input {program.input.name!r}: {package} has no graded messages, these have "
            f"{program.input.message_bits} bits"
        )
    return reasons


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("lava", "lava-nc 0.10.0", _as_given, arriving, step, lambda program: []),
        Profile("nengo_loihi", "nengo-loihi 1.1.0", nengo_weight, _sum_as_it_is, nengo_step, _nengo_limits),
        Profile("brian2_loihi", "brian2-loihi 0.5.2", brian2_weight, _sum_as_it_is, brian2_step, _brian2_limits),
    )
}


def unsupported(program: Program, profile: Profile) -> list[str]:
    """Return what in ``program`` the profile's own package could not hold; empty when it could run all of it.

    The arithmetic of the profile is defined for such a Program nonetheless: messages multiply weights, delays delay and
    biases add as they do in ``lava``. What comes out is then an extrapolation, to be named as one.
    """
    return profile.limits(program)


def get_profile(name: str) -> Profile:
    """Return the profile called ``name``.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PROFILES:
        raise InputError(f"profile {name!r}: unknown; known profiles: {', '.join(PROFILES)}")
    return PROFILES[name]
