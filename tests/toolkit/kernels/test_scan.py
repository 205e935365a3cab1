from collections.abc import Callable, Iterator

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given
from snntorch import surrogate
from torch import Tensor

from spikeproof.toolkit.kernels import native
from spikeproof.toolkit.kernels.scan import integrate, one_step, scan, to_current
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Following, Spike, Surrogate, derivative_of

shapes = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6)
currents = hnp.arrays(np.float32, shapes, elements=st.floats(-4, 4, width=32, allow_subnormal=False))
betas = st.floats(0, 1, width=32, allow_subnormal=False)
thresholds = st.floats(0.0625, 2, width=32)


@pytest.fixture(scope="module", params=["compiled", "torch"], autouse=True)
def loops(request: pytest.FixtureRequest, need_loops: Callable[[native.Status], None]) -> Iterator[None]:
    """Everything twice: with the compiled loops, and as on a machine without a compiler."""
    if request.param == "compiled":
        need_loops(native.status())
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(native, "library", lambda: None)
        yield


def snntorchs(current: Tensor, beta: float, threshold: float, fire: Callable[[Tensor], Tensor]) -> Tensor:
    """The reference: snnTorch's own neuron, step by step."""
    neuron = snntorch.Leaky(beta=beta, threshold=threshold, spike_grad=fire, reset_mechanism="zero")
    membrane, spikes = torch.zeros_like(current[0]), []
    for now in current:
        spike, membrane = neuron(now, membrane)
        spikes.append(spike)
    return torch.stack(spikes)


@given(currents, betas, thresholds, st.floats(0.25, 20), st.integers(0, 2**31))
def test_spikes_and_gradients_are_snntorchs_bit_for_bit(
    current: np.ndarray, beta: float, threshold: float, alpha: float, seed: int
) -> None:
    x, y = (torch.from_numpy(current).requires_grad_() for _ in range(2))
    fire = surrogate.atan(alpha=alpha)
    expected = snntorchs(x, beta, threshold, fire)
    found = scan(y, beta, threshold, Surrogate("arctan", alpha))
    assert torch.equal(found, expected)
    back = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(torch.autograd.grad(found, y, back)[0], torch.autograd.grad(expected, x, back)[0])


@given(currents, betas, thresholds)
def test_without_gradients_nothing_changes(current: np.ndarray, beta: float, threshold: float) -> None:
    x = torch.from_numpy(current)
    expected = scan(x.clone().requires_grad_(), beta, threshold, Surrogate())
    assert torch.equal(scan(x, beta, threshold, Surrogate()), expected)
    assert torch.equal(integrate(x, beta, threshold)[1], expected)


