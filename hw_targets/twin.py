"""The twin: a differentiable module whose forward is bit for bit the Program, and whose backward is the surrogate.

It is what a white-box attacker of the chip would use, and what fine-tunes a network on the chip's own arithmetic.
"""

from typing import ClassVar, Literal, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..export.program import Convolution, Graded, Population, Program, SigmaDelta, Synapse
from ..toolkit.coding import Coder, Direct
from ..toolkit.errors import InputError, UnsupportedError
from ..toolkit.kernels.scan import one_step
from ..toolkit.network import surrogates
from ..toolkit.progress import Track
from .derivatives import Fire, Scan, Surrogate, straight
from .loihi import neurons
from .loihi.arithmetic import LIMIT, arriving
from .loihi.schedule import by_clock, by_layer
from .loihi.sums import LIMIT as EXACT
from .loihi.sums import Sums, delivered, to_tensor
from .ors import or_pools
from .target import Compiled, CompiledProgram, Raster, Target, Trace
from .twin_changes import Changes

Parts = dict[str, "_Cells | _Units | Changes"]
"""What a run leaves of each population."""


class _Wires:
    """A synapse: exact sums forward, the weights times 2^exponent backward."""

    def __init__(self, program: Program, synapse: Synapse, device: torch.device, pool: nn.Module | None) -> None:
        self.pool = pool
        """Whose gradient an OR takes, None for all else; :meth:`Twin.run` says whether it does."""
        self.routed = False
        self.synapse = synapse
        self.shape = program.shape_of(synapse.target)
        self.sums = Sums(program, synapse, device)
        self.convolution = isinstance(synapse, Convolution)
        # Where sums are proven to fit, nothing wraps; where no exponent rounds them either, they arrive as they are.
        self.fits = synapse.exponent <= 0 and self.sums.bound < 2**23
        self.plain = synapse.exponent == 0 and self.fits

    def __call__(self, x: Tensor) -> Tensor:
        """Return what arrives (batch, ...) for messages x (batch, ...)."""
        if self.routed and self.pool is not None and x.requires_grad:
            return straight(self.pool(x), lambda _: self._arriving(x.detach()), 1.0)
        return self._arriving(x)

    def _arriving(self, x: Tensor) -> Tensor:
        total = self.sums(x)
        return total if self.plain else straight(total.to(torch.float64), self._deliver, 2.0**self.synapse.exponent)

    def _deliver(self, total: Tensor) -> Tensor:
        if self.fits:
            return torch.floor(total * 2.0**self.synapse.exponent)
        found = arriving(total.to(torch.int64), self.synapse.exponent, self.convolution)
        return found.to(torch.float64)


class _Units:
    """Graded units: what is above the threshold passes, and so does its gradient."""

    takes_input = False

    def __init__(self, population: Graded, batch: int, device: torch.device) -> None:
        self.silence = torch.zeros((batch, *population.shape), dtype=torch.float64, device=device)
        self.sent: list[Tensor] = []
        self.vth = population.vth

    def run(self, a: Tensor) -> Tensor | None:
        return None

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        self.sent.append(a * (a > self.vth))
        return self.sent[-1]


