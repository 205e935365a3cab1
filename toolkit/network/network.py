"""The network: named layers, wired; time is folded into the batch for every layer that keeps no state."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from ..coding import Coder, Direct, spike_count_logits
from ..errors import InputError
from ..kernels.fused import normed_and_pooled
from ..kernels.norm import Norm
from ..kernels.scan import one_step
from .checkpointing import Layers, Wires, recomputed, segments
from .layers import Layer, Membrane, Scanned, Step
from .neurons import LIF, Neuron
from .signals import Read

INPUT = "input"
"""How wiring names the images (or the layer that rounds them)."""


class SpikingNetwork(nn.Module):
    """Named layers from images to logits; time is folded into the batch for every stateless layer.

    Without ``wiring`` the layers are a chain. With it, a layer receives the sum of what the layers named there send
    (``"input"`` is the images): two names are a join, as the ADD of a SEW block; the name of a later layer, or of the
    layer itself, is a loop, through which a signal needs one time step. A network with loops runs step by step.
    A :class:`.joins.Join` or :class:`.joins.Mix` receives its two sources one by one.

    Args:
        layers: layers by name, in order; neurons scan over time, the last one is read out.
        coder: makes input over time of images; a number means the direct coder with that many time steps.
        gain: scale of the logits, see :func:`..coding.spike_count_logits`.
        wiring: the sources of each layer that does not simply follow the one before it.
        every_step: whether there is an answer at each time step: logits are (batch, time classes) then.

    Attributes:
        once: whether layers that get the same at every step, as the first ones do from the direct coder, run on one
            step also in training; in evaluation they always do. The spikes are the same, gradients add up in another
            order, and batch norm's running variance is that of one step.
        checkpointing: whether the backward pass computes the layers between two populations again instead of keeping
            what they sent, see :mod:`.checkpointing`; not of a network with loops.

    Raises:
        InputError: ``wiring`` names layers that do not exist, or a layer without a forward path from the input.
    """

    def __init__(
        self,
        layers: "OrderedDict[str, nn.Module]",
        coder: Coder | int,
        gain: float,
        wiring: Mapping[str, Sequence[str]] | None = None,
        *,
        every_step: bool = False,
    ) -> None:
        super().__init__()
        self.every_step = every_step
        self.once = self.checkpointing = False
        self.coder = Direct(coder) if isinstance(coder, int) else coder
        self.gain = gain
        self.rebuild(layers, wiring)

    def rebuild(self, layers: "OrderedDict[str, nn.Module]", wiring: Mapping[str, Sequence[str]] | None) -> None:
        """Take other layers and another wiring, as the constructor does."""
        self.layers = nn.Sequential(layers)
        self.wiring = {name: tuple(sources) for name, sources in (wiring or {}).items()}
        self._check_wiring()

    def _check_wiring(self) -> None:
        names = [name for name, _ in self.named_layers()]
        known = {INPUT, *names}
        for name, sources in self.wiring.items():
            if name not in names or not sources or not known.issuperset(sources) or len(set(sources)) < len(sources):
                raise InputError(f"wiring of layer {name!r} from {sources}: names of different layers, or {INPUT!r}")
        reached, wires = {INPUT}, self.wires()
        for name in names:
            if not reached.intersection(wires[name]):
                raise InputError(f"layer {name!r}: no forward path leads to it from {INPUT!r}; it follows a loop only")
            reached.add(name)
        for name, layer in self.named_layers():
            if joins(layer) and (self.recurrent or len(wires[name]) != 2):
                raise InputError(f"layer {name!r}: {type(layer).__name__} joins two layers of a network without loops")

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield (name, layer) in the order of computation."""
        yield from self.layers.named_children()

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the names of the layers whose outputs add up to the input of layer ``name``."""
        return self.wires()[name]

    def wires(self) -> dict[str, tuple[str, ...]]:
        """Return the sources of every layer, see :meth:`sources`."""
        found: dict[str, tuple[str, ...]] = {}
        before = INPUT
        for name, _ in self.named_layers():
            found[name] = self.wiring.get(name, (before,))
            before = name
        return found

    def populations(self) -> list[str]:
        """Return the names of the layers that emit binary spikes: neurons, and max pooling (OR), AND, IAND of them."""
        return [name for name, layer in self.named_layers() if spiking(layer)]

    def hidden(self) -> list[str]:
        """Return the names of the neuron layers that are not read out."""
        readout = self.readout
        return [name for name, layer in self.named_layers() if isinstance(layer, Neuron) and name != readout]

    @property
    def readout(self) -> str:
        """The name of the layer that is read: the last one, or what a :class:`.signals.Read` at the end receives."""
        last, layer = list(self.named_layers())[-1]
        sources = self.sources(last)
        return sources[0] if isinstance(layer, Read) and len(sources) == 1 else last

    @property
    def steps(self) -> int:
        """Time steps."""
        return self.coder.steps

    @property
    def recurrent(self) -> bool:
        """Whether a layer receives from itself or a later one."""
        seen = {INPUT}
        for name, sources in self.wires().items():
            if not seen.issuperset(sources):
                return True
            seen.add(name)
        return False

    def spikes(self, inputs: Tensor, watch: Callable[[str, Tensor], None] | None = None) -> Tensor:
        """Return what the last layer sends, (time, batch, classes): spikes, or the membrane of an integrator.

        Args:
            inputs: what the coder takes: images (batch, channels, height, width), or sequences of them (batch, time,
                ...); where it takes images, also encoded input (time, batch, channels, height, width).
            watch: called with each layer's name and output (time, batch, ...).

        Raises:
            InputError: ``inputs`` has another number of dimensions.
        """
        takes = 5 if self.coder.sequences else 4
        if inputs.dim() not in (takes, 5):
            raise InputError(f"network input: shape {tuple(inputs.shape)}, the {self.coder} takes {takes} dimensions")
        return self.respond(self.coder.encode(inputs) if inputs.dim() == takes else inputs, watch)

    def respond(self, signal: Tensor, watch: Callable[[str, Tensor], None] | None = None) -> Tensor:
        """Return the spikes of the last layer, (time, batch, classes), for encoded input (time, batch, ...)."""
        return self._by_step(signal, watch) if self.recurrent else self._by_layer(signal, watch)

    def from_encoded(self, signal: Tensor) -> Tensor:
        """Return logits (batch, classes) for encoded input (time, batch, ...)."""
        return self.logits(self.respond(signal))

    def finely(self, inputs: Tensor, encoded: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return logits (batch, classes), and what moves between two spikes of the read-out.

        The second are the currents that the read-out's neurons received, summed over time and counted in thresholds,
        (batch, classes); None for a membrane, which is as fine as its logits are, and for a network with loops.

        Args:
            inputs: as of :meth:`spikes`, or encoded input (time, batch, ...).
            encoded: whether it is encoded.
        """
        last = self.layers.get_submodule(self.readout)
        respond = self.from_encoded if encoded else self
        if self.recurrent or self.every_step or not isinstance(last, Neuron):
            return respond(inputs), None
        received: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, given: received.append(given[0]))
        try:
            logits = respond(inputs)
        finally:
            handle.remove()
        return logits, received[0].sum(0) / getattr(last, "threshold", 1.0)

    def _by_layer(self, signal: Tensor, watch: Callable[[str, Tensor], None] | None) -> Tensor:
        sent, wires = {INPUT: signal}, Wires(self.wires())
        if not self.checkpointing or watch is not None or not torch.is_grad_enabled():
            return self._through(list(self.named_layers()), sent, wires, watch)
        for segment in segments(self.named_layers(), wires):
            names = dict.fromkeys(source for name, _ in segment for source in wires.sources[name] if source in sent)

            def run(*parts: Tensor, segment: Layers = segment, names: Sequence[str] = tuple(names)) -> Tensor:
                return self._through(segment, dict(zip(names, parts, strict=True)), wires, None)

            again = all(_untouched(part) for _, layer in segment for part in layer.modules())
            given = [sent[name] for name in names]
            signal = sent[segment[-1][0]] = recomputed(segment, run, given) if again else run(*given)
            for name, _ in segment:
                wires.forget(sent, name)
        return signal

    def _through(
        self,
        layers: Layers,
        sent: dict[str, Tensor],
        wires: Wires,
        watch: Callable[[str, Tensor], None] | None,
    ) -> Tensor:
        """Return what the last of ``layers`` sends; ``sent`` is what they receive, and is used up."""
        rest = deque(layers)
        while rest:
            name, layer = rest.popleft()
            parts = received(layer, [sent[source] for source in wires.sources[name]])
            steps, batch = parts[0].shape[:2]
            fused = None if watch is not None else self._fused(parts, [(name, layer), *islice(rest, 2)], wires)
            if fused is not None:
                signal, more = fused
                for _ in range(more):
                    wires.forget(sent, name)
                    name, _ = rest.popleft()
            elif isinstance(layer, Scanned):
                signal = layer(*parts)
            elif watch is None and self._may_run_once(layer) and (now := _once(layer, parts)) is not None:
                signal = now.unsqueeze(0).expand(steps, *now.shape)
            else:
                signal = layer(*(part.flatten(0, 1) for part in parts)).unflatten(0, (steps, batch))
            sent[name] = signal
            if watch is not None:
                watch(name, signal)
            wires.forget(sent, name)
        return signal

    def _fused(self, parts: list[Tensor], layers: Layers, wires: Wires) -> tuple[Tensor, int] | None:
        """Return what neurons send after their pool, perhaps with batch norm before them, and how many layers more.

        None where that is not computed in one pass, or somebody wants to see what is inside.
        """
        norm = layers[0][1] if isinstance(layers[0][1], Norm) else None
        chain = layers[: 2 if norm is None else 3]
        neurons, pool = (layer for _, layer in chain[-2:]) if len(chain) > 1 else (None, None)
        if not isinstance(neurons, LIF) or not isinstance(pool, nn.MaxPool2d):
            return None
        alone = all(wires.follows(name, before) for (before, _), (name, _) in pairwise(chain))
        if not alone or not all(_untouched(layer) for _, layer in chain):
            return None
        if norm is None:
            signal = neurons.pooled(parts[0], pool)
        elif self._may_run_once(norm) and one_step(parts[0]) is not None:
            return None  # one step is all that batch norm has to do
        else:
            signal = normed_and_pooled(parts[0], norm, neurons, pool)
        return None if signal is None else (signal, len(chain) - 1)

    def _may_run_once(self, layer: nn.Module) -> bool:
        """Return whether a layer that gets the same at every step runs on one of them only."""
        # Whoever hooks a layer wants to see every step.
        return (self.once or not self.training) and not (layer._forward_hooks or layer._backward_hooks)

    def _by_step(self, signal: Tensor, watch: Callable[[str, Tensor], None] | None) -> Tensor:
        """Run all layers step by step; a loop delivers what was sent one step earlier."""
        run: dict[str, Step] = {
            name: layer.stepper() if isinstance(layer, Scanned) else layer for name, layer in self.named_layers()
        }
        wires, last = self.wires(), next(reversed(run))
        told: dict[str, list[Tensor]] = {name: [] for name in (run if watch is not None else (last,))}
        earlier = self._before_the_first_step(signal[0])
        for now in signal:
            sent = {INPUT: now}
            for name, step in run.items():
                parts = [sent.get(source, earlier.get(source)) for source in wires[name]]
                sent[name] = step(_total([part for part in parts if part is not None]))
                if name in told:
                    told[name].append(sent[name])
            earlier = sent
        signals = {name: torch.stack(outputs) for name, outputs in told.items()}
        if watch is not None:
            for name, outputs in signals.items():
                watch(name, outputs)
        return signals[last]

    def _before_the_first_step(self, image: Tensor) -> dict[str, Tensor]:
        """Return what loops deliver at the first step: what stateless layers answer to silence, which is their bias."""
        sent, wires, left = {INPUT: torch.zeros_like(image)}, self.wires(), dict(self.named_layers())
        late = False
        for name, layer in self.named_layers():
            parts = [sent[source] for source in wires[name] if source in sent]
            silence = _total(parts)
            if _silent(layer):
                sent[name] = torch.zeros_like(silence)
                del left[name]
            else:
                late |= len(parts) < len(wires[name])
                sent[name] = layer(silence)
        while late and left:
            # Once more, now that it is known what they receive over loops; one without neurons begins somewhere.
            ready = (name for name in left if not any(source in left for source in wires[name]))
            name = next(ready, next(iter(left)))
            sent[name] = left.pop(name)(_total([sent[source] for source in wires[name]]))
        return sent

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) for what :meth:`spikes` takes."""
        return self.logits(self.spikes(inputs))

    @property
    def membrane(self) -> bool:
        """Whether what is read is a membrane, not spikes."""
        last = self.layers.get_submodule(self.readout)
        return isinstance(last, Membrane) and not last.sends_spikes

    @property
    def largest_output(self) -> int:
        """What :meth:`read` gives for a real answer of 1: the steps, or 1 where it is read at each of them."""
        return 1 if self.every_step else self.steps

    def read(self, last: Tensor) -> Tensor:
        """Return what is read (batch, classes) of what the last layer sent: spike counts as integers, or the membrane.

        At every step: the spikes of the step, or the membrane behind it, (batch, time classes).
        """
        if self.every_step:
            return (last if self.membrane else last.to(torch.int64)).transpose(0, 1).flatten(1)
        return (last[-1] if self.membrane else last.sum(0).to(torch.int64)).flatten(1)

    def logits(self, last: Tensor) -> Tensor:
        """Return logits (batch, classes) from what the last layer sent, (time, batch, classes).

        gain times the spikes a step (:func:`..coding.spike_count_logits`), or gain times the integrated input a step.
        Read at every step: gain times the spikes of each step, or the membrane behind it, (batch, time classes).
        """
        if self.every_step:
            return (self.gain * last).transpose(0, 1).flatten(1)
        found = self.gain * last[-1] / self.steps if self.membrane else spike_count_logits(last, self.gain)
        return found.flatten(1)


def _once(layer: nn.Module, parts: list[Tensor]) -> Tensor | None:
    """Return what a layer sends at every step if it gets the same at every step, else None."""
    steps = [one_step(part) for part in parts]
    same = [step for step in steps if step is not None]
    return layer(*same) if len(same) == len(steps) else None


def _untouched(layer: nn.Module) -> bool:
    """Return whether nobody hooked a layer or gave it another forward pass, as :mod:`.backward` does."""
    hooks = layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks
    return not any(hooks) and "forward" not in vars(layer)


def spiking(layer: nn.Module) -> bool:
    """Return whether a layer sends binary spikes when it receives some."""
    return layer.sends_spikes if isinstance(layer, Layer) else isinstance(layer, nn.MaxPool2d)


def joins(layer: nn.Module) -> bool:
    """Return whether a layer receives its two sources one by one, not their sum."""
    return isinstance(layer, Layer) and layer.joins


def received(layer: nn.Module, parts: list[Tensor]) -> list[Tensor]:
    """Return what a layer is called with for what its sources sent: their sum, or each of them in a join."""
    return parts if joins(layer) else [_total(parts)]


def _silent(layer: nn.Module) -> bool:
    """Return whether a layer sends nothing before anything came in."""
    keeps = isinstance(layer, Scanned | nn.BatchNorm1d | nn.BatchNorm2d)
    return keeps or (isinstance(layer, Layer) and layer.sends_spikes)


def _total(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])
