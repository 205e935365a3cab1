"""The integer arithmetic of the ``lava`` profile, element by element, on int64 tensors.

Written from the equations in docs/program.md, which were checked against lava-nc 0.10.0. All functions are exact for
the value ranges that int32 storage allows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...export.program import SigmaDelta

LIMIT = 2**23
"""Voltage saturates just below this; current wraps beyond it."""


def int32(x: Tensor) -> Tensor:
    """Return x as stored in 32 bits: ((x + 2^31) mod 2^32) - 2^31."""
    return ((x + 2**31) & (2**32 - 1)) - 2**31


def int24(x: Tensor) -> Tensor:
    """Return x in 24-bit two's complement, as a convolution delivers it: ((x + 2^23) mod 2^24) - 2^23."""
    return ((x + LIMIT) & (2 * LIMIT - 1)) - LIMIT


def decay(x: Tensor, factor: int) -> Tensor:
    """Return sgn(x) ((|x| (4096 - factor)) >> 12): magnitude truncated, so always toward zero.

    Args:
        x: state, int64.
        factor: decay in units of 1/4096.
    """
    if factor == 0:
        return x
    if factor == 4096:
        return torch.zeros_like(x)
    return torch.sign(x) * ((x.abs() * (4096 - factor)) >> 12)


def wrap_current(x: Tensor) -> Tensor:
    """Return x wrapped at most once into 24 bits, with Lava's edges: 2^23 stays, -2^23 becomes 2^23."""
    return torch.where(x > LIMIT, x - 2 * LIMIT, torch.where(x <= -LIMIT, x + 2 * LIMIT, x))


def shift(x: Tensor, exponent: int) -> Tensor:
    """Return x 2^exponent; a negative exponent rounds toward minus infinity."""
    return x << exponent if exponent >= 0 else x >> -exponent


def arriving(total: Tensor, exponent: int, convolution: bool) -> Tensor:
    """Return what a synapse delivers for the exact sum W x: i32(floor(i32(W x) 2^exponent)).

    The sum is 32 bits wide before the exponent and after it. Lava's convolution knows no exponent, and wraps at 24
    bits: with exponent 0 the result is i24(W * x); with another the rule is that of its Sparse synapse.

    Args:
        total: sums of weight times message, int64.
        exponent: weight exponent, -8...7.
        convolution: whether the synapse is one.
    """
    if convolution and exponent == 0:
        return int24(total)
    return int32(shift(int32(total), exponent))


class Step(NamedTuple):
    """What neurons did in one time step; all of one shape.

    Attributes:
        u: current, int64.
        v: voltage, int64, 0 where it fired.
        spikes: whether it fired.
        wrapped: whether the current (or what drove it) left its width and wrapped.
        saturated: whether the voltage was clipped.
        swallowed: whether a decay swallowed a state: u or v (or both) was not 0 and its decay rounded it to 0, that is
            0 < |x| < 4096 / (4096 - d) for d = du + 1 or dv. Where d is 4096 nothing counts: no memory is wanted there.
    """

    u: Tensor
    v: Tensor
    spikes: Tensor
    wrapped: Tensor
    saturated: Tensor
    swallowed: Tensor


def swallowed(u: Tensor, v: Tensor, decayed_u: Tensor, decayed_v: Tensor, du: int, dv: int) -> Tensor:
    """Return where the decay of u or v took a state to 0, see :class:`Step`.

    Args:
        u: current before the decay; 0 stays 0 in the decay, so the two differ in being 0 only where it was swallowed.
        v: voltage before the decay.
        decayed_u: current after it.
        decayed_v: voltage after it.
        du: current decay.
        dv: voltage decay.
    """
    parts = [
        torch.logical_xor(before, after)
        for before, after, factor in ((u, decayed_u, du + 1), (v, decayed_v, dv))
        if 0 < factor < 4096
    ]
    if not parts:
        return torch.zeros_like(u, dtype=torch.bool)
    return parts[0] | parts[1] if len(parts) == 2 else parts[0]


def step(u: Tensor, v: Tensor, a: Tensor, *, du: int, dv: int, vth: int, bias: Tensor) -> Step:
    """Advance current-based leaky integrate-and-fire neurons by one time step.

    u <- wrap(int32(decay(u, du + 1) + int32(64 a)));  v <- clip(decay(v, dv) + u + bias, -2^23 + 1, 2^23 - 1);
    s = v > 64 vth;  v <- 0 where s.

    Args:
        u: current, int64, any shape.
        v: voltage, same shape.
        a: synaptic input, same shape.
        du: current decay, -1...4095.
        dv: voltage decay, 0...4096.
        vth: threshold mantissa.
        bias: mantissa 2^exponent, broadcastable.
    """
    decayed_u, decayed_v = decay(u, du + 1), decay(v, dv)
    exact = decayed_u + (a << 6)
    # int32(x + int32(y)) = int32(x + y), so one wrap into 32 bits does for both.
    current = wrap_current(int32(exact))
    raw = decayed_v + current + bias
    voltage = raw.clamp(-LIMIT + 1, LIMIT - 1)
    spikes = voltage > (vth << 6)
    lost = swallowed(u, v, decayed_u, decayed_v, du, dv)
    return Step(current, voltage.masked_fill(spikes, 0), spikes, current != exact, voltage != raw, lost)


def sigma_delta(
    sigma: Tensor, act: Tensor, residue: Tensor, a: Tensor, bias: Tensor, population: SigmaDelta
) -> tuple[Tensor, ...]:
    """Advance sigma-delta neurons by one time step, all in 32 bits; see :class:`..export.program.SigmaDelta`.

    Args:
        sigma: what arrived so far, int64, any shape.
        act: activation of the step before, same shape.
        residue: change that was not sent yet, same shape.
        a: synaptic input, same shape.
        bias: mantissa, with bias-coded input, broadcastable.
        population: what the neurons share.

    Returns:
        sigma, activation and residue after the step, what is sent, and where something left 32 bits and wrapped.
    """
    exact = sigma + a
    sigma = int32(exact)
    if population.sends == "sigma":
        return sigma, sigma, residue, sigma, exact != sigma
    driven = sigma + (bias << population.exponent)
    new = int32(driven)
    wrapped = (exact != sigma) | (new != driven)
    if population.activation == "relu":
        new = new.clamp(min=0)
    change = new - act + residue
    delta = int32(change)
    # The magnitude of -2^31 is -2^31 in 32 bits, which reaches no threshold.
    message = delta.masked_fill((delta.abs() < population.vth << population.exponent) | (delta == -(2**31)), 0)
    return sigma, new, delta - message, message >> population.state_exponent, wrapped | (delta != change)
