"""S-LIF: self-prediction."""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..network.network import SpikingNetwork
from .base import Defence
from .neuron import opened


class SelfPrediction(nn.Module):
    """The prediction current of one layer, P(t) = g I_p(t-1).

    I_p(t) = (1 - a) I_p(t-1) + a (I(t) - threshold s(t)),  a = sigmoid(w),  I_p = 0 before the first step.

    Args:
        threshold: of the neurons.
        gain: the initial g.
        rate: the initial a.
        learn: whether g and w are learned.
    """

    def __init__(self, threshold: float, gain: float, rate: float, learn: bool) -> None:
        super().__init__()
        self.threshold = threshold
        self.g = nn.Parameter(torch.tensor(gain), requires_grad=learn)
        self.w = nn.Parameter(torch.tensor(math.log(rate / (1 - rate))), requires_grad=learn)

    def begin(self) -> tuple[Callable[[], Tensor | float], Callable[[Tensor, Tensor], None]]:
        """Return what gives the current of a step, and what is told its input and spikes."""
        predicted: Tensor | float = 0.0
        a = torch.sigmoid(self.w)

        def tell(current: Tensor, spike: Tensor) -> None:
            nonlocal predicted
            predicted = (1 - a) * predicted + a * (current - self.threshold * spike)

        return lambda: self.g * predicted, tell

    def gamma(self) -> float | None:
        """Return 1 - a where g a = 1 - a and neither is learned, else None."""
        g, a = self.g.item(), torch.sigmoid(self.w).item()
        return 1 - a if not self.w.requires_grad and math.isclose(g * a, 1 - a, rel_tol=1e-6) else None

    def why_not(self) -> str | None:
        """Return why LIF neurons do not have it, None for g = 0."""
        g, a = self.g.item(), torch.sigmoid(self.w).item()
        if g == 0:
            return None
        return (
            "its prediction current filters the input a second time beside the direct way; Loihi's CUBA neuron has one "
            f"current for both: exact only for fixed g a = 1 - a, here g = {g:.3g} and a = {a:.3g}; train with "
            "learn = false and gain = (1 - rate) / rate, or gain = 0.0"
        )


class SLIF(Defence):
    """S-LIF: neurons add a prediction, made from their own past input and output, to their input.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t) + g I_p(t-1),  I_p(t) = (1 - a) I_p(t-1) + a (I(t) - threshold s(t)),

    a = sigmoid(w); g and w are learned, one of each a hidden layer. Gradients pass through I_p, spikes included. With
    g = 0 these are LIF neurons.

    *Reconstructed:* arXiv 2601.21823 was not read; signs, scaling and initial values are ours.

    On Loihi: a CUBA compartment with a recurrent synapse is the same only where g a = 1 - a, with both fixed
    (``gain = 1.0, rate = 0.5, learn = false``); other values are refused.

    Attributes:
        gain: the initial g.
        rate: the initial a.
        learn: whether g and w are learned.
    """

    name: Literal["slif"] = "slif"
    summary: ClassVar[str] = "S-LIF: neurons add a prediction from their own past"
    gain: float = 0.2
    rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    learn: bool = True

    def prepare(self, network: SpikingNetwork) -> None:
        """Give every hidden LIF layer its prediction current."""
        last = list(network.named_layers())[-1][0]
        for name, layer in opened(network):
            if name != last:
                layer.current = SelfPrediction(layer.threshold, self.gain, self.rate, self.learn)
