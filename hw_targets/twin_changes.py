"""Sigma-delta neurons of the twin: exact integers forward; backward as SLAYER trains them."""

import torch
from torch import Tensor

from ..export.program import SigmaDelta
from .derivatives import int32, straight


class Changes:
    """Sigma, activation and residue of one population in float64, which holds its 32 bits.

    Backward, roundings, wraps and the threshold of a change count as the identity, and what was not sent yet as a
    constant, as in SLAYER's delta unit: the gradient is then that of the ReLU network that the messages stand for.

    Args:
        population: whose.
        batch: samples.
        bias: times 2^exponent, (...).
        record: whether to keep sigma and activation of every step.
    """

    def __init__(self, population: SigmaDelta, batch: int, bias: Tensor, record: bool) -> None:
        self.population, self.bias = population, bias
        self.takes_input = population.input_bias
        self.silence = torch.zeros((batch, *population.shape), dtype=torch.float64, device=bias.device)
        self.sigma = self.v = self.residue = self.silence
        self.sent: list[Tensor] = []
        self.states: list[tuple[Tensor, Tensor]] | None = [] if record else None

    def run(self, a: Tensor) -> Tensor | None:
        """Leave it to :meth:`advance`."""
        return None

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Advance one step and return the messages (batch, ...)."""
        population = self.population
        self.sigma = straight(self.sigma + a.to(torch.float64), int32, 1.0)
        if population.sends == "sigma":
            self.v = message = self.sigma
        else:
            bias = self.bias if drive is None else self.bias + drive.to(torch.float64) * 2.0**population.exponent
            new = straight(self.sigma + bias, int32, 1.0)
            if population.activation == "relu":
                new = new.clamp(min=0)
            message = straight(new - self.v, self._sent, 2.0**-population.state_exponent)
            self.v = new
        self.sent.append(message)
        if self.states is not None:
            self.states.append((self.sigma, self.v))
        return message

    def _sent(self, change: Tensor) -> Tensor:
        """Return what is sent of a change of the activation, and keep the rest."""
        delta = int32(change.detach() + self.residue)
        below = (delta.abs() < self.population.vth << self.population.exponent) | (delta == -(2.0**31))
        kept = delta.masked_fill(below, 0)
        self.residue = delta - kept
        return torch.floor(kept * 2.0**-self.population.state_exponent)