class _Cells:
    """Spiking neurons with their state."""

    def __init__(self, twin: "Twin", population: Population, batch: int, record: bool) -> None:
        self.population, self.surrogate, self.fits = population, twin.surrogate, twin.fits[population.name]
        self.bound = twin.bounds[population.name]
        self.routed = population.name in twin.ors and not twin.or_neurons
        self.takes_input = population.input_bias
        self.bias = twin.get_buffer(f"bias_{twin.program.populations.index(population)}")
        self.silence = torch.zeros((batch, *population.shape), dtype=torch.float64, device=self.bias.device)
        self.u = self.v = self.silence
        self.sent: list[Tensor] = []
        readout = twin.program.readout
        self.sums = population.name == readout.population
        self.stepwise = self.sums and readout.every_step and readout.kind == "membrane"
        self.states: list[tuple[Tensor, Tensor]] | None = [] if record or self.stepwise else None
        self.received: Tensor | None = None
        """Synaptic input summed over time, (batch, ...), of the read-out."""

    def run(self, a: Tensor) -> Tensor | None:
        if self.stepwise:
            return None  # the loop gives a gradient to the last voltage alone
        keep = {"raw": a.requires_grad and not self.routed, "states": self.states is not None}
        done = neurons.run(a.detach(), self.population, self.bound, **keep)
        if done is None:
            return None
        if self.sums:
            self.received = a.sum(0)
        if a.requires_grad and self.routed:
            spikes, self.v = straight(a, lambda _: done.spikes.to(torch.float32), 1.0), done.v
        elif a.requires_grad:
            step = one_step(a)
            given = (a, False) if step is None else (step, True)
            sent = Scan.apply(*given, done, self.population, self.surrogate)  # type: ignore[no-untyped-call]
            spikes, self.v = cast(tuple[Tensor, Tensor], sent)
        else:
            spikes, self.v = done.spikes.to(torch.float32), done.v
        self.sent = list(spikes)
        if done.states is not None:
            self.states = list(zip(*done.states, strict=True))
        return spikes

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        bias = self.bias if drive is None else self.bias + drive.to(torch.float64) * 2**self.population.bias_exponent
        if self.sums:
            self.received = a if self.received is None else self.received + a
        given = a.detach() if self.routed else a
        done = Fire.apply(self.u, self.v, given.to(torch.float64), bias, self.population, self.fits, self.surrogate)  # type: ignore[no-untyped-call]
        self.u, self.v, fired = cast(tuple[Tensor, Tensor, Tensor], done)
        spikes = straight(a, lambda _: fired, 1.0) if self.routed and a.requires_grad else fired
        self.sent.append(spikes)
        if self.states is not None:
            self.states.append((self.u, self.v))
        return spikes


def unsupported(program: Program) -> list[str]:
    """Return the reasons why ``program`` has no exact twin; empty when it has one."""
    return [
        f"{synapse.label}: sums up to {program.bound(synapse)} exceed 2^53"
        for synapse in program.synapses
        if program.bound(synapse) >= EXACT
    ]


def _fits(program: Program, population: Population) -> bool:
    """Return whether the current of a population can be proven never to wrap: |u| <= 64 a 4096 / (du + 1) < 2^23."""
    peak = sum(program.bound(synapse) * 2.0**synapse.exponent for synapse in program.incoming(population.name))
    return population.du >= 0 and 64 * peak * 4096 / (population.du + 1) < LIMIT


