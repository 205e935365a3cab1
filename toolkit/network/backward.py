"""The backward pass that an attacker chooses: a context that swaps derivatives and leaves the forward pass alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedError
from ..kernels.scan import Derivative, integrate
from . import foreign
from .network import SpikingNetwork
from .neurons import LIF, Neuron
from .surrogates import AdaptiveSharpness, Following, Surrogate, derivative_of

Pool = Literal["first", "ties", "average", "neuron"]
Time = Literal["full", "rate", "step", "temporal"]
POOLS: tuple[Pool, ...] = ("first", "ties", "average", "neuron")
TIMES: tuple[Time, ...] = ("full", "rate", "step", "temporal")


@dataclass(frozen=True)
class Backward:
    """What an attacker's backward pass takes for derivatives; the forward pass stays the network's.

    Args:
        surrogate: of every spike, None for the one trained with.
        pool: where the gradient of max pooling goes: to the first of the largest entries, as torch does it; in equal
            parts to all that tie for the largest; in equal parts to all entries of the window; or, for spikes, to all
            entries as through a neuron that is their OR, 2 g(2 n - 1) for n spikes in the window, g the surrogate (on
            PyTorch's layers one of sharpness 2, where it is adaptive; pools of anything but spikes share among ties).
            The same on the twin, whose max pools are such neurons.
        time: what passes a LIF layer. With d(t) = dL/ds(t), slope g(t) and L(t) = d(t) g(t) + beta (1 - s(t)) L(t + 1),
            dL/dI(t) is L(t) for "full" (what torch does); mean(d) mean(g), means over time, for "rate"; d(t) g(t) for
            "step", nothing through the membrane; beta (1 - s(t)) L(t + 1) for "temporal", all through the membrane.
        batch_statistics: batch norm uses the statistics of the attacked batch instead of the running ones.

    Raises:
        InputError: a name that is not in the lists above.
    """

    surrogate: Surrogate | AdaptiveSharpness | None = None
    pool: Pool = "first"
    time: Time = "full"
    batch_statistics: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (("pool", self.pool, POOLS), ("time", self.time, TIMES)):
            if value not in known:
                raise InputError(f"backward pass: {name} {value!r}, expected one of {', '.join(known)}")


class Swapped:
    """What is in force inside :func:`attack_gradient`: the state of an adaptive surrogate, if there is one."""

    def __init__(self, following: Following | None) -> None:
        self.following = following

    def keep(self, index: Tensor) -> None:
        """Go on with the samples ``index`` (a mask or indices) of the batch only."""
        if self.following is not None:
            self.following.keep(index)

    def first_draw(self, first: bool) -> None:
        """Say whether the next gradient is the first of several draws; only that one updates the state."""
        if self.following is not None:
            self.following.frozen = not first


class _Pool(torch.autograd.Function):
    """Max pooling whose gradient goes to all that tie, or to the whole window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.MaxPool2d, way: Pool, derivative: Derivative) -> Tensor:
        # The layer's own, which may take more axes in front of the planes than PyTorch's.
        out: Tensor = type(layer).forward(layer, x)
        ctx.save_for_backward(x, out)
        ctx.layer, ctx.way, ctx.derivative = layer, way, derivative
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        shape = ctx.saved_tensors[0].shape
        x, out, given = (each.reshape(-1, *each.shape[-3:]) for each in (*ctx.saved_tensors, grads[0]))
        (kernel, stride, padding, dilation) = (
            (value, value) if isinstance(value, int) else tuple(value)
            for value in (ctx.layer.kernel_size, ctx.layer.stride, ctx.layer.padding, ctx.layer.dilation)
        )
        # Every window becomes a slice for each of its positions; what lies outside of the image never takes part.
        need = [(out.shape[2 + d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1 for d in (0, 1)]
        extra = [max(need[d] - x.shape[2 + d] - padding[d], 0) for d in (0, 1)]
        edges = (padding[1], extra[1], padding[0], extra[0])
        padded = nn.functional.pad(x, edges, value=-torch.inf)
        places = [
            tuple(
                slice(at[d] * dilation[d], at[d] * dilation[d] + (out.shape[2 + d] - 1) * stride[d] + 1, stride[d])
                for d in (0, 1)
            )
            for at in torch.cartesian_prod(torch.arange(kernel[0]), torch.arange(kernel[1])).tolist()
        ]
        windows = torch.stack([padded[..., rows, columns] for rows, columns in places])
        inside = windows > -torch.inf
        neuron = ctx.way == "neuron" and bool(((x == 0) | (x == 1)).all())
        takes = inside if neuron or ctx.way == "average" else windows == out
        spikes = windows.where(inside, 0).sum(0)
        share = given * 2 * ctx.derivative(2 * spikes - 1) if neuron else given / takes.sum(0)
        back = torch.zeros_like(padded)
        for (rows, columns), take in zip(places, takes, strict=True):
            back[..., rows, columns] += take * share
        inner = back[..., padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]]
        return inner.reshape(shape), None, None, None


class _InTime(torch.autograd.Function):
    """A LIF layer over all its time steps, with a backward pass of :class:`Backward` other than "full"."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, layer: LIF, derivative: Derivative, time: Time) -> Tensor:
        membranes, spikes = integrate(current, layer.beta, layer.threshold)
        assert membranes is not None
        x = membranes.sub_(layer.threshold)
        ctx.save_for_backward(x, spikes)
        ctx.derivative, ctx.time, ctx.beta = derivative, time, layer.beta
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, spikes = ctx.saved_tensors
        direct = [ctx.derivative(now) for now in x.flip(0)][::-1]
        if ctx.time == "rate":
            slope = torch.stack(direct).mean(0)
            return (grads[0].mean(0) * slope).expand_as(x), None, None, None
        passed = [grad * slope for grad, slope in zip(grads[0], direct, strict=True)]
        if ctx.time == "step":
            return torch.stack(passed), None, None, None
        later = torch.zeros_like(passed[-1])
        through: list[Tensor] = []
        for now, fired in zip(reversed(passed), spikes.flip(0), strict=True):
            through.append(ctx.beta * (1 - fired) * later)
            later = now + through[-1]
        return torch.stack(through[::-1]), None, None, None


@contextmanager
def _set(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of an instance inside the block; outside, it is as it was, its own or its class's."""
    own = vars(thing)
    had, before = name in own, own.get(name)
    own[name] = value
    try:
        yield
    finally:
        if had:
            own[name] = before
        else:
            own.pop(name, None)


@contextmanager
def _replaced(names: dict[str, Any], name: str, value: Any) -> Iterator[None]:
    """Replace an entry of a dictionary inside the block."""
    before = names[name]
    names[name] = value
    try:
        yield
    finally:
        names[name] = before


@contextmanager
def _batch_statistics(layer: nn.Module) -> Iterator[None]:
    saved = {name: tensor.clone() for name, tensor in layer.named_buffers()}
    training = layer.training
    layer.train()
    try:
        yield
    finally:
        layer.train(training)
        with torch.no_grad():
            for name, tensor in layer.named_buffers():
                tensor.copy_(saved[name])


def _in_time(layer: LIF, derivative: Derivative, time: Time) -> Callable[[Tensor], Tensor]:
    def forward(current: Tensor) -> Tensor:
        spikes: Tensor = _InTime.apply(current, layer, derivative, time)  # type: ignore[no-untyped-call]
        return spikes

    return forward


def _pooled(layer: nn.MaxPool2d, backward: Backward) -> Callable[[Tensor], Tensor]:
    chosen = backward.surrogate
    derivative = Surrogate(chosen.kind) if isinstance(chosen, AdaptiveSharpness) else chosen or Surrogate()

    def forward(x: Tensor) -> Tensor:
        out: Tensor = _Pool.apply(x, layer, backward.pool, derivative)  # type: ignore[no-untyped-call]
        return out

    return forward


def _refuse(model: nn.Module, time: Time) -> None:
    if time == "full":
        return
    if any(isinstance(part, SpikingNetwork) and part.recurrent for part in model.modules()):
        raise UnsupportedError(f"backward pass: time {time!r} needs a network without loops; use 'full'")
    neurons = [part for part in model.modules() if isinstance(part, Neuron)]
    inside = {id(child) for part in neurons for child in part.modules()}
    others = any(id(part) not in inside and foreign.spiking(part) for part in model.modules())
    if others or not all(isinstance(part, LIF) and part.unlike() is None for part in neurons):
        raise UnsupportedError(f"backward pass: time {time!r} is defined for LIF neurons only; use 'full'")
    if _twins(model):
        raise UnsupportedError(
            f"backward pass: time {time!r} is for PyTorch's layers, the twin has its own; use 'full'"
        )


def _twins(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if callable(getattr(part, "surrogate", None))]


@contextmanager
def attack_gradient(model: nn.Module, backward: Backward | None = None) -> Iterator[Swapped]:
    """Attack ``model`` in evaluation mode with another backward pass inside the block; nothing of it is left behind.

    Weights and the forward pass are not touched. A network without spikes or pools has nothing to swap. The state of
    an adaptive surrogate lasts as long as the block. Neurons of other frameworks start each forward pass of ``model``
    from their first state, inside the block and after it.

    Args:
        model: a network of :mod:`.neurons`, of neurons that :mod:`.foreign` knows (snnTorch, SpikingJelly, norse,
            sinabs), a twin (which calls its attribute ``surrogate``), or any other module.
        backward: what to take for derivatives; None changes nothing.

    Raises:
        UnsupportedError: ``backward.time`` on a network with loops or CUBA neurons, or on a twin.
    """
    backward = backward or Backward()
    _refuse(model, backward.time)
    modes = [(part, part.training) for part in model.modules()]
    following = Following(backward.surrogate) if isinstance(backward.surrogate, AdaptiveSharpness) else None
    derivative: Derivative | None = (
        following if isinstance(backward.surrogate, AdaptiveSharpness) else backward.surrogate
    )
    with ExitStack() as stack:
        for part, training in modes:
            stack.callback(setattr, part, "training", training)
        model.eval()
        states = foreign.stateful(model, Neuron)
        if states:
            stack.callback(foreign.reset, model, states)
            stack.callback(model.register_forward_pre_hook(lambda *_: foreign.reset(model, states)).remove)
        if following is not None:
            handle = model.register_forward_pre_hook(lambda *_: following.restart())
            stack.callback(handle.remove)
        for part in model.modules():
            if isinstance(part, LIF) and backward.time != "full":
                slope = derivative or derivative_of(part.neuron.spike_grad)
                stack.enter_context(_set(part, "forward", _in_time(part, slope, backward.time)))
            elif derivative is not None and (swaps := list(foreign.surrogates(part, derivative))):
                for name, value in swaps:
                    stack.enter_context(_set(part, name, value))
            elif isinstance(part, nn.MaxPool2d) and backward.pool != "first" and not part.return_indices:
                stack.enter_context(_set(part, "forward", _pooled(part, backward)))
            elif isinstance(part, nn.modules.batchnorm._BatchNorm) and backward.batch_statistics:
                stack.enter_context(_batch_statistics(part))
        for part in filter(foreign.needs_training, model.modules()):
            stack.enter_context(_set(part, "training", True))
        for part in _twins(model):
            if derivative is not None:
                stack.enter_context(_set(part, "surrogate", derivative))
            if hasattr(part, "or_neurons") and backward.pool != "first":
                stack.enter_context(_set(part, "or_neurons", backward.pool == "neuron"))
        if derivative is not None and any(foreign.is_norse(part) for part in model.modules()):
            for names, value in foreign.norse_thresholds(derivative):
                stack.enter_context(_replaced(names, "threshold", value))
        yield Swapped(following)
