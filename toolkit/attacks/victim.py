"""What an attack sees of its victim: a module with gradients, or a function that only answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Images, Labels
from ..errors import InputError
from ..files import digest
from ..network import foreign
from ..network.backward import Backward
from ..network.neurons import Neuron

Function = Callable[[Images], NDArray[Any]]
"""Images (samples, ...) in, logits (samples, classes) or classes (samples,) out; as of an integer simulator."""
Victim = nn.Module | Function


class Encoded(nn.Module):
    """A network that takes encoded input with time behind the samples, (samples, time, ...), as attacks handle it.

    Args:
        model: has ``from_encoded``, or takes, (time, samples, ...).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's logits (samples, classes) for input (samples, time, ...)."""
        respond = getattr(self.model, "from_encoded", self.model)
        logits: Tensor = respond(inputs.transpose(0, 1))
        return logits

    def finely(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what :func:`finely` does, for input (samples, time, ...)."""
        ask = getattr(self.model, "finely", None)
        return (self(inputs), None) if ask is None else ask(inputs.transpose(0, 1), encoded=True)


class EncodedFunction:
    """As :class:`Encoded`, for what only answers."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def __call__(self, inputs: Images) -> NDArray[Any]:
        """Return the function's answer to input (samples, time, ...)."""
        return self.function(np.swapaxes(inputs, 0, 1))


def encoded(victim: Victim) -> Victim:
    """Return ``victim`` for input (samples, time, ...); what is made for it already, as it is."""
    if isinstance(victim, Encoded | EncodedFunction):
        return victim
    return Encoded(victim) if isinstance(victim, nn.Module) else EncodedFunction(victim)


class Averaged(nn.Module):
    """A stochastic victim as attacks with one gradient a step see it: the mean of its logits over draws.

    Args:
        model: from input to logits.
        draws: forward passes.
    """

    def __init__(self, model: nn.Module, draws: int) -> None:
        super().__init__()
        self.model = model
        self.draws = draws

    def forward(self, inputs: Tensor) -> Tensor:
        """Return mean logits (samples, classes)."""
        return torch.stack([self.model(inputs) for _ in range(self.draws)]).mean(0)


def finely(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return logits (batch, classes), and what moves between two spikes of the read-out, or None.

    Spike counts are the same nearly everywhere; the currents that the read-out's neurons received are not.
    """
    ask = getattr(model, "finely", None)
    return ask(inputs) if callable(ask) else (model(inputs), None)


def spiking(module: nn.Module) -> bool:
    """Return whether ``module`` has spikes, whose derivative an attacker may choose."""
    return any(callable(getattr(part, "surrogate", None)) or foreign.spiking(part) for part in module.modules())


def normalizes(module: nn.Module) -> bool:
    """Return whether ``module`` has batch norms, which may run on an attacked batch's statistics."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def fitted(backward: Backward | None, module: nn.Module) -> Backward | None:
    """Return ``backward`` without choices that ``module`` has no use for."""
    if backward is None:
        return None
    if not any(isinstance(part, nn.MaxPool2d) for part in module.modules()):
        backward = replace(backward, pool="first")
    if not spiking(module):
        backward = replace(backward, surrogate=None, time="full")
    return None if backward == Backward() else backward


def device_of(model: nn.Module) -> torch.device:
    """Return where a module computes: the device of its first parameter or buffer, the CPU without any."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


@torch.no_grad()
def outputs(module: nn.Module, images: Images) -> Tensor:
    """Return what a module gives for images, from the state in which a sample starts, as :mod:`..network.foreign`."""
    foreign.reset(module, foreign.stateful(module, Neuron))
    found: Tensor = module(torch.from_numpy(images).to(device_of(module)))
    return found


@torch.no_grad()
def answer(victim: Victim, images: Images, batch: int = 250) -> NDArray[Any]:
    """Return logits (samples, classes), or classes (samples,) of a function that gives no more; modules in evaluation.

    Raises:
        InputError: the victim returned something else.
    """
    if isinstance(victim, nn.Module):
        # Putting every module into a mode walks through the whole tree; attacks ask thousands of times.
        if any(part.training for part in victim.modules()):
            victim.eval()
        ask: Function = lambda part: outputs(victim, part).cpu().numpy()  # noqa: E731
    else:
        ask = victim
    parts = [np.asarray(ask(part)) for part in batches(images, batch)]
    for part, given in zip(parts, batches(images, batch), strict=True):
        if part.ndim not in (1, 2) or len(part) != len(given) or (part.ndim == 1 and part.dtype.kind not in "iu"):
            raise InputError(
                f"victim: {part.dtype} of shape {part.shape} for {len(given)} samples, expected logits "
                "(samples, classes) or integer classes (samples,)"
            )
    return np.concatenate(parts)


def logits_of(victim: Victim, images: Images, batch: int = 250) -> NDArray[Any]:
    """Return logits (samples, classes).

    Raises:
        InputError: the victim gives classes only.
    """
    found = answer(victim, images, batch)
    if found.ndim != 2:
        raise InputError("victim: gives classes, this attack needs logits; use a decision-based attack, as HopSkipJump")
    return found


def predict(network: Victim, images: Images, batch: int = 250) -> Labels:
    """Return the victim's classes (samples,), ties to the lowest index, in evaluation mode."""
    found = answer(network, images, batch)
    return (found.argmax(1) if found.ndim == 2 else found).astype(np.int64)


def batches(images: Images, batch: int) -> list[Images]:
    """Return ``images`` in parts of ``batch``, each contiguous."""
    return [np.ascontiguousarray(images[start : start + batch]) for start in range(0, len(images), batch)]


def fingerprint(victim: Victim, images: Images) -> str:
    """Return a hash of how the victim answers ``images``, and of its weights if it is a module."""
    content = [np.ascontiguousarray(answer(victim, images)).tobytes()]
    if isinstance(victim, nn.Module):
        for name, tensor in sorted(victim.state_dict().items()):
            content += [name.encode(), tensor.detach().cpu().contiguous().numpy().tobytes()]
    return digest(b"".join(content))


@contextmanager
def no_weight_gradients(model: nn.Module) -> Iterator[None]:
    """Spare a library that calls ``backward`` the gradients of the weights; outside, they are as they were."""
    wanted = [(parameter, parameter.grad) for parameter in model.parameters() if parameter.requires_grad]
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, gradient in wanted:
            parameter.requires_grad_(True)
            parameter.grad = gradient
