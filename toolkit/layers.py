"""Spiking layers that scan over time, and the network that folds time into the batch for all others."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from .coding import direct, spike_count_logits
from .errors import InputError


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons with hard reset, snnTorch's ``Leaky`` scanned over time.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t),  s(t) = 1 if v(t) > threshold else 0.  The backward pass uses the arctan
    surrogate, ds/dv = (alpha/2) / (1 + (pi alpha (v - threshold) / 2)^2), and does not go through the reset.

    Args:
        beta: membrane factor a time step.
        threshold: firing threshold; the comparison is strict.
        alpha: sharpness of the surrogate.
    """

    def __init__(self, beta: float, threshold: float, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.neuron = snntorch.Leaky(
            beta=beta, threshold=threshold, spike_grad=surrogate.atan(alpha=alpha), reset_mechanism="zero"
        )

    @property
    def beta(self) -> float:
        """Membrane factor a time step."""
        return float(self.neuron.beta)

    @property
    def threshold(self) -> float:
        """Firing threshold."""
        return float(self.neuron.threshold)

    def forward(self, current: Tensor) -> Tensor:
        """Return spikes (time, batch, ...) for input current (time, batch, ...); state starts at 0."""
        membrane = torch.zeros_like(current[0])
        spikes = []
        for step in current:
            spike, membrane = self.neuron(step, membrane)
            spikes.append(spike)
        # snnTorch keeps the last membrane, and with it the whole graph; nothing may outlive the call.
        self.neuron.mem = membrane.new_zeros(0)
        self.neuron.reset = None
        return torch.stack(spikes)


class SpikingNetwork(nn.Module):
    """A chain of named layers from images to logits; time is folded into the batch for every stateless layer.

    Args:
        layers: layers by name, in order; :class:`LIF` layers scan over time, the last one is read out.
        steps: time steps of the direct coder.
        gain: scale of the logits, see :func:`.coding.spike_count_logits`.
    """

    def __init__(self, layers: "OrderedDict[str, nn.Module]", steps: int, gain: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(layers)
        self.steps = steps
        self.gain = gain

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield (name, layer) in the order of computation."""
        yield from self.layers.named_children()

    def populations(self) -> list[str]:
        """Return the names of the layers that emit binary spikes: LIF layers, and max pooling (an OR) of spikes."""
        return [name for name, layer in self.named_layers() if isinstance(layer, LIF | nn.MaxPool2d)]

    def spikes(self, inputs: Tensor, watch: Callable[[str, Tensor], None] | None = None) -> Tensor:
        """Return the spikes of the last layer, (time, batch, classes).

        Args:
            inputs: images (batch, channels, height, width), or encoded (time, batch, channels, height, width).
            watch: called with each layer's name and output (time, batch, ...).

        Raises:
            InputError: ``inputs`` has another number of dimensions.
        """
        if inputs.dim() not in (4, 5):
            raise InputError(f"network input: shape {tuple(inputs.shape)}, expected (batch, channels, height, width)")
        signal = direct(inputs, self.steps) if inputs.dim() == 4 else inputs
        for name, layer in self.named_layers():
            if isinstance(layer, LIF):
                signal = layer(signal)
            else:
                steps, batch = signal.shape[:2]
                signal = layer(signal.flatten(0, 1)).unflatten(0, (steps, batch))
            if watch is not None:
                watch(name, signal)
        return signal

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) for images or encoded input, see :meth:`spikes`."""
        return spike_count_logits(self.spikes(inputs), self.gain)
