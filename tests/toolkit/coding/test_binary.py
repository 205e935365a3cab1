"""Each coder against what it is said to be: pen and paper, NumPy, and snnTorch's spikegen where it means the same."""

import numpy as np
import pytest
import torch
from snntorch import spikegen

from spikeproof.toolkit.coding import Delta, Latency, Phase, Rate
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.train import seeded

PIXELS = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16) / 255
"""Every 8-bit pixel once."""


def gradient(coder, image, weight):
    x = torch.from_numpy(image).requires_grad_()
    (found,) = torch.autograd.grad((coder.encode(x) * torch.from_numpy(weight)).sum(), x)
    return found.numpy()


def test_phases_are_the_binary_digits_of_the_pixel_most_significant_first():
    sent = Phase(10).integers(PIXELS).reshape(10, 256)
    for p in (0, 1, 129, 200, 255):
        digits = [int(digit) for digit in f"{p:08b}"]
        assert sent[:, p].tolist() == digits + digits[:2]
    np.testing.assert_array_equal(sent[:8], np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0))


def test_a_period_of_weighted_phases_adds_up_to_the_pixel_over_256():
    coder = Phase(16, weighted=True)
    encoded = coder.encode(torch.from_numpy(PIXELS)).reshape(16, 256)
    for period in (encoded[:8], encoded[8:]):
        np.testing.assert_array_equal(period.sum(0).numpy(), np.arange(256) / 256)
    assert coder.integers(PIXELS).reshape(16, 256)[:, 255].tolist() == 2 * [128, 64, 32, 16, 8, 4, 2, 1]
    assert (coder.message_bits, coder.levels) == (8, 256)


def test_phases_have_their_weight_as_slope():
    weight = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1, 1) * np.ones((10, 1, 1, 16, 16), np.float32)
    np.testing.assert_allclose(gradient(Phase(10), PIXELS, weight), 45)
    halves = [2.0 ** -(1 + t % 8) for t in range(10)]
    expected = sum(t * half for t, half in enumerate(halves))
    np.testing.assert_allclose(gradient(Phase(10, weighted=True), PIXELS, weight), expected, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 8, 255])
def test_deterministic_rates_are_evenly_spaced_and_add_up_to_the_nearest_count(steps):
    sent = Rate(steps, stochastic=False).integers(PIXELS).reshape(steps, 256)
    # Diffused error: what has come is never further than half a spike from what should have.
    wanted = np.arange(1, steps + 1)[:, None] * np.arange(256) / 255
    assert np.abs(sent.cumsum(0) - wanted).max() <= 0.5
    for p in (51, 85, 128, 204):
        gaps = np.diff(np.flatnonzero(sent[:, p]))
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_drawn_rates_have_the_pixel_as_mean_and_independent_steps():
    with seeded(0):
        sent = Rate(4000).integers(PIXELS).reshape(4000, 256)
    mean = np.arange(256) / 255
    deviation = np.sqrt(mean * (1 - mean) / 4000)
    assert (np.abs(sent.mean(0) - mean) <= 5 * deviation).all()
    assert not sent[:, 0].any()
    assert sent[:, 255].all()
    varying = sent[:, 20:236] - mean[20:236]
    assert abs((varying[1:] * varying[:-1]).mean()) < 0.005


def test_drawn_rates_are_those_of_snntorch_from_the_same_numbers(monkeypatch):
    """Both compare with the same uniform numbers: snnTorch's Bernoulli draws are taken from ours."""
    image = torch.from_numpy(PIXELS)
    with seeded(5):
        draws = torch.rand(1, 20, 1, 16, 16).transpose(0, 1)
    monkeypatch.setattr(torch, "bernoulli", lambda p: (draws < p).float())
    with seeded(5):
        np.testing.assert_array_equal(Rate(20).integers(PIXELS), spikegen.rate(image, num_steps=20).numpy())


def test_the_gradient_of_rates_is_that_of_the_mean():
    weight = np.random.default_rng(0).random((6, 1, 1, 16, 16)).astype(np.float32)
    for coder in (Rate(6), Rate(6, stochastic=False)):
        np.testing.assert_allclose(gradient(coder, PIXELS, weight), weight.sum(0), rtol=1e-6)


@pytest.mark.parametrize("steps", [2, 4, 8, 10, 128])
def test_latencies_are_those_of_snntorch(steps):
    image = torch.from_numpy(PIXELS)
    options = {"num_steps": steps, "linear": True, "normalize": True, "threshold": 1e-6}
    for coder, clip in ((Latency(steps, dark="last"), False), (Latency(steps), True)):
        assert torch.equal(coder.encode(image), spikegen.latency(image, clip=clip, **options))


def test_every_pixel_spikes_once_but_black_that_is_silent():
    image = (np.array([51, 204, 255], np.float32) / 255).reshape(1, 1, 1, 3)
    assert Latency(11).integers(image)[:, 0, 0, 0].argmax(0).tolist() == [8, 2, 0]
    assert Latency(6).integers(PIXELS).sum(0).ravel().tolist() == [0] + [1] * 255
    assert Latency(6, dark="last").integers(PIXELS)[5].ravel()[0] == 1
    with pytest.raises(InputError, match="2 time steps"):
        Latency(1)


def test_a_brighter_pixel_moves_its_spike_to_the_step_before():
    weight = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1, 1) ** 2

    def slope(p, **options):
        return gradient(Latency(5, **options), np.full((1, 1, 1, 1), p / 255, np.float32), weight).item()

    # The loss at step t is t^2, and a unit of brightness is 4 steps: central differences, one-sided at the ends.
    assert slope(255 // 2 + 1) == 4 * (1 - 9) / 2
    assert slope(255) == 4 * (0 - 1) / 2
    assert slope(1, dark="last") == 4 * (9 - 16) / 2
    # The last spike's later self is silence, and a silent pixel's earlier self the last spike.
    assert slope(1) == 4 * 9 / 2
    assert slope(0) == 4 * 16 / 2


def test_changes_are_those_of_snntorch():
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 256, (3, 7, 2, 4, 4)) / 255).astype(np.float32)
    theirs = spikegen.delta(torch.from_numpy(frames.swapaxes(0, 1) * 255).round(), threshold=51, off_spike=True)
    on, off = np.split(Delta(7, threshold=0.2).integers(frames), 2, axis=2)
    np.testing.assert_array_equal(on - off, theirs.numpy())
    assert not (on & off).any()
    assert on.any()
    assert off.any()


def test_the_gradient_of_changes_is_that_of_the_difference():
    frames = np.random.default_rng(1).random((1, 3, 1, 1, 1)).astype(np.float32)
    weight = np.array([[1, 2], [3, 5], [7, 11]], np.float32).reshape(3, 1, 2, 1, 1)
    # d/dx(t) of sum ON w - OFF v: what t gains, the step after loses.
    assert gradient(Delta(3), frames, weight).ravel().tolist() == [(1 - 2) - (3 - 5), (3 - 5) - (7 - 11), 7 - 11]
