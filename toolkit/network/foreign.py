"""Spiking modules of other frameworks, of which none is imported: where surrogates are, and what resets state."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .surrogates import Spike

FRAMEWORKS = ("snntorch", "spikingjelly", "norse", "sinabs")
Derivative = Callable[[Tensor], Tensor]


def framework(thing: object) -> str | None:
    """Return which of :data:`FRAMEWORKS` a class, or that of a thing, comes from or derives from; None for others."""
    kinds = (thing if isinstance(thing, type) else type(thing)).__mro__
    roots = (kind.__module__.partition(".")[0] for kind in kinds)
    return next((root for root in roots if root in FRAMEWORKS), None)


class Keep(torch.autograd.Function):
    """A function as it is, whose backward pass multiplies by another derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], derivative: Derivative) -> Tensor:
        """Return ``function(x)``."""
        ctx.save_for_backward(x)
        ctx.derivative = derivative
        return function(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivative at x times what arrives."""
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.derivative(x), None, None


def kept(x: Tensor, function: Callable[[Tensor], Tensor], derivative: Derivative) -> Tensor:
    """Return ``function(x)``, with ``derivative(x)`` for its derivative."""
    found: Tensor = Keep.apply(x, function, derivative)  # type: ignore[no-untyped-call]
    return found


def fires(function: Callable[[Tensor], Tensor], device: torch.device) -> bool:
    """Return whether a function is a step at 0: what a surrogate may stand for."""
    with torch.no_grad():
        x = torch.tensor([-1e3, -1.0, -0.01, 0.01, 1.0, 1e3], device=device)
        found = function(x)
    return isinstance(found, Tensor) and found.shape == x.shape and bool((found == (x > 0)).all())


class _Sinabs:
    """A spike function of sinabs with another derivative, at the distance to the nearest threshold that it counts.

    Args:
        function: with ``apply(v, ..., threshold, surrogate)``; may count several thresholds, one spike each.
        derivative: x -> g(x), with x = v - threshold.
    """

    def __init__(self, function: Any, derivative: Derivative) -> None:
        self.function, self.derivative = function, derivative
        self.required_states = list(function.required_states)

    def apply(self, v: Tensor, *others: Any) -> Tensor:
        """Return spikes for the membrane potential ``v``."""
        *_, threshold, _surrogate = others
        kinds = self.function.__mro__ if isinstance(self.function, type) else ()
        counts = all(kind.__name__ != "SingleSpike" for kind in kinds)

        def slope(x: Tensor) -> Tensor:
            nearest = torch.round(x / threshold).clamp(min=1) if counts else 1
            return self.derivative(x - threshold * nearest)

        return kept(v, lambda x: self.function.apply(x, *others), slope)


def surrogates(part: nn.Module, derivative: Derivative) -> Iterator[tuple[str, Any]]:
    """Yield attributes of a module, and what to set them to, so that its spikes have another derivative.

    Known are ``spike_grad``, called with v - threshold (snnTorch's, and all that do as it does), SpikingJelly's
    ``surrogate_function``, and ``spike_fn`` of sinabs. What is called must be a step; a clamp or a rounding has a
    derivative of another kind.
    """
    own = getattr(part, "spike_grad", None)
    if isinstance(own, Spike):
        yield "spike_grad", Spike(derivative)
        return
    if callable(own) and fires(own, _device(part)):
        yield "spike_grad", lambda x: kept(x, own, derivative)
    where = framework(part)
    step = getattr(part, "surrogate_function", None)
    if where == "spikingjelly" and callable(step) and fires(step, _device(part)):
        yield "surrogate_function", lambda x: kept(x, step, derivative)
    count: Any = getattr(part, "spike_fn", None)
    if where == framework(count) == "sinabs" and count.required_states[0] == "v_mem":
        yield "spike_fn", _Sinabs(count, derivative)


def needs_training(part: nn.Module) -> bool:
    """Return whether neurons fire the same spikes in evaluation mode, but without any derivative."""
    return framework(part) == "spikingjelly" and any(
        kind.__name__ == "ComplementaryLIFNode" for kind in type(part).__mro__
    )


def is_norse(part: nn.Module) -> bool:
    """Return whether a module is one of norse's neurons, which call a threshold of their own package."""
    return framework(part) == "norse" and callable(getattr(part, "activation", None))


def norse_thresholds(derivative: Derivative) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the globals of norse's modules that name its ``threshold``, and what to put there for another derivative.

    Its neurons are functions that find the threshold by name, so it is replaced where they look.
    """
    known = sys.modules.get("norse.torch.functional.threshold")
    own = getattr(known, "threshold", None)
    if own is None:
        return

    def threshold(x: Tensor, method: str, alpha: float) -> Tensor:
        return kept(x, lambda v: own(v, method, alpha), derivative)

    for name, module in list(sys.modules.items()):
        if name.startswith("norse.torch.functional.") and getattr(module, "threshold", None) is own:
            yield vars(module), threshold


def spiking(part: nn.Module) -> bool:
    """Return whether a module's spikes can be given another derivative."""
    return is_norse(part) or any(True for _ in surrogates(part, lambda x: x))


def stateful(model: nn.Module, own: type[nn.Module]) -> list[nn.Module]:
    """Return the modules of other frameworks that keep state between calls.

    Args:
        model: any.
        own: neurons that clear theirs themselves, whatever they are built of.
    """
    inside = {id(child) for part in model.modules() if isinstance(part, own) for child in part.modules()}
    return [part for part in model.modules() if id(part) not in inside and _reset_of(part) is not None]


@torch.no_grad()
def reset(model: nn.Module, parts: list[nn.Module]) -> None:
    """Put the state of ``parts``, modules of ``model``, to where a sample starts, by their frameworks' own functions.

    sinabs' and snnTorch's functions for whole networks miss nested or recurrent layers, so each layer's own is called.
    """
    whole = sys.modules.get("spikingjelly.activation_based.functional")
    if whole is not None and any(framework(part) == "spikingjelly" for part in parts):
        whole.reset_net(model)
    for part in parts:
        found = _reset_of(part)
        if found is not None and (whole is None or framework(part) != "spikingjelly"):
            found()


def _reset_of(part: nn.Module) -> Callable[[], Any] | None:
    names = {"snntorch": "reset_mem", "spikingjelly": "reset", "sinabs": "reset_states"}
    found = getattr(part, names.get(framework(part) or "", ""), None)
    return found if callable(found) else None


def tensors(thing: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested sequences and dictionaries."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        for part in thing.values():
            yield from tensors(part)
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from tensors(part)


def _device(part: nn.Module) -> torch.device:
    for tensors in (part.parameters(), part.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")