def test_membranes_are_those_before_the_reset() -> None:
    current = torch.tensor([[0.75], [0.75], [0.5]])
    membranes, spikes = integrate(current, 0.5, 1.0)
    assert membranes.flatten().tolist() == [0.75, 1.125, 0.5]
    assert spikes.flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_are_snntorchs_too(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values, back = torch.randn(7, 5, 11, generator=generator), torch.randn(7, 5, 11, generator=generator)
    x, y = (values.to(dtype).requires_grad_() for _ in range(2))
    expected, found = snntorchs(x, 0.9, 0.5, surrogate.atan(alpha=2.0)), scan(y, 0.9, 0.5, Surrogate())
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    assert 0 < float(found.detach().float().mean()) < 1
    gradients = [
        torch.autograd.grad(spikes, at, back.to(spikes.dtype))[0] for spikes, at in ((expected, x), (found, y))
    ]
    # snnTorch's spikes, and with them the gradients, are float32 whatever comes in.
    tolerance = {torch.float64: 1e-6, torch.bfloat16: 3e-2, torch.float16: 3e-3}[dtype]
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_ends_as_in_snntorch(value: float) -> None:
    current = torch.zeros(4, 3)
    current[1, 1] = value
    expected = snntorchs(current, 0.5, 1.0, surrogate.atan())
    assert torch.equal(scan(current, 0.5, 1.0, Surrogate()), expected)
    membranes, _ = integrate(current, 0.5, 1.0)
    assert bool(membranes[2, 1].isnan()) == (not -np.inf < value < np.inf and value != -np.inf)


@pytest.mark.parametrize(
    "fire", [surrogate.fast_sigmoid(slope=5), surrogate.sigmoid(slope=3), surrogate.straight_through_estimator()]
)
def test_every_surrogate_of_snntorch_gives_its_gradient(fire: Callable[[Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    values, back = torch.randn(6, 4, 9, generator=generator), torch.randn(6, 4, 9, generator=generator)
    x, y = values.clone().requires_grad_(), values.clone().requires_grad_()
    expected = torch.autograd.grad(snntorchs(x, 0.8, 1.0, fire), x, back)[0]
    torch.testing.assert_close(torch.autograd.grad(scan(y, 0.8, 1.0, derivative_of(fire)), y, back)[0], expected)
    assert torch.count_nonzero(expected)


def test_a_surrogate_with_a_state_sees_every_step_as_it_does_in_snntorch() -> None:
    generator = torch.Generator().manual_seed(2)
    values, back = torch.randn(5, 3, 4, generator=generator), torch.randn(5, 3, 4, generator=generator)
    results = []

    def ours(current: Tensor, beta: float, threshold: float, fire: Callable[[Tensor], Tensor]) -> Tensor:
        return scan(current, beta, threshold, derivative_of(fire))

    for run in (snntorchs, ours):
        follow, passes = Following(AdaptiveSharpness()), []
        for _ in range(3):
            follow.restart()
            x = values.clone().requires_grad_()
            passes.append(torch.autograd.grad(run(x, 0.7, 0.5, Spike(follow)), x, back)[0])
        results.append(torch.stack(passes))
    torch.testing.assert_close(*results)


def test_gradients_and_currents_that_are_views_are_read_right() -> None:
    base = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(3))
    x = base.transpose(1, 2).requires_grad_()
    y = base.transpose(1, 2).contiguous().requires_grad_()
    (found,) = torch.autograd.grad(scan(x, 0.5, 0.5, Surrogate()).mean(0).sum(), x)
    (expected,) = torch.autograd.grad((scan(y, 0.5, 0.5, Surrogate()) / 4).sum(), y)
    assert torch.equal(found, expected)
    same = torch.full((1, 3), 0.4).expand(5, 1, 3)
    assert scan(same, 1.0, 1.0, Surrogate())[:, 0, 0].tolist() == [0, 0, 1, 0, 0]


def test_a_second_derivative_is_refused() -> None:
    x, weight = torch.ones(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad((weight * scan(x, 0.5, 0.5, Surrogate())).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_neuron_that_somebody_changed_runs_as_snntorch_runs_it() -> None:
    layer = LIF(0.5, 1.0, 2.0)
    layer.neuron = snntorch.Leaky(beta=0.5, reset_mechanism="subtract")
    current = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(4)) * 2
    neuron, membrane, spikes = snntorch.Leaky(beta=0.5), torch.zeros(2, 3), []
    for now in current:
        spike, membrane = neuron(now, membrane)
        spikes.append(spike)
    assert torch.equal(layer(current), torch.stack(spikes))
    assert not torch.equal(layer(current), LIF(0.5, 1.0, 2.0)(current))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 16, 17, 40])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 14, 14), (3, 2, 60, 60)])
def test_the_gradient_of_what_is_repeated_adds_up_as_pytorch_adds_it_up(steps: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(5)
    x, back = torch.randn(shape, generator=generator), torch.randn(steps, *shape, generator=generator)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = scan((one * 1).unsqueeze(0).expand(steps, *shape), 0.9, 0.5, Surrogate())
    expected = scan((other * 1).unsqueeze(0).repeat(steps, *[1] * len(shape)), 0.9, 0.5, Surrogate())
    assert torch.equal(found, expected)
    gradient = torch.autograd.grad(expected, other, back)[0]
    repeated = (other * 1).unsqueeze(0).expand(steps, *shape)
    each = torch.autograd.grad(scan(current := repeated.contiguous(), 0.9, 0.5, Surrogate()), current, back)[0]
    assert torch.equal(torch.autograd.grad(found, one, back)[0], each.sum(0))
    torch.testing.assert_close(each.sum(0), gradient)


def test_one_step_is_what_was_expanded() -> None:
    x = torch.rand(2, 3).requires_grad_() * 1
    assert one_step(x.unsqueeze(0).expand(4, 2, 3)) is x
    assert one_step(x) is one_step(x.unsqueeze(0).repeat(4, 1, 1)) is None
    part = one_step(x.unsqueeze(0).expand(4, 2, 3)[:, :1])
    assert part is not None
    assert torch.equal(part, x[:1])
    turned = one_step(x.t().unsqueeze(0).expand(4, 3, 2))
    assert turned is not None
    assert torch.equal(turned, x.t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 3), (9, 2, 5, 7), (40, 3, 70, 70)])
def test_the_sum_over_time_is_pytorchs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(6)
    given = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), 0.9, 0.5, Surrogate()
    each = to_current(*given, unit=2.0, gain=3.0)
    assert torch.equal(to_current(*given, unit=2.0, gain=3.0, summed=dtype), each.to(dtype).sum(0))