class Twin(nn.Module):
    """The Program as a differentiable module.

    Forward, in integers: the ``loihi`` simulator's u, v and spikes, bit for bit, on CPU and GPU. Backward: roundings
    and wraps count as the identity, decays as their factor, the reset as in training as a constant, and a spike as
    ``surrogate(v / (64 vth) - 1) / (64 vth)``. A max pool of spikes, which is an OR here, passes its gradient as
    PyTorch's pool does, to the first that fires (:class:`..toolkit.network.backward.Backward` has other ways).
    Sigma-delta neurons: see :class:`.twin_changes.Changes`.

    Args:
        program: any that :func:`unsupported` has nothing against.
        surrogate: derivative of a spike; the arctan that snnTorch trains with by default.
        gain: logit of a class whose neuron fires at every step.
        coder: makes messages of images, backward by its gradient rule; None means the direct coder.
        or_neurons: whether ORs pass their gradient as other neurons do, with the surrogate, instead.

    Raises:
        UnsupportedError: sums that floating-point products could not keep exact.
    """

    def __init__(
        self,
        program: Program,
        *,
        surrogate: Surrogate | None = None,
        gain: float = 10.0,
        coder: Coder | None = None,
        or_neurons: bool = False,
    ) -> None:
        super().__init__()
        reasons = unsupported(program)
        if reasons:
            raise UnsupportedError("twin: " + "; ".join(reasons))
        self.program = program
        self.surrogate = surrogate or surrogates.Surrogate()
        self.gain = gain
        self.or_neurons = or_neurons
        self.ors = or_pools(program)
        # Modules, so that whoever swaps the backward pass of pools finds them.
        self.pools = nn.ModuleList(self.ors.values())
        # The direct coder's image is rounded once, and its gradients added up, for all steps.
        self.coder = None if isinstance(coder, Direct) else coder
        for index, population in enumerate(program.populations):
            if isinstance(population, Population | SigmaDelta):
                lsb = population.exponent if isinstance(population, SigmaDelta) else population.bias_exponent
                bias = population.bias.astype(np.float64) * 2.0**lsb
                self.register_buffer(f"bias_{index}", torch.from_numpy(bias))
        self.fits = {population.name: _fits(program, population) for population in program.spiking}
        self.bounds = {
            population.name: sum(delivered(program.bound(s), s.exponent) for s in program.incoming(population.name))
            for population in program.spiking
        }
        self._wires: dict[torch.device, dict[str, list[_Wires]]] = {}

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.buffers()).device

    def messages(self, inputs: Tensor) -> Tensor:
        """Return what the chip receives (time, batch, ...), in units of a message, from images or messages.

        Args:
            inputs: images (batch, ...) in [0, 1], rounded to the input's grid at every step (the backward pass is the
                identity), or messages (time, batch, ...), integers in floating point; with a coder, what that takes.

        Raises:
            InputError: another shape, or messages that are no integers of the input's range.
        """
        expected = self.program.input
        if self.coder is not None:
            return self.nearest(self.coder.encode(inputs))
        if inputs.shape[1:] == expected.shape:
            # float32 and a product, as the coder computes it, so that both round the same way.
            levels = torch.round(inputs.detach().float() * (1 / expected.scale))
            if inputs.numel() and not 0 <= float(levels.min()) <= float(levels.max()) <= expected.peak:
                raise InputError(f"input {expected.name!r}: images must lie in [0, 1]")
            image = straight(inputs, lambda _: levels.to(inputs.dtype), 1 / expected.scale)
            return image.unsqueeze(0).expand(self.program.steps, *image.shape)
        if inputs.dim() < 2 or inputs.shape[0] != self.program.steps or inputs.shape[2:] != expected.shape:
            raise InputError(
                f"input {expected.name!r}: shape {tuple(inputs.shape)}, expected images (batch, *{expected.shape}) or "
                f"messages ({self.program.steps}, batch, *{expected.shape})"
            )
        values = inputs.detach()
        if not bool(((values >= 0) & (values <= expected.peak) & (values == torch.round(values))).all()):
            raise InputError(f"input {expected.name!r}: messages must be integers of 0 to {expected.peak}")
        return inputs

    def nearest(self, encoded: Tensor) -> Tensor:
        """Return encoded input (time, batch, ...) in [0, 1], as the nearest messages; backward the identity."""
        levels, peak = 1 / self.program.input.scale, self.program.input.peak
        return straight(encoded, lambda x: torch.round(x * levels).clamp(0, peak), levels)

    def wires(self) -> dict[str, list[_Wires]]:
        """Return the synapses ready to run, by target population; made once a device."""
        device = self.device
        if device not in self._wires:
            self._wires[device] = {
                population.name: [
                    _Wires(self.program, s, device, self.ors.get(population.name))
                    for s in self.program.incoming(population.name)
                ]
                for population in self.program.populations
            }
        for wires in self._wires[device].values():
            for wire in wires:
                wire.routed = not self.or_neurons
        return self._wires[device]

    def run(self, messages: Tensor, *, record: bool = False) -> Parts:
        """Run messages (time, batch, ...) and return the populations with what they did, differentiable."""
        batch = messages.shape[1]
        cells: Parts = {}
        for index, population in enumerate(self.program.populations):
            if isinstance(population, Population):
                cells[population.name] = _Cells(self, population, batch, record)
            elif isinstance(population, SigmaDelta):
                bias = self.get_buffer(f"bias_{index}")
                every = self.program.readout.every_step and self.program.readout.population == population.name
                cells[population.name] = Changes(population, batch, bias, record or every)
            elif isinstance(population, Graded):
                cells[population.name] = _Units(population, batch, self.device)
        schedule = by_clock if self.program.recurrent else by_layer
        schedule(self.program, messages.to(self.device), self.wires(), cells)
        return cells

    def read(self, parts: Parts) -> Tensor:
        """Return the read-out (batch, classes), or (batch, time classes), of a run: integers in float64."""
        readout = self.program.readout
        cells = parts[readout.population]
        assert not isinstance(cells, _Units)
        if readout.every_step and readout.kind == "membrane":
            assert cells.states is not None
            return torch.stack([v for _, v in cells.states], 1).flatten(1)
        if readout.kind == "membrane":
            return cells.v.flatten(1)
        spikes = torch.stack(cells.sent)
        if readout.every_step:
            return spikes.transpose(0, 1).flatten(1)
        if readout.kind == "spike_count":
            return spikes.sum(0).flatten(1)
        left = torch.arange(len(spikes), 0, -1, device=spikes.device).view(-1, *[1] * (spikes.dim() - 1))
        return (spikes * left).amax(0).flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) for images or messages, see :meth:`messages` and :meth:`answer`."""
        return self.answer(self.messages(inputs))

    def from_encoded(self, encoded: Tensor) -> Tensor:
        """Return logits (batch, classes) for encoded input (time, batch, ...), see :meth:`nearest`."""
        return self.answer(self.nearest(encoded))

    def finely(self, inputs: Tensor, encoded: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return logits (batch, classes), and what moves between two spikes of the read-out.

        The second are the sums that the read-out's neurons received in all steps, counted in thresholds, (batch,
        classes); None for a membrane, which is as fine as its logits are.

        Args:
            inputs: as of :meth:`forward`, or encoded input (time, batch, ...).
            encoded: whether it is encoded.
        """
        parts = self.run(self.nearest(inputs) if encoded else self.messages(inputs))
        cells = parts[self.program.readout.population]
        logits = self.logits(self.read(parts))
        readout = self.program.readout
        if readout.kind == "membrane" or readout.every_step or not isinstance(cells, _Cells) or cells.received is None:
            return logits, None
        return logits, cells.received.flatten(1) / max(cells.population.vth, 1)

    def answer(self, messages: Tensor) -> Tensor:
        """Return logits (batch, classes) for messages (time, batch, ...)."""
        return self.logits(self.read(self.run(messages)))

    def logits(self, output: Tensor) -> Tensor:
        """Return logits (batch, classes) of a read-out (batch, classes).

        gain times the read-out as a share of its largest: steps for spike count and first spike, for the membrane its
        real value a step, or the threshold where no scale is known; sigma-delta neurons hold their real value at any
        step. Classes, and ties, are those of the Program.
        """
        return (self.gain / self.program.largest_output * output).to(torch.float32)


