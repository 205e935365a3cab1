"""The contract of every defence: hooks into building a network and into one step of its training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..named import Section
from ..network.network import SpikingNetwork

Gradients = Callable[[], Tensor]
"""Computes the loss of a batch and the gradients of all weights, and returns the loss."""


@dataclass
class Batch:
    """One batch in training.

    Attributes:
        model: the network as the training calls it (devices, precision); use it for every pass that trains weights.
        network: the same network by itself, to look at its layers or to attack it.
        images: (batch, channels, height, width), as the defences before left them.
        labels: (batch,).
        epoch: counted from 0.
        number: of this batch since training began, from 0.
        progress: share of all batches that are done, in [0, 1).
        logits: (batch, classes) of ``images``; set before :meth:`Defence.loss` is called.
        clean: the images before any defence changed them.
    """

    model: Callable[[Tensor], Tensor]
    network: SpikingNetwork
    images: Tensor
    labels: Tensor
    epoch: int
    number: int
    progress: float
    logits: Tensor = field(init=False)
    clean: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Keep the images as they are."""
        self.clean = self.images


class Defence(Section):
    """A defence: its fields are its settings in a recipe, its methods are called where they say.

    Defences of one recipe compose in the order in which they are listed. Building a network calls :meth:`prepare` of
    each. A step of training, in the end for the weights w,

    x' = inputs_n(... inputs_1(x)),  L = CE(f(x'), y) + sum_i loss_i,  w <- after_n(... after_1(Adam(w, dL/dw)))

    where the gradients are computed inside of ``around_1(around_2(...))``. A defence keeps nothing from step to step:
    what lasts is in the network's weights, so that training can be interrupted, and random numbers come from torch's
    global generator, which training seeds every epoch.

    Attributes:
        name: what a recipe calls it.
        summary: one line for people.
        needs_input_gradient: whether the loss must be differentiable with respect to ``Batch.images``.
    """

    name: str
    summary: ClassVar[str]
    needs_input_gradient: ClassVar[bool] = False

    def prepare(self, network: SpikingNetwork) -> None:
        """Change the structure of a network that was just built, in place; called when one is loaded, too.

        Quantization keeps what it finds, so this is not called again for the quantized network.
        """

    def inputs(self, batch: Batch) -> Tensor:
        """Return what to train on in the place of ``batch.images``; must leave weights and statistics alone."""
        return batch.images

    def loss(self, batch: Batch) -> Tensor | None:
        """Return a term that is added to the loss, or None."""
        return None

    def around(self, batch: Batch, gradients: Gradients) -> Tensor:
        """Compute the gradients of a batch and return its loss; weights must be afterwards what they were."""
        return gradients()

    def after_step(self, network: SpikingNetwork) -> None:
        """Change weights after the optimizer's step, in place."""
