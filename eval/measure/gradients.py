"""Statistics of gradients, taken inside the backward passes of any attack."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...toolkit.attacks.base import Attack
from ...toolkit.attacks.victim import device_of, no_weight_gradients
from ...toolkit.data import Images, Labels
from ...toolkit.errors import InputError
from ...toolkit.network.backward import attack_gradient
from ...toolkit.network.layers import Scanned
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.network.neurons import Neuron
from ...toolkit.network.population import stepped
from ...toolkit.progress import Track, silent
from ...toolkit.task import CLASSES, Task
from .metrics import Metric

NEAR = 1e-3
"""An entry below this share of its sample's largest is nearly zero."""
IMAGE = "image"
"""The key under which the gradient of what was attacked stands."""


@dataclass(frozen=True)
class Statistics:
    """What the gradients g of one tensor look like, n entries a sample.

    Attributes:
        zeros: #{g = 0} / n, over all samples: exact zeros, no tolerance.
        near_zeros: #{g = 0 or |g| < 1e-3 max |g|} / n, max over a sample.
        l1: mean over samples of L1 = sum |g|.
        l2: mean over samples of L2 = sqrt(sum g^2).
        hoyer: mean of (sqrt(n) - L1 / L2) / (sqrt(n) - 1): 0 if all entries are alike, 1 if only one is not zero.
        spread: mean of 3 L1^2 / L2^2, for a linear function the largest change in an L-infinity ball over the mean
            change by uniform noise, both squared; from 3 to 3 n.
        samples: how many gradients.
        silent: how many of them are zero altogether; the means of ``hoyer`` and ``spread`` leave these out, and are
            None if nothing is left (``hoyer`` also where n is 1).
    """

    zeros: float
    near_zeros: float
    l1: float
    l2: float
    hoyer: float | None
    spread: float | None
    samples: int
    silent: int


class GradientStatistics(Metric):
    """Zeros, norms and ratios of gradients, a sample at a time (Hoyer 2004; arXiv 2405.20355 for 3 L1^2 / L2^2)."""

    name = "gradient statistics"
    unit = "shares, norms and ratios"
    higher_is_better = None

    def __init__(self) -> None:
        self.entries = self.zeros = self.near = self.samples = self.silent = self.measured = 0
        self.l1 = self.l2 = self.hoyer = self.spread = 0.0

    def update(self, gradients: Tensor) -> None:
        """Count a batch.

        Args:
            gradients: (batch, ...).

        Raises:
            InputError: a gradient is NaN or infinite, or there are no entries.
        """
        flat = gradients.detach().flatten(1).abs().double()
        if not flat.numel() or not bool(torch.isfinite(flat).all()):
            raise InputError(
                f"metric {self.name!r}: gradient of shape {tuple(gradients.shape)}: empty, NaN or infinite"
            )
        largest = flat.amax(1, keepdim=True)
        l1, l2 = flat.sum(1), flat.square().sum(1).sqrt()
        # Squares of numbers below 1e-154 vanish even in float64, so the ratio is taken of scaled entries.
        scaled = flat / largest.clamp(min=torch.finfo(flat.dtype).tiny)
        ratio = scaled.sum(1) / scaled.square().sum(1).sqrt()
        loud = largest[:, 0] > 0
        size = flat.shape[1]
        self.entries += flat.numel()
        self.zeros += int((flat == 0).sum())
        self.near += int(((flat < NEAR * largest) | (flat == 0)).sum())
        self.samples += len(flat)
        self.silent += int((~loud).sum())
        self.l1 += float(l1.sum())
        self.l2 += float(l2.sum())
        self.spread += float((3 * ratio[loud].square()).sum())
        if size > 1:
            self.measured += int(loud.sum())
            self.hoyer += float(((size**0.5 - ratio[loud]) / (size**0.5 - 1)).sum())

    def compute(self) -> Statistics:
        """Return shares and means over all samples."""
        self._need(self.samples)
        loud = self.samples - self.silent
        return Statistics(
            zeros=self.zeros / self.entries,
            near_zeros=self.near / self.entries,
            l1=self.l1 / self.samples,
            l2=self.l2 / self.samples,
            hoyer=self.hoyer / self.measured if self.measured else None,
            spread=self.spread / loud if loud else None,
            samples=self.samples,
            silent=self.silent,
        )


