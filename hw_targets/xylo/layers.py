"""Neurons of a network that computes in Xylo's integers: exact forward, surrogate backward.

A network of them is what is fine-tuned for the chip, what its Program is read off, and what a white-box attacker takes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ...toolkit.errors import UnsupportedError
from ...toolkit.network.layers import Dynamics, Step
from ...toolkit.network.neurons import Neuron
from .arithmetic import HIGH, LOW


def _straight(exact: Tensor, smooth: Tensor) -> Tensor:
    """Return ``exact`` with the gradient of ``smooth``."""
    return smooth + (exact - smooth).detach() if smooth.requires_grad else exact


def _decayed(x: Tensor, dash: int) -> Tensor:
    """Return x - decay(x, dash), see :func:`.arithmetic.decay`; the gradient is 1 - 2^-dash."""
    with torch.no_grad():
        lost = torch.floor(x / 2.0**dash)
        exact = x - torch.where(lost == 0, torch.sign(x), lost)
    return _straight(exact, x * (1 - 2.0**-dash))


def _clipped(x: Tensor) -> Tensor:
    """Return x in 16 bits; the gradient is 1, so that what is clipped can come back."""
    return _straight(x.detach().clamp(LOW, HIGH), x)


class ShiftNeurons(Neuron):
    """Neurons of Xylo for real input: what arrives, in units of the weights' grid, is an integer of the chip.

    The equations are those of :class:`...export.program.Shifting`, in floating point, whose integers up to 2^24 are
    exact. What arrives in one step is clipped once; the chip clips after each spike, which differs only where a sum
    leaves 16 bits on its way and comes back. The read-out neurons that never fire give their membrane in real numbers.

    Args:
        unit: real value of 1 of the synaptic current.
        shift: bits by which the weights of the finest source are shifted; the unit is meant after it.
        dash_syn: shift of the current's leak.
        dash_mem: shift of the membrane's leak.
        vth: threshold.
        worth: real value of 1 of the membrane.
        most: spikes a step; 0 for neurons that are read by their membrane.
        bias: real, (neurons,), added to the membrane in each step; None for none.
        spike_grad: from v - threshold in real numbers to spikes, with a surrogate's gradient.
    """

    constants: Tensor

    def __init__(
        self,
        *,
        unit: float,
        shift: int,
        dash_syn: int,
        dash_mem: int,
        vth: int,
        worth: float,
        most: int,
        bias: Tensor | None,
        spike_grad: Any = None,
    ) -> None:
        super().__init__()
        numbers = [unit, shift, dash_syn, dash_mem, vth, worth, most]
        self.register_buffer("constants", torch.tensor(numbers, dtype=torch.float64))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.spike_grad = spike_grad
        self.sends_spikes = most > 0

    @property
    def unit(self) -> float:
        """Real value of 1 of the synaptic current."""
        return float(self.constants[0])

    @property
    def shift(self) -> int:
        """Bits by which the weights of the finest source are shifted."""
        return int(self.constants[1])

    @property
    def dash_syn(self) -> int:
        """Shift of the current's leak."""
        return int(self.constants[2])

    @property
    def dash_mem(self) -> int:
        """Shift of the membrane's leak."""
        return int(self.constants[3])

    @property
    def vth(self) -> int:
        """Threshold."""
        return int(self.constants[4])

    @property
    def worth(self) -> float:
        """Real value of 1 of the membrane."""
        return float(self.constants[5])

    @property
    def most(self) -> int:
        """Spikes a step; 0 for neurons that are read by their membrane."""
        return int(self.constants[6])

    @property
    def threshold(self) -> float:
        """Threshold in real numbers."""
        return self.vth * self.worth

    def integers(self) -> Tensor | None:
        """Return the bias as the chip adds it; None without one."""
        if self.bias is None:
            return None
        exact = torch.round(self.bias / self.worth).detach().clamp(LOW, HIGH)
        return _straight(exact, self.bias / self.worth)

    def dynamics(self) -> Dynamics:
        """Refuse: these leak by bit shifts and subtract what they sent.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("neurons of Xylo have no form in NIR or on Loihi; quantize for a chip of that family")

    def stepper(self) -> Step:
        """Return a function of the input (batch, ...) of one step; currents and membranes start at 0."""
        unit, dash_syn, dash_mem, vth, most = self.unit, self.dash_syn, self.dash_mem, self.vth, self.most
        bias = self.integers()
        i: Tensor | None = None
        v: Tensor | None = None

        def step(x: Tensor) -> Tensor:
            nonlocal i, v
            arrived = _straight(torch.round(x.detach() / unit), x / unit)
            i = _decayed(_clipped(arrived if i is None else i + arrived), dash_syn)
            before = torch.zeros_like(i) if v is None else v
            change = _clipped(_decayed(before, dash_mem) - before + i)
            if bias is not None:
                change = _clipped(change + bias)
            v = _clipped(before + change)
            if not most:
                return v * self.worth
            spikes = self._fired(v, vth, most)
            v = v - spikes.detach() * vth
            return spikes

        return step

    def _fired(self, v: Tensor, vth: int, most: int) -> Tensor:
        counts = torch.floor(v.detach() / vth).clamp(0, most)
        # The n-th spike comes at n thresholds: what is nearest has the derivative, also from below the first.
        nearest = torch.round(v.detach() / vth).clamp(1, most)
        smooth = self.spike_grad((v - nearest * vth) * self.worth)
        return _straight(counts, smooth)