class _Ready(CompiledProgram):
    def __init__(self, program: Program, device: torch.device) -> None:
        super().__init__(program)
        self.twin = Twin(program).to(device)

    @torch.no_grad()
    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        parts = self.twin.run(
            to_tensor(inputs, self.twin.device, self.program.input.peak).to(torch.float32), record=rasters
        )

        def integers(steps: list[Tensor]) -> NDArray[np.int64]:
            return torch.stack(steps).to(torch.int64).cpu().numpy()

        sent = {name: integers(part.sent) for name, part in parts.items()}
        return Trace(
            self.twin.read(parts).to(torch.int64).cpu().numpy(),
            {name: (messages != 0).sum(0, dtype=np.int64) for name, messages in sent.items()},
            None,
            {name: _raster(part, sent[name]) for name, part in parts.items()} if rasters else {},
        )


def _raster(part: "_Cells | _Units | Changes", sent: NDArray[np.int64]) -> Raster:
    if isinstance(part, _Units) or part.states is None:
        return Raster(sent)
    u, v = (torch.stack([state[which] for state in part.states]).to(torch.int64).cpu().numpy() for which in (0, 1))
    return Raster(sent if isinstance(part, Changes) else sent.astype(np.bool_), u, v)


@final
class TwinTarget(Target[Program]):
    """The twin's forward pass, to be compared with the other targets.

    Args:
        device: a torch device.
    """

    name: ClassVar[str] = "twin"
    summary: ClassVar[str] = "differentiable module: exact integers forward, the surrogate backward; CPU or GPU"
    form: ClassVar[Literal["program", "network"]] = "program"

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def unsupported(self, program: Program) -> list[str]:
        """Return reasons for sums that floating-point products could not keep exact."""
        return unsupported(program)

    def _compile(self, program: Program) -> Compiled:
        return _Ready(program, self.device)
