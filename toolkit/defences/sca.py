"""SCA: self-consistent activation."""

from collections import OrderedDict
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import InputError
from ..network.layers import Layer
from ..network.network import SpikingNetwork
from .base import Defence
from .neuron import last_weights

SHARE, LIMIT = 0.3, 10.0
"""Weight of the input term, and the largest entry of a gradient step."""


class SelfConsistent(Layer):
    """Units that are pulled toward a learned linear dependence on each other and on the input.

    z = W_f x + b, then k times, with a = ReLU(z), q = phi(W a + c), e = a - q,

    g = e - W^T (phi'(W a + c) e) - 0.3 B^T (x - B a - d),  z <- a - eta g,

    which is gradient descent on E(a) = ||a - q||^2 / 2 + 0.3 ||x - B a - d||^2 / 2. W has a diagonal of 0; g is scaled
    to a largest entry of 10 a sample. Without the input term B and d are absent.

    Args:
        features: of x.
        units: of z.
        classes: how many units are sent, the first ones; they are the class logits.
        iterations: k.
        rate: eta.
        lateral: phi.
        feedback: whether the input term is there.
    """

    undeployable = (
        "its units exchange real numbers many times within a time step; the chip's neurons send spikes, one step later"
    )

    def __init__(
        self,
        features: int,
        units: int,
        classes: int,
        iterations: int,
        rate: float,
        lateral: Literal["relu", "identity"],
        feedback: bool,
    ) -> None:
        super().__init__()
        self.classes, self.iterations, self.rate, self.lateral = classes, iterations, rate, lateral
        self.enter = nn.Linear(features, units)
        self.among = nn.Linear(units, units)
        self.back = nn.Linear(units, features) if feedback else None

    def weights(self) -> Tensor:
        """Return W, (units, units), its diagonal 0."""
        return self.among.weight * (1 - torch.eye(len(self.among.weight), device=self.among.weight.device))

    def _expected(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return q and phi' at W a + c, (batch, units)."""
        q = nn.functional.linear(a, self.weights(), self.among.bias)
        return (q.relu(), (q > 0).to(q.dtype)) if self.lateral == "relu" else (q, torch.ones_like(q))

    def energy(self, a: Tensor, x: Tensor) -> Tensor:
        """Return E(a), (batch,), for activations (batch, units) and input (batch, features)."""
        found = 0.5 * (a - self._expected(a)[0]).square().sum(1)
        return found if self.back is None else found + 0.5 * SHARE * (x - self.back(a)).square().sum(1)

    def gradient(self, a: Tensor, x: Tensor) -> Tensor:
        """Return g = dE/da, (batch, units)."""
        q, slope = self._expected(a)
        error = a - q
        found = error - (slope * error) @ self.weights()
        return found if self.back is None else found - SHARE * (x - self.back(a)) @ self.back.weight

    def states(self, x: Tensor) -> list[Tensor]:
        """Return z before and after every iteration, each (batch, units)."""
        found: list[Tensor] = [self.enter(x)]
        for _ in range(self.iterations):
            a = found[-1].relu()
            g = self.gradient(a, x)
            found.append(a - self.rate * g * (LIMIT / g.abs().amax(1, keepdim=True).clamp(min=LIMIT)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the class units, (batch, classes), for input (batch, features)."""
        return self.states(x)[-1][:, : self.classes]


class SCA(Defence):
    """Self-consistent activation: the read-out's units agree with each other and with the input before they answer.

    The last linear layer and the LIF layer behind it are replaced by :class:`SelfConsistent` (equations there), which
    sees the spikes of every time step; logits are the class units' mean over time. With 0 iterations it is a linear
    layer.

    *Read* in early code: arXiv 2308.03956; that it is the paper's configuration is inferred. Its place in a spiking
    network is ours.

    Attributes:
        units: of the layer; at least one a class.
        iterations: k.
        rate: eta.
        lateral: phi.
        feedback: whether the input term is there.
    """

    name: Literal["sca"] = "sca"
    summary: ClassVar[str] = "self-consistent activation: a read-out that iterates until its units agree"
    units: Annotated[int, Field(ge=1, le=4096)] = 64
    iterations: Annotated[int, Field(ge=0, le=1024)] = 32
    rate: Annotated[float, Field(gt=0.0)] = 0.14
    lateral: Literal["relu", "identity"] = "relu"
    feedback: bool = True

    def prepare(self, network: SpikingNetwork) -> None:
        """Replace the read-out."""
        name, readout = last_weights(network)
        layers = OrderedDict(network.named_layers())
        behind = list(layers)[list(layers).index(name) + 1 :]
        if self.units < readout.out_features:
            raise InputError(f"sca: {self.units} units for {readout.out_features} classes; set units to at least that")
        if len(behind) > 1 or network.recurrent:
            raise InputError(
                f"sca: replaces the last two layers of a network without loops; behind {name!r} are {behind}"
            )
        for last in behind:
            del layers[last]
        layers[name] = SelfConsistent(
            readout.in_features,
            self.units,
            readout.out_features,
            self.iterations,
            self.rate,
            self.lateral,
            self.feedback,
        )
        network.gain = 1.0
        network.rebuild(layers, {key: sources for key, sources in network.wiring.items() if key in layers})
