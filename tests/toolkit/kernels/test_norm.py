import copy
from collections.abc import Callable, Iterator

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from spikeproof.toolkit.errors import SpikeproofError
from spikeproof.toolkit.kernels import native, norm
from spikeproof.toolkit.kernels.norm import Norm


@pytest.fixture(scope="module", params=["compiled", "torch"], autouse=True)
def loops(request: pytest.FixtureRequest, need_loops: Callable[[native.Status], None]) -> Iterator[None]:
    """Everything twice: with the compiled loops, and as on a machine without a compiler."""
    if request.param == "compiled":
        need_loops(native.status())
        need_loops(norm.status())
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(native, "library", lambda: None)
        yield


def pair(channels: int, seed: int, **options: float | bool | None) -> tuple[Norm, nn.BatchNorm2d]:
    """Return ours and PyTorch's, with equal numbers."""
    ours, theirs = Norm(channels, **options), nn.BatchNorm2d(channels, **options)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*theirs.parameters(), *theirs.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def agree(ours: nn.Module, theirs: nn.Module, x: Tensor, to: Tensor) -> None:
    """Compare output, gradients and running statistics, bit for bit."""
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = ours(one), theirs(other)
    assert torch.equal(found, expected)
    gradients = (
        torch.autograd.grad(y, (at, *layer.parameters()), to)
        for y, at, layer in ((found, one, ours), (expected, other, theirs))
    )
    assert all(torch.equal(*both) for both in zip(*gradients, strict=True))
    assert all(torch.equal(*both) for both in zip(ours.buffers(), theirs.buffers(), strict=True))


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 19), st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([0.1, 0.3, 1 / 3, 0.01]),
    st.sampled_from([1e-5, 1e-3]),
    st.integers(0, 2**31),
)
def test_everything_is_pytorchs_bit_for_bit(
    shape: tuple[int, int, int, int], momentum: float, eps: float, seed: int
) -> None:
    samples, channels, height, width = shape
    if samples * height * width == 1:
        return
    generator = torch.Generator().manual_seed(seed)
    x, to = 3 * torch.randn(shape, generator=generator) + 1, torch.randn(shape, generator=generator)
    ours, theirs = pair(channels, seed, momentum=momentum, eps=eps)
    for _ in range(2):
        agree(ours, theirs, x, to)
    agree(ours.eval(), theirs.eval(), x, to)


def test_a_layer_of_a_network() -> None:
    generator = torch.Generator().manual_seed(0)
    x, to = torch.randn(64, 32, 14, 14, generator=generator), torch.randn(64, 32, 14, 14, generator=generator)
    agree(*pair(32, 1), x, to)
    # As of a convolution on channels-last, and of a gradient that comes from one.
    last = x.contiguous(memory_format=torch.channels_last)
    agree(*pair(32, 2), last, to)
    agree(*pair(32, 3), x, to.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("options", [{"affine": False}, {"momentum": None}, {"track_running_stats": False}])
def test_options_of_pytorch_are_kept(options: dict[str, bool | None]) -> None:
    generator = torch.Generator().manual_seed(2)
    x, to = torch.randn(4, 3, 5, 5, generator=generator), torch.randn(4, 3, 5, 5, generator=generator)
    agree(*pair(3, 0, **options), x, to)


def test_what_pytorch_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Norm(2)(torch.rand(1, 2, 1, 1))
    with pytest.raises(ValueError, match="4D"):
        Norm(2)(torch.rand(4, 2))


def test_other_precisions_and_copies() -> None:
    layer = Norm(3).double()
    assert layer(torch.rand(2, 3, 4, 4, dtype=torch.float64)).dtype == torch.float64
    copied = copy.deepcopy(Norm(3))
    assert copied(torch.rand(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    assert copied.num_batches_tracked == 1


def kept() -> int:
    """Return how many tensors the graph of a call keeps."""
    found: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: found.append(x) or x, lambda x: x):  # type: ignore[func-returns-value]
        Norm(3)(torch.rand(2, 3, 4, 4))
    return len(found)


def test_the_first_use_adds_nothing_to_what_a_graph_keeps() -> None:
    norm.status.cache_clear()
    first = kept()
    assert first == kept() > 0


def test_the_first_use_may_be_without_gradients() -> None:
    norm.status.cache_clear()
    with torch.inference_mode():
        assert Norm(3)(torch.rand(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    assert norm.status.cache_info().currsize == 1 or native.library() is None


@pytest.mark.parametrize("loop", ["statistics", "applied", "backward"])
def test_a_pytorch_with_other_bits_is_noticed_and_told(
    loop: str, monkeypatch: pytest.MonkeyPatch, need_loops: Callable[[native.Status], None]
) -> None:
    need_loops(norm.status())
    name = loop if hasattr(norm, loop) else f"_{loop}"
    own = getattr(norm, name)

    def other(*arguments: object) -> object:
        found = own(*arguments)
        (found if isinstance(found, Tensor) else found[0]).mul_(1 + 2e-7)
        return found

    monkeypatch.setattr(norm, name, other)
    monkeypatch.delenv(native.REQUIRE_VARIABLE, raising=False)
    monkeypatch.setenv(native.VARIABLE, "1")
    norm.status.cache_clear()
    try:
        assert norm._library() is None
        told = {"statistics": "norm_statistics", "applied": "norm_apply", "backward": "norm_backward"}[loop]
        assert norm.status().missing == f"self-check failed, not the bits of PyTorch: {told}"
        monkeypatch.setenv(native.REQUIRE_VARIABLE, "1")
        with pytest.raises(SpikeproofError, match=f"norm.c.*{told}"):
            norm._library()
    finally:
        norm.status.cache_clear()
