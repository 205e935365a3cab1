"""The integer arithmetic of the ``lava`` profile, element by element, on int64 tensors.

Written from the equations in docs/program.md, which were checked against lava-nc 0.10.0. All functions are exact for
the value ranges that int32 storage allows.
"""

import torch
from torch import Tensor

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
    return torch.sign(x) * ((x.abs() * (4096 - factor)) >> 12)


def wrap_current(x: Tensor) -> Tensor:
    """Return x wrapped at most once into 24 bits, with Lava's edges: 2^23 stays, -2^23 becomes 2^23."""
    return torch.where(x > LIMIT, x - 2 * LIMIT, torch.where(x <= -LIMIT, x + 2 * LIMIT, x))


def shift(x: Tensor, exponent: int) -> Tensor:
    """Return x 2^exponent; a negative exponent rounds toward minus infinity."""
    return x << exponent if exponent >= 0 else x >> -exponent


def step(
    u: Tensor, v: Tensor, a: Tensor, *, du: int, dv: int, vth: int, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
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

    Returns:
        (u, v, spikes, wrapped, saturated), the last three boolean.
    """
    exact = decay(u, du + 1) + (a << 6)
    u = wrap_current(int32(decay(u, du + 1) + int32(a << 6)))
    raw = decay(v, dv) + u + bias
    v = raw.clamp(-LIMIT + 1, LIMIT - 1)
    spikes = v > (vth << 6)
    return u, v.masked_fill(spikes, 0), spikes, u != exact, v != raw
