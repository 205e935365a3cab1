"""Shallow networks, one trained hidden layer under a fixed read-out of +-1/sqrt(m), and gradient descent."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ...toolkit.errors import InputError
from ...toolkit.network.neurons import LIF

TANH_BEND = 4 / (3 * math.sqrt(3))
"""The largest absolute second derivative of tanh; its value and its first derivative stay within 1."""

Losses = Callable[[Tensor, Tensor], Tensor]
"""From outputs (samples, ...) and targets (samples,) to the loss of each sample, (samples,)."""


class Rate(nn.Module):
    """The firing rate of LIF neurons that receive the same current at every step: phi of a spiking shallow network.

    Args:
        neurons: what fires.
        steps: how many.
    """

    def __init__(self, neurons: LIF, steps: int) -> None:
        super().__init__()
        self.neurons, self.steps = neurons, steps

    def forward(self, current: Tensor) -> Tensor:
        """Return spikes a step, of the shape of ``current``."""
        spikes: Tensor = self.neurons(current.expand(self.steps, *current.shape))
        return spikes.mean(0)


class Shallow(nn.Module):
    """f(x) = sum_k mu_k phi(w_k x), where the w_k are trained and mu_k = (-1)^k / sqrt(m) is fixed (arXiv 2209.09298).

    Args:
        features: length of x.
        width: m, even, so that the read-out is balanced.
        phi: applied to each w_k x.
        seed: of the initial weights, which are standard normal, in float64.

    Raises:
        InputError: ``width`` is odd or not positive.
    """

    def __init__(self, features: int, width: int, phi: nn.Module, seed: int) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise InputError(f"shallow network: width {width}, expected an even number")
        source = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(width, features, generator=source, dtype=torch.float64))
        self.phi = phi
        signs = torch.ones(width, dtype=torch.float64)
        signs[1::2] = -1
        self.register_buffer("readout", signs / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x), (samples,), for x (samples, features)."""
        hidden: Tensor = self.phi(x @ self.weight.T)
        return hidden @ self.get_buffer("readout")

    def smoothness(self, x: Tensor, y: Tensor) -> float | None:
        """Return L, such that the loss (f(x) - y)^2 / 2 of each sample is L-smooth in the weights; None but for tanh.

        L = max |x|^2 (B1^2 + B2 (B0 + max |y| / sqrt(m))) with bounds B0, B1, B2 of phi, phi', phi''.

        Args:
            x: (samples, features).
            y: (samples,).
        """
        if not isinstance(self.phi, nn.Tanh):
            return None
        far = float(y.abs().max()) / math.sqrt(len(self.weight))
        return float(x.square().sum(1).max()) * (1 + TANH_BEND * (1 + far))

    def curvature(self, x: Tensor, y: Tensor) -> float | None:
        """Return a number that no eigenvalue of the Hessian of the mean loss lies below, here; None but for tanh.

        The Hessian is a Gauss-Newton part without negative eigenvalues, and a block for each k,
        sum_i (f(x_i) - y_i) mu_k phi''(w_k x_i) x_i x_i^T / n: the smallest eigenvalue of all blocks is returned, or 0.

        Args:
            x: (samples, features).
            y: (samples,).
        """
        if not isinstance(self.phi, nn.Tanh):
            return None
        with torch.no_grad():
            value = torch.tanh(x @ self.weight.T)
            readout = self.get_buffer("readout")
            bends = (value @ readout - y)[:, None] * readout * -2 * value * (1 - value.square()) / len(x)
            lowest = min(float(torch.linalg.eigvalsh(x.T @ (bend[:, None] * x))[0]) for bend in bends.T)
        return min(0.0, lowest)


def squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (f(x) - y)^2 / 2 of each sample."""
    return (outputs - targets).square() / 2


def descend(
    network: nn.Module,
    losses: Losses,
    x: Tensor,
    y: Tensor,
    *,
    rate: float,
    steps: int,
    batch: int | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Take steps w <- w - rate grad of the mean loss, in place; yield how many were taken, from 0 on.

    Args:
        network: its parameters are trained.
        losses: of each sample.
        x: (samples, ...).
        y: (samples,).
        rate: of every step.
        steps: how many.
        batch: samples a step, in an order that is drawn anew for every pass; None: all of them (gradient descent).
        seed: of the order, which depends on it and on the number of samples alone.

    Raises:
        InputError: the loss became infinite or NaN.
    """
    source = torch.Generator().manual_seed(seed)
    waiting: list[Tensor] = []
    parameters = list(network.parameters())
    yield 0
    for step in range(1, steps + 1):
        if batch is None or batch >= len(x):
            shown, wanted = x, y
        else:
            waiting = waiting or list(torch.randperm(len(x), generator=source).split(batch))
            chosen = waiting.pop(0)
            shown, wanted = x[chosen], y[chosen]
        loss = losses(network(shown), wanted).mean()
        if not math.isfinite(loss.item()):
            raise InputError(f"--rate {rate}: the loss became {loss.item()} at step {step}; lower the rate")
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(rate * gradient)
        yield step
