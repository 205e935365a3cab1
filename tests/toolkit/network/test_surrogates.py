import itertools
import math

import numpy as np
import pytest
import snntorch
import torch
from scipy import integrate, special

from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.surrogates import KINDS, AdaptiveSharpness, Following, Spike, Surrogate

POINTS = np.array([0.0, 0.1, 0.3, 0.5, 0.99, 1.01, 2.0, 5.0])


def reference(kind: str, x: np.ndarray) -> np.ndarray:
    """The five shapes again, in NumPy and SciPy."""
    return {
        "arctan": 0.5 / (1 + (np.pi * x / 2) ** 2),
        "triangular": np.maximum(0, 1 - np.abs(x)),
        "sigmoid": 1 / (4 * np.cosh(x / 2) ** 2),
        "rectangular": 0.5 * (np.abs(x) <= 1),
        "gaussian": np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    }[kind]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_equations(kind: str, sharpness: float) -> None:
    x = np.concatenate([-POINTS, POINTS])
    found = Surrogate(kind, sharpness)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, sharpness * reference(kind, sharpness * x), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mass_is_the_integral_from_minus_x_to_x(kind: str, sharpness: float) -> None:
    surrogate = Surrogate(kind, sharpness)
    for x in POINTS[1:]:
        edges = sorted({-x, *(edge for edge in (-1 / sharpness, 0, 1 / sharpness) if -x < edge < x), x})
        area = sum(
            integrate.quad(lambda y: sharpness * float(reference(kind, np.array(sharpness * y))), low, high)[0]
            for low, high in itertools.pairwise(edges)
        )
        assert float(surrogate.mass(torch.tensor(x, dtype=torch.float64))) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_of_the_mass_is_twice_the_density(kind: str) -> None:
    surrogate = Surrogate(kind, 1.7)
    x = torch.tensor([0.05, 0.2, 0.4, 0.55, 0.7, 1.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(surrogate.mass(x).sum(), x)
    torch.testing.assert_close(slope, 2 * surrogate(x.detach()))


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_width_inverts_the_mass(kind: str, sharpness: float) -> None:
    surrogate = Surrogate(kind, sharpness)
    for mass in (0.0, 0.1, 0.5, 0.85, 0.95, 0.999):
        width = surrogate.width(mass)
        assert float(surrogate.mass(torch.tensor(width, dtype=torch.float64))) == pytest.approx(mass, abs=1e-12)


def test_widths_are_the_closed_forms_of_the_method() -> None:
    mass = 0.85
    expected = {
        "arctan": 2 / math.pi * math.tan(math.pi * mass / 2),
        "triangular": 1 - math.sqrt(1 - mass),
        "sigmoid": 2 * math.atanh(mass),
        "rectangular": mass,
        "gaussian": math.sqrt(2) * float(special.erfinv(mass)),
    }
    assert {kind: Surrogate(kind, 1.0).width(mass) for kind in KINDS} == pytest.approx(expected)


def test_arctan_is_what_snntorch_trains_with() -> None:
    x = torch.linspace(-3, 3, 101, requires_grad=True)
    (expected,) = torch.autograd.grad(snntorch.surrogate.atan(alpha=2.0)(x).sum(), x)
    (found,) = torch.autograd.grad(Spike(Surrogate("arctan", 2.0))(x).sum(), x)
    torch.testing.assert_close(found, expected)


def test_a_spike_is_strictly_above_the_threshold() -> None:
    assert Spike(Surrogate())(torch.tensor([-1.0, 0.0, 1e-30, 2.0])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("vanishing", [0.6, 0.72, 0.8, 0.85, 0.9, 0.95])
@pytest.mark.parametrize("kind", KINDS)
def test_the_expected_vanishing_degree_stays_below_its_bound(kind: str, vanishing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    follow = Following(AdaptiveSharpness(kind, vanishing))
    for _ in range(60):
        follow.restart()
        x = 0.3 * torch.randn(2000, 5, generator=generator) - 0.4
        sharpness = follow.sharpness(x)
    degree = float(follow.shape.mass(sharpness * x).mean())
    assert vanishing - 0.45 < degree < vanishing


def test_the_sharpness_follows_the_recursion() -> None:
    rng = np.random.default_rng(0)
    follow = Following(AdaptiveSharpness("arctan", 0.85))
    mean, spread = np.ones((3, 4)), np.zeros((3, 4))
    for _ in range(7):
        x = rng.normal(size=(3, 4))
        mean = 0.9 * mean + 0.1 * np.abs(x)
        spread = 0.9 * spread + 0.1 * np.abs(np.abs(x) - mean)
        expected = 2 / np.pi * np.tan(np.pi * 0.425) / (mean + 1.5 * spread + 1e-4)
        follow.restart()
        derivative = follow(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(derivative, expected * reference("arctan", expected * x), rtol=1e-12)


def test_calls_of_one_pass_have_states_of_their_own_and_samples_can_leave() -> None:
    follow = Following(AdaptiveSharpness())
    near, far = torch.full((4, 2), 0.01), torch.full((4, 3), 5.0)
    for _ in range(5):
        follow.restart()
        small, large = follow.sharpness(near), follow.sharpness(far)
    assert float(small.min()) > 2 * float(large.max())
    follow.keep(torch.tensor([True, False, True, False]))
    follow.restart()
    assert follow.sharpness(near[:2]).shape == (2, 2)
    with pytest.raises(InputError, match="one batch"):
        follow.sharpness(far)


def test_later_draws_leave_the_state_alone() -> None:
    follow, other = Following(AdaptiveSharpness()), Following(AdaptiveSharpness())
    x = torch.linspace(-1, 1, 12).view(4, 3)
    for each in (follow, other):
        each(x)
        each.restart()
    follow.frozen = True
    follow(9 * x)
    follow.frozen = False
    follow.restart()
    torch.testing.assert_close(follow(x), other(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Surrogate("relu"),
        lambda: Surrogate("arctan", 0),
        lambda: Surrogate("arctan", math.inf),
        lambda: Surrogate("arctan", math.nan),
        lambda: AdaptiveSharpness("relu"),
        lambda: AdaptiveSharpness("arctan", 1.0),
        lambda: AdaptiveSharpness("arctan", 0.0),
        lambda: AdaptiveSharpness(mean_decay=1.0),
        lambda: AdaptiveSharpness(spread_weight=-0.5),
        lambda: Surrogate().width(1.0),
    ],
)
def test_impossible_settings_are_refused(make: object) -> None:
    with pytest.raises(InputError, match="surrogate"):
        make()