def leaves(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers whose gradients are looked at, by name: a spiking network's own, else modules without children.

    A network with loops runs its neurons step by step; there the neuron itself stands for its layer.
    """
    if isinstance(module, SpikingNetwork):
        return {
            name: stepped(layer) if isinstance(layer, Neuron) and module.recurrent else layer
            for name, layer in module.named_layers()
        }
    return {name: part for name, part in module.named_modules() if name and not list(part.children())}


class WatchedGradients(Metric):
    """Gradients of a module's input, and of the inputs and outputs of its layers, in every backward pass of an attack.

    Use it by :func:`watch`. All passes count alike: a PGD of ten steps gives ten gradients a sample.

    Args:
        module: the network.
    """

    name = "gradients of layers"
    unit = "see Statistics"
    higher_is_better = None

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers = leaves(module)
        self.stepwise = isinstance(module, SpikingNetwork) and module.recurrent
        self.found: dict[tuple[str, str], GradientStatistics] = {}
        self.passes = 0
        self._batch = 0
        self._waiting: dict[tuple[str, str], list[Tensor]] = {}

    def begin(self, inputs: Tensor, encoded: bool = False) -> None:
        """Note that a forward pass of ``inputs`` begins, (batch, ...), or if ``encoded`` (time, batch, ...)."""
        self.finish()
        self._batch = inputs.shape[1 if encoded or self._encoded(inputs) else 0]

    def _encoded(self, inputs: Tensor) -> bool:
        return isinstance(self.module, SpikingNetwork) and inputs.dim() == 5 and not self.module.coder.sequences

    def add_input(self, gradient: Tensor, encoded: bool = False) -> None:
        """Count the gradient of what :meth:`begin` was told of, which ends a backward pass."""
        self.passes += 1
        first = encoded or self._encoded(gradient)
        self._count((IMAGE, "input"), gradient.transpose(0, 1) if first else gradient)

    def add(self, name: str, side: str, gradient: Tensor | None) -> None:
        """Count the gradient of a layer's "input" or "output"; None, which takes no part in the pass, is left out."""
        if gradient is None:
            return
        if gradient.dim() == 0 or not self._batch or gradient.numel() % self._batch:
            raise InputError(f"layer {name!r}: gradient of {tuple(gradient.shape)} for {self._batch} samples")
        timed = isinstance(self.layers[name], Scanned)
        # Other layers have time folded into their batch.
        parts = gradient if timed else gradient.reshape(-1, self._batch, *gradient.shape[1:])
        if self.stepwise:
            self._waiting.setdefault((name, side), []).append(parts.detach())
        else:
            self._count((name, side), parts.transpose(0, 1))

    def finish(self) -> None:
        """Count what a network with loops left, step by step, in its last backward pass."""
        for key, parts in self._waiting.items():
            self._count(key, torch.cat(parts).transpose(0, 1))
        self._waiting.clear()

    def _count(self, key: tuple[str, str], gradients: Tensor) -> None:
        self.found.setdefault(key, GradientStatistics()).update(gradients)

    def compute(self) -> dict[str, dict[str, Statistics]]:
        """Return the statistics by layer and side, in the order of computation; the module's input first."""
        self._need(self.passes)
        order = [IMAGE, *self.layers]
        sides = {name: [side for side in ("input", "output") if (name, side) in self.found] for name in order}
        return {name: {side: self.found[name, side].compute() for side in sides[name]} for name in order if sides[name]}


@contextmanager
def watch(module: nn.Module) -> Iterator[WatchedGradients]:
    """Take statistics of all gradients inside the block, by backward hooks; afterwards the module has none of them.

    The gradients are those of whatever is run: any attack, its surrogates and pool rules included. Passes without
    gradients do not count; weights get none inside the block. Layers that get the same at every step run at every step,
    so gradients are summed over time in another order than without, and may differ in their last bits.

    Args:
        module: the network; its layers must not work in place.
    """
    seen = WatchedGradients(module)

    def hook_of(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, before: tuple[Tensor | None, ...], after: tuple[Tensor | None, ...]) -> None:
            seen.add(name, "input", before[0])
            seen.add(name, "output", after[0])

        return hook

    def at_input(part: nn.Module, before: tuple[Tensor | None, ...], after: tuple[Tensor | None, ...]) -> None:
        if before[0] is not None:
            seen.add_input(before[0])

    with ExitStack() as stack:
        stack.enter_context(no_weight_gradients(module))
        stack.callback(module.register_forward_pre_hook(lambda part, inputs: seen.begin(inputs[0])).remove)
        for name, layer in seen.layers.items():
            stack.callback(layer.register_full_backward_hook(hook_of(name)).remove)
        stack.callback(module.register_full_backward_hook(at_input).remove)
        if isinstance(module, SpikingNetwork):
            # Encoded input does not go through ``forward``, where hooks are.
            respond = module.from_encoded

            def from_encoded(signal: Tensor) -> Tensor:
                seen.begin(signal, encoded=True)
                if signal.requires_grad:
                    signal.register_hook(lambda gradient: seen.add_input(gradient, encoded=True))
                return respond(signal)

            stack.callback(vars(module).pop, "from_encoded", None)
            vars(module)["from_encoded"] = from_encoded
        yield seen
    seen.finish()


def clean_gradients(
    network: nn.Module, images: Images, labels: NDArray[Any], *, batch: int, task: Task = CLASSES
) -> dict[str, Any]:
    """Return the statistics of the gradients of what a task's attacks raise, summed over samples, without any attack.

    Norms are those of a sample's own loss here; an attack's library may divide its loss by the size of the batch.

    Args:
        network: put into evaluation mode.
        images: (samples, ...), as the network takes them.
        labels: (samples,).
        batch: samples at once.
        task: of the labels; classes have cross-entropy.

    Returns:
        As :func:`attack_gradients`, with None for the attack.
    """
    device = device_of(network)
    with attack_gradient(network), watch(network) as seen:
        for start in range(0, len(images), batch):
            x = torch.from_numpy(images[start : start + batch]).to(device).requires_grad_()
            y = torch.from_numpy(labels[start : start + batch]).to(device)
            task.total(network(x), y).backward()
    return gradients_of(None, len(labels), seen)


def gradients_of(attack: str | None, samples: int, seen: WatchedGradients) -> dict[str, Any]:
    """Return an attack's label, samples, number of backward passes, and statistics by layer and side."""
    layers = {name: {side: asdict(one) for side, one in sides.items()} for name, sides in seen.compute().items()}
    return {"attack": attack, "samples": samples, "passes": seen.passes, "layers": layers}


def attack_gradients(
    attack: Attack, network: nn.Module, images: Images, labels: Labels, *, track: Track = silent
) -> dict[str, Any]:
    """Run an attack and return the statistics of the gradients in its own backward passes.

    Args:
        attack: a white-box attack; its samples, steps, surrogate and pool rule decide which gradients there are.
        network: the victim.
        images: (samples, channels, height, width), or encoded as the attack takes it.
        labels: (samples,).
        track: progress.

    Returns:
        The attack's label, samples, number of backward passes, statistics by layer and side.

    Raises:
        InputError: the attack takes no gradients.
    """
    with watch(network) as seen:
        attack(network, images, labels, track=track)
    return gradients_of(attack.label, len(labels), seen)
