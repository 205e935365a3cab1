"""Populations against their equations in NumPy, each reset; and what they say they are on the chip."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.network.population import LeakyIntegrator, Population

STEPS, BATCH, WIDTH = 9, 2, 5
Numbers = NDArray[np.float64]


def independent(x: Numbers, c: dict[str, Any], reset: str, at: bool, several: bool) -> tuple[Numbers, Numbers]:
    """Return spikes and membranes after the reset, written from the docstring, one neuron at a time."""
    spikes, membranes = np.zeros_like(x), np.zeros_like(x)
    for index in np.ndindex(x.shape[1:]):
        one = {name: np.broadcast_to(value, x.shape[1:])[index] for name, value in c.items() if value is not None}
        v: Any = one["start"]
        u: Any = 0.0
        owed: Any = 0.0
        for step in range(len(x)):
            drive = x[(step, *index)]
            if "current" in one:
                u = one["current"] * u + one["current_gain"] * drive
                drive = u
            v = one["keep"] * v + one["gain"] * drive + one["rest"]
            if reset == "zero_later" and owed:
                v = one["reset_to"]
            elif reset == "subtract_later":
                v -= owed
            fires = v >= one["threshold"] if at else v > one["threshold"]
            count = float(int(v / one["threshold"])) if several and fires else float(fires)
            spikes[(step, *index)] = count
            owed = 0.0
            if fires and reset == "zero":
                v = one["reset_to"]
            elif reset == "subtract":
                v -= count * one["threshold"]
            elif reset == "subtract_later":
                owed = count * one["threshold"]
            elif reset == "zero_later":
                owed = float(fires)
            membranes[(step, *index)] = v
    return spikes, membranes


@given(
    seed=st.integers(0, 2**16),
    reset=st.sampled_from(["zero", "subtract", "subtract_later", "zero_later", "none"]),
    at=st.booleans(),
    several=st.booleans(),
    current=st.booleans(),
    each=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_populations_are_their_equations(
    seed: int, reset: Any, at: bool, several: bool, current: bool, each: bool
) -> None:
    random = np.random.default_rng(seed)

    def draw(low: float, high: float) -> Any:
        # Eighths: no rounding, so that ties at the threshold are met, too.
        return np.round(8 * random.uniform(low, high, WIDTH if each else None)) / 8

    constants: dict[str, Any] = {
        "keep": draw(0, 1),
        "gain": draw(0.3, 1.5),
        "rest": draw(-0.2, 0.3),
        "threshold": draw(0.5, 1.5),
        "reset_to": draw(-0.5, 0.2),
        "start": draw(-0.5, 0.4),
        "current": draw(0, 0.9) if current else None,
        "current_gain": draw(0.4, 1.2) if current else None,
    }
    x = np.round(8 * random.uniform(-1, 3, (STEPS, BATCH, WIDTH))) / 8
    tensors = {name: None if value is None else torch.tensor(value) for name, value in constants.items()}
    made = Population(tensors, reset=reset, at_threshold=at, several=several).double()
    membranes, spikes = made.integrate(torch.from_numpy(x))
    wanted, after = independent(x, constants, reset, at, several)
    np.testing.assert_array_equal(spikes.detach().numpy(), wanted)
    np.testing.assert_allclose(membranes.detach().numpy(), after, rtol=1e-12, atol=1e-12)
    assert torch.equal(made(torch.from_numpy(x)), spikes)
    step = made.stepper()
    assert torch.equal(torch.stack([step(now) for now in torch.from_numpy(x)]), spikes)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_dynamics_are_the_same_neurons_counted_from_their_reset(seed: int) -> None:
    random = np.random.default_rng(seed)
    reset = float(random.uniform(-1, 0.5))
    gain, rest, threshold = (float(random.uniform(*ends)) for ends in ((0.2, 2), (-0.2, 0.2), (1, 2)))
    keep = float(random.uniform(0.1, 0.95))
    made = Population(
        {"keep": keep, "gain": gain, "rest": rest, "threshold": threshold, "reset_to": reset, "start": reset}
    ).double()
    found = made.dynamics()
    x = random.uniform(-1, 3, (STEPS, BATCH, WIDTH))
    bias = 0.0 if found.bias is None else float(found.bias)
    v, spikes = np.zeros((BATCH, WIDTH)), []
    for now in x:
        v = float(found.keep) * v + now + bias
        assert found.threshold is not None
        spikes.append(v > float(found.threshold))
        v = np.where(spikes[-1], 0, v)
    np.testing.assert_array_equal(made(torch.from_numpy(x)).detach().numpy(), np.array(spikes, dtype=np.float64))


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        ({}, {"reset": "subtract"}, "by subtraction"),
        ({}, {"reset": "subtract_later"}, "by subtraction"),
        ({}, {"reset": "zero_later"}, "swallows the next step"),
        ({}, {"reset": "none"}, "without a reset"),
        ({}, {"several": True}, "one spike a step"),
        ({"start": 0.5}, {}, "start elsewhere"),
        ({"gain": -1.0}, {}, "gain above 0"),
        ({"reset_to": 2.0, "start": 2.0}, {}, "threshold above the reset"),
    ],
)
def test_what_does_not_exist_on_the_chip_says_so(values: dict[str, float], options: Any, reason: str) -> None:
    made = Population(values, **options)
    with pytest.raises(UnsupportedError, match=reason):
        made.dynamics()


def test_constants_are_checked() -> None:
    with pytest.raises(InputError, match="unknown constants"):
        Population({"leak": 1.0})
    with pytest.raises(InputError, match="keep holds NaN"):
        Population({"keep": float("nan")})
    with pytest.raises(InputError, match="reset 'hard'"):
        Population({}, reset="hard")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threshold above 0"):
        Population({"threshold": 0.0}, several=True)


def test_leaky_integrators_keep_a_share_and_only_plain_ones_deploy() -> None:
    x = torch.rand(STEPS, BATCH, WIDTH, dtype=torch.float64)
    found = LeakyIntegrator({"keep": 0.5, "gain": 2.0}).double()(x)
    v = np.zeros((BATCH, WIDTH))
    for step, now in enumerate(x.numpy()):
        v = 0.5 * v + 2 * now
        np.testing.assert_allclose(found[step].numpy(), v, rtol=1e-12)
    with pytest.raises(UnsupportedError, match="plain integrator"):
        LeakyIntegrator({"keep": 0.5}).dynamics()
    assert LeakyIntegrator({}).dynamics().threshold is None


def test_several_spikes_have_a_gradient_below_the_first_threshold_and_at_the_nearest_above() -> None:
    made = Population({"threshold": 0.5}, several=True, alpha=2.0).double()
    for value, nearest in ((0.3, 0.5), (0.6, 0.5), (1.2, 1.0), (1.4, 1.5)):
        x = torch.full((1, 1, 1), value, dtype=torch.float64, requires_grad=True)
        spikes = made(x)
        assert spikes.item() == int(value / 0.5)
        (slope,) = torch.autograd.grad(spikes.sum(), x)
        # The arctan's density, alpha / 2 / (1 + (pi alpha x / 2)^2), at the distance to the nearest threshold.
        assert slope.item() == pytest.approx(1 / (1 + (np.pi * (value - nearest)) ** 2))


def test_a_bias_of_the_current_is_added_to_a_learned_rest() -> None:
    made = Population({"current": 0.5, "rest": 0.1}, learned=frozenset({"rest"}))
    assert made.take_bias(torch.tensor([0.2, 0.4]))
    assert isinstance(made.rest, torch.nn.Parameter)
    torch.testing.assert_close(made.rest.detach(), torch.tensor([0.1 + 0.2 / 0.5, 0.1 + 0.4 / 0.5]))
