from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn import functional

from spikeproof.toolkit.kernels import native
from spikeproof.toolkit.kernels.pool import BLOCK, MaxPool, halves, window_sums
from spikeproof.toolkit.kernels.scan import scan, scan_pooled
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import Surrogate

shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 9), st.integers(2, 9))
# Few values, so that most windows have several largest entries.
entries = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, np.inf, -np.inf, np.nan])


@pytest.fixture(scope="module", params=["compiled", "torch"], autouse=True)
def loops(request: pytest.FixtureRequest, need_loops: Callable[[native.Status], None]) -> Iterator[None]:
    """Everything twice: with the compiled loops, and as on a machine without a compiler."""
    if request.param == "compiled":
        need_loops(native.status())
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(native, "library", lambda: None)
        yield


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether every number is the same, signs of zero included; one NaN is as good as another."""
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(
        one.nan_to_num().view(torch.int32), other.nan_to_num().view(torch.int32)
    )


def both(mine: nn.Module, x: Tensor, seed: int = 0) -> None:
    """Compare output and gradient with PyTorch's."""
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = mine(one), functional.max_pool2d(other, mine.kernel_size, mine.stride, mine.padding)  # type: ignore[call-overload]
    assert same_bits(found.detach(), expected.detach())
    to = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed))
    to[to.abs() < 0.3] = -0.0
    pairs = ((found, one), (expected, other))
    assert same_bits(*(torch.autograd.grad(out, at, to)[0] for out, at in pairs))
    with torch.no_grad():
        assert same_bits(mine(x), expected)


@given(shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=entries)), st.integers(0, 2**31))
def test_output_and_gradient_are_pytorchs_bit_for_bit(x: np.ndarray, seed: int) -> None:
    both(MaxPool(2), torch.from_numpy(x), seed)


@pytest.mark.parametrize("size", [(28, 28), (14, 14), (2, BLOCK), (6, BLOCK + 2), (7, 9), (64, 48)])
def test_images_of_many_sizes(size: tuple[int, int]) -> None:
    x = torch.randn(5, 3, *size, generator=torch.Generator().manual_seed(1))
    both(MaxPool(2), x)
    both(MaxPool(2), (x > 0.8).float())
    both(MaxPool(2), x.transpose(2, 3))


@pytest.mark.parametrize("layer", [MaxPool(3, 2, 1), MaxPool(3), MaxPool((2, 1)), MaxPool(2, 1), MaxPool(2, padding=1)])
def test_other_pools_are_pytorchs_own(layer: MaxPool) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    assert not halves(layer, x)
    both(layer, x)


def test_options_of_pytorch_are_kept() -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    found = MaxPool(2, return_indices=True)(x)
    assert all(torch.equal(*pair) for pair in zip(found, functional.max_pool2d(x, 2, return_indices=True), strict=True))
    odd = x[..., :7]
    assert MaxPool(2, ceil_mode=True)(odd).shape == (2, 3, 4, 4)
    assert torch.equal(MaxPool(2, dilation=2)(x), functional.max_pool2d(x, 2, dilation=2))
    assert MaxPool(2)(x.double()).dtype == torch.float64
    assert MaxPool(2)(x[0]).shape == (3, 4, 4)


@given(
    hnp.arrays(np.float32, (4, 2, 2, 4, 6), elements=st.floats(-3, 3, width=32)),
    st.sampled_from([(0.5, 1.0), (0.9, 0.25), (1.0, 0.5), (0.0, 0.7)]),
    st.booleans(),
)
def test_neurons_and_pool_in_one_pass_are_both_one_after_the_other(
    current: np.ndarray, settings: tuple[float, float], same: bool
) -> None:
    results: list[list[Tensor]] = []
    for pooled in (True, False):
        x = torch.from_numpy(current[0] if same else current).requires_grad_()
        drive = (x * 1).unsqueeze(0).expand(4, *x.shape) if same else x
        out = scan_pooled(drive, *settings, Surrogate()) if pooled else None
        if out is None:
            assert not pooled or native.library() is None
            out = functional.max_pool2d(scan(drive, *settings, Surrogate()).flatten(0, 1), 2).unflatten(0, (4, 2))
        to = torch.randn(out.shape, generator=torch.Generator().manual_seed(4))
        results.append([out.detach(), torch.autograd.grad(out, x, to)[0]])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    if native.library() is None:  # the second time
        pytest.skip("without the loops there is nothing to spread")
    x = torch.randn(3, 40, 16, 28, 28, generator=torch.Generator().manual_seed(5)).requires_grad_()
    expected = functional.max_pool2d(scan(x, 0.5, 1.0, Surrogate()).flatten(0, 1), 2).unflatten(0, (3, 40))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = LIF(0.5, 1.0, 2.0).pooled(x, MaxPool(2))
        assert found is not None
        gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (found, expected)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, expected)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("where", [(torch.jit, "is_tracing"), (torch.compiler, "is_compiling")])
def test_a_tracer_meets_pytorchs_own_operators(where: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*where, lambda: True)
    assert native.library_for(torch.rand(1, 1, 2, 2)) is None


def test_what_has_no_such_pass_says_so() -> None:
    x, layer = torch.rand(2, 1, 1, 4, 4), LIF(0.5, 1.0, 2.0)
    other: Any = LIF(0.5, 1.0, 2.0, "triangular")
    assert layer.pooled(x, MaxPool(3, 2, 1)) is other.pooled(x, MaxPool(2)) is None
    assert layer.pooled(x.double(), MaxPool(2)) is layer.pooled(x[0], MaxPool(2)) is None


@pytest.mark.parametrize("size", [(2, 2), (28, 28), (14, 6), (2, BLOCK)])
def test_sums_of_windows_are_those_of_a_convolution(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(6)
    values = torch.randint(-300, 300, (3, 5, *size), generator=generator).float()
    to = torch.randn(3, 5, size[0] // 2, size[1] // 2, generator=generator)
    x, y = values.clone().requires_grad_(), values.clone().requires_grad_()
    found = window_sums(x, 64.0)
    if native.library() is None:
        assert found is None
        return
    assert found is not None
    expected = functional.conv2d(y, torch.full((5, 1, 2, 2), 64.0), stride=2, groups=5)
    assert torch.equal(found, expected)
    assert torch.equal(torch.autograd.grad(found, x, to)[0], torch.autograd.grad(expected, y, to)[0])
    assert window_sums(values[..., 1:], 64.0) is window_sums(values.double(), 64.0) is None
