"""Layers that scan over time, and the network that folds time into the batch for all others."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

from .coding import direct, spike_count_logits
from .errors import InputError

INPUT = "input"
"""How wiring names the images (or the layer that rounds them)."""
Step = Callable[[Tensor], Tensor]


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

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step; its state starts at 0."""
        membrane: Tensor | None = None

        def step(current: Tensor) -> Tensor:
            nonlocal membrane
            spike, membrane = self.neuron(current, torch.zeros_like(current) if membrane is None else membrane)
            # snnTorch keeps the last membrane, and with it the whole graph; nothing may outlive the call.
            self.neuron.mem = current.new_zeros(0)
            self.neuron.reset = None
            return cast(Tensor, spike)

        return step

    def forward(self, current: Tensor) -> Tensor:
        """Return spikes (time, batch, ...) for input current (time, batch, ...); state starts at 0."""
        step = self.stepper()
        return torch.stack([step(now) for now in current])


class Delay(nn.Module):
    """An axonal delay: x(t) -> x(t - steps), 0 before.

    Args:
        steps: 1 or more.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise InputError(f"delay of {steps} steps: must be 1 or more")
        self.steps = steps

    def stepper(self) -> Step:
        """Return a function of the signal (batch, ...) of one step; nothing is under way when it starts."""
        past: deque[Tensor] = deque()

        def step(x: Tensor) -> Tensor:
            past.append(x)
            return past.popleft() if len(past) > self.steps else torch.zeros_like(x)

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return the delayed signal, (time, batch, ...) as the given one."""
        kept = max(len(x) - self.steps, 0)
        return torch.cat([torch.zeros_like(x[: len(x) - kept]), x[:kept]])


class SpikingNetwork(nn.Module):
    """Named layers from images to logits; time is folded into the batch for every stateless layer.

    Without ``wiring`` the layers are a chain. With it, a layer receives the sum of what the layers named there send
    (``"input"`` is the images): two names are a join, as the ADD of a SEW block; the name of a later layer, or of the
    layer itself, is a loop, through which a signal needs one time step. A network with loops runs step by step.

    Args:
        layers: layers by name, in order; :class:`LIF` layers scan over time, the last one is read out.
        steps: time steps of the direct coder.
        gain: scale of the logits, see :func:`.coding.spike_count_logits`.
        wiring: the sources of each layer that does not simply follow the one before it.

    Raises:
        InputError: ``wiring`` names layers that do not exist, or a layer without a forward path from the input.
    """

    def __init__(
        self,
        layers: "OrderedDict[str, nn.Module]",
        steps: int,
        gain: float,
        wiring: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(layers)
        self.steps = steps
        self.gain = gain
        self.wiring = {name: tuple(sources) for name, sources in (wiring or {}).items()}
        self._check_wiring()

    def _check_wiring(self) -> None:
        names = [name for name, _ in self.named_layers()]
        known = {INPUT, *names}
        for name, sources in self.wiring.items():
            if name not in names or not sources or not known.issuperset(sources) or len(set(sources)) < len(sources):
                raise InputError(f"wiring of layer {name!r} from {sources}: names of different layers, or {INPUT!r}")
        reached = {INPUT}
        for name in names:
            if not reached.intersection(self.sources(name)):
                raise InputError(f"layer {name!r}: no forward path leads to it from {INPUT!r}; it follows a loop only")
            reached.add(name)

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield (name, layer) in the order of computation."""
        yield from self.layers.named_children()

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the names of the layers whose outputs add up to the input of layer ``name``."""
        if name in self.wiring:
            return self.wiring[name]
        names = [INPUT, *(other for other, _ in self.named_layers() if other != INPUT)]
        return (names[max(names.index(name) - 1, 0)],)

    def populations(self) -> list[str]:
        """Return the names of the layers that emit binary spikes: LIF layers, and max pooling (an OR) of spikes."""
        return [name for name, layer in self.named_layers() if isinstance(layer, LIF | nn.MaxPool2d)]

    @property
    def recurrent(self) -> bool:
        """Whether a layer receives from itself or a later one."""
        seen = {INPUT}
        for name, _ in self.named_layers():
            if not seen.issuperset(self.sources(name)):
                return True
            seen.add(name)
        return False

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
        return self._by_step(signal, watch) if self.recurrent else self._by_layer(signal, watch)

    def _by_layer(self, signal: Tensor, watch: Callable[[str, Tensor], None] | None) -> Tensor:
        sent = {INPUT: signal}
        for name, layer in self.named_layers():
            signal = _total([sent[source] for source in self.sources(name)])
            if isinstance(layer, LIF | Delay):
                signal = layer(signal)
            else:
                steps, batch = signal.shape[:2]
                signal = layer(signal.flatten(0, 1)).unflatten(0, (steps, batch))
            sent[name] = signal
            if watch is not None:
                watch(name, signal)
        return signal

    def _by_step(self, signal: Tensor, watch: Callable[[str, Tensor], None] | None) -> Tensor:
        """Run all layers step by step; a loop delivers what was sent one step earlier."""
        run: dict[str, Step] = {
            name: layer.stepper() if isinstance(layer, LIF | Delay) else layer for name, layer in self.named_layers()
        }
        told: dict[str, list[Tensor]] = {name: [] for name in run}
        earlier = self._before_the_first_step(signal[0])
        for now in signal:
            sent = {INPUT: now}
            for name, step in run.items():
                parts = [sent.get(source, earlier.get(source)) for source in self.sources(name)]
                sent[name] = step(_total([part for part in parts if part is not None]))
                told[name].append(sent[name])
            earlier = sent
        signals = {name: torch.stack(outputs) for name, outputs in told.items()}
        if watch is not None:
            for name, outputs in signals.items():
                watch(name, outputs)
        return signals[name]

    def _before_the_first_step(self, image: Tensor) -> dict[str, Tensor]:
        """Return what loops deliver at the first step: what stateless layers answer to silence, which is their bias."""
        sent = {INPUT: torch.zeros_like(image)}
        for name, layer in self.named_layers():
            silence = _total([sent[source] for source in self.sources(name) if source in sent])
            keeps = isinstance(layer, LIF | Delay | nn.BatchNorm2d)
            sent[name] = torch.zeros_like(silence) if keeps else layer(silence)
        return sent

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) for images or encoded input, see :meth:`spikes`."""
        return spike_count_logits(self.spikes(inputs), self.gain)


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
