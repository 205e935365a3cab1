"""Against one neuron in plain Python integers, written from the published equations of Lava's fixed-point models."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings

from spikeproof.hw_targets.loihi.arithmetic import arriving, decay, int24, int32, shift, step, wrap_current

M = 2**23


def reference_int32(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31


def reference_decay(x: int, d: int) -> int:
    magnitude = abs(x) * (4096 - d) // 4096
    return -magnitude if x < 0 else magnitude


def reference_wrap(x: int) -> int:
    if x > M:
        return x - 2 * M
    return x + 2 * M if x <= -M else x


def reference_lost(x: int, d: int) -> bool:
    """Whether a decay that keeps (4096 - d) / 4096 > 0 of x leaves nothing."""
    return x != 0 and d < 4096 and abs(x) * (4096 - d) < 4096


def reference_step(
    u: int, v: int, a: int, du: int, dv: int, vth: int, bias: int
) -> tuple[int, int, bool, bool, bool, bool]:
    lost = reference_lost(u, du + 1) or reference_lost(v, dv)
    exact = reference_decay(u, du + 1) + 64 * a
    u = reference_wrap(reference_int32(reference_decay(u, du + 1) + reference_int32(64 * a)))
    raw = reference_decay(v, dv) + u + bias
    v = max(-M + 1, min(M - 1, raw))
    fired = v > 64 * vth
    return u, 0 if fired else v, fired, u != exact, v != raw, lost


def one(x: int) -> torch.Tensor:
    return torch.tensor([x])


edges = st.sampled_from([s * (m * M + d) for s in (1, -1) for m in (0, 1, 2, 3, 256) for d in (-1, 0, 1)])
ints = edges.map(reference_int32) | st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**24), 2**24)
long = st.integers(-(2**62), 2**62)


@given(long | ints)
def test_int32_is_two_complement(x: int) -> None:
    assert int32(one(x)).item() == reference_int32(x)


@given(long | ints)
def test_int24_is_two_complement(x: int) -> None:
    assert int24(one(x)).item() == (x + 2**23) % 2**24 - 2**23


@given(ints, st.integers(0, 4096))
def test_decay_truncates_the_magnitude(x: int, factor: int) -> None:
    found = decay(one(x), factor).item()
    assert found == reference_decay(x, factor)
    assert found == -decay(one(-x), factor).item()


@pytest.mark.parametrize(
    ("x", "factor", "expected"),
    [(-1, 1, 0), (1, 1, 0), (-4097, 1, -4095), (-3, 2048, -1), (3, 2048, 1), (-7, 0, -7), (-(2**31), 4096, 0)],
)
def test_decay_of_negative_values_goes_toward_zero(x: int, factor: int, expected: int) -> None:
    assert decay(one(x), factor).item() == expected


@given(ints)
def test_the_current_wraps_at_most_once(x: int) -> None:
    assert wrap_current(one(x)).item() == reference_wrap(x)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (M, M),
        (M + 1, -M + 1),
        (-M, M),
        (-M + 1, -M + 1),
        (-M - 1, M - 1),
        (2 * M, 0),
        (3 * M, M),
        (25165888, 8388672),
        (-3 * M, -M),
        (-3 * M - 64, -M - 64),
    ],
)
def test_the_documented_edges_of_the_wrap(x: int, expected: int) -> None:
    assert wrap_current(one(x)).item() == expected


@given(st.integers(-(2**40), 2**40), st.integers(-8, 7))
def test_a_negative_exponent_rounds_toward_minus_infinity(x: int, exponent: int) -> None:
    expected = x * 2**exponent if exponent >= 0 else x // 2**-exponent
    assert shift(one(x), exponent).item() == expected


@given(long, st.integers(-8, 7), st.booleans())
def test_a_synapse_delivers_32_bits_and_a_convolution_without_exponent_24(
    total: int, exponent: int, convolution: bool
) -> None:
    narrow = reference_int32(total)
    expected = reference_int32(narrow * 2**exponent if exponent >= 0 else narrow // 2**-exponent)
    if convolution and exponent == 0:
        expected = (total + 2**23) % 2**24 - 2**23
    assert arriving(one(total), exponent, convolution).item() == expected


@settings(max_examples=500)
@given(ints, ints, ints, st.integers(-1, 4095), st.integers(0, 4096), st.integers(0, 2**17 - 1), ints)
@example(0, 0, 2**17, 4095, 0, 131071, 0)
@example(0, 0, -(2**17), 4095, 0, 0, 0)
@example(0, 0, 3 * 2**17 + 1, 4095, 0, 0, 0)
@example(0, 0, 2**25, 4095, 4096, 1, 0)
@example(-M, -M + 1, 0, -1, 0, 0, -1)
@example(3, -4095, 0, 3000, 4095, 5, 0)
@example(0, 64 * 5, 0, 4095, 0, 5, 0)
@example(0, 64 * 5, 0, 4095, 0, 5, 1)
def test_a_step_equals_the_scalar_reference(u: int, v: int, a: int, du: int, dv: int, vth: int, bias: int) -> None:
    found = step(one(u), one(v), one(a), du=du, dv=dv, vth=vth, bias=one(bias))
    assert tuple(part.item() for part in found) == reference_step(u, v, a, du, dv, vth, bias)


@given(st.lists(st.tuples(ints, ints, ints), min_size=1, max_size=6), st.integers(-1, 4095), st.integers(0, 4096))
def test_neurons_of_one_tensor_do_not_touch_each_other(neurons: list[tuple[int, int, int]], du: int, dv: int) -> None:
    u, v, a = (torch.tensor(part) for part in zip(*neurons, strict=True))
    found = step(u, v, a, du=du, dv=dv, vth=100, bias=torch.tensor(3))
    expected = [reference_step(*neuron, du, dv, 100, 3) for neuron in neurons]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected
