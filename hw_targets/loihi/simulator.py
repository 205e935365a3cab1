"""Target ``loihi``: integer arithmetic by profile, batched, on CPU or GPU."""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...export.program import Convolution, Graded, Population, Program, Readout, SigmaDelta, Synapse
from ...toolkit.progress import Track
from ..target import Compiled, CompiledProgram, Counts, Overflow, Raster, Target, Trace, join
from . import arithmetic, neurons
from .events import Feed
from .neurons import Done
from .profiles import Profile, get_profile
from .schedule import by_clock, by_layer
from .sums import LIMIT, Sums, delivered, largest_sum, to_tensor

AT_ONCE = 2**22
"""Neurons times steps times samples that run at once on a CPU: what is under way is bounded, and stays in caches."""


class _Wires:
    """A synapse ready to run in the arithmetic of a profile."""

    def __init__(self, program: Program, synapse: Synapse, profile: Profile, device: torch.device) -> None:
        self.synapse = synapse
        self.shape = program.shape_of(synapse.target)
        self.profile = profile
        self.sums = Sums(program, synapse, device, effective(synapse, profile))
        # Where sums are proven to fit and no exponent rounds them, they arrive as they are.
        self.bound = delivered(self.sums.bound, synapse.exponent)
        self.fits = max(self.bound, self.sums.bound) < 2**23
        self.plain = synapse.exponent == 0 and self.fits

    def __call__(self, x: Tensor) -> Tensor:
        """Return what arrives at the target, (batch, ...), for messages x (batch, ...): integers, of whatever type."""
        total = self.sums(x)
        if self.plain:
            return total
        if self.fits and self.profile.name == "lava":
            return torch.floor(total * 2.0**self.synapse.exponent)
        return self.profile.arriving(
            total.to(torch.int64), self.synapse.exponent, isinstance(self.synapse, Convolution)
        )


def effective(synapse: Synapse, profile: Profile) -> Tensor:
    """Return the weights that meet the messages in a profile, int64."""
    weight = synapse.weight if isinstance(synapse, Convolution) else synapse.matrix()
    return profile.weight(torch.from_numpy(weight.astype(np.int64)), synapse.exponent)


def _largest(program: Program, synapse: Synapse, profile: Profile) -> int:
    source = synapse.source
    return largest_sum(effective(synapse, profile), program.peak(source), program.signed(source))


class _Silent:
    """What populations of both kinds have: messages sent, and zeros of their shape."""

    takes_input = False

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.silence = torch.zeros(shape, dtype=torch.int64, device=device)
        self.sent: list[Tensor] = []
        self.done: Done | None = None

    def run(self, a: Tensor) -> Tensor | None:
        """Leave it to :meth:`advance`."""
        return None

    def counts(self) -> Counts:
        """Return how many messages each neuron sent, (batch, ...)."""
        if self.done is not None:
            return self.done.counts.numpy().astype(np.int64, order="C")
        return np.asarray(sum((step != 0).to(torch.int64) for step in self.sent).cpu().numpy())  # type: ignore[union-attr]

    def raster(self) -> Raster:
        """Return all that was recorded."""
        return Raster(torch.stack(self.sent).cpu().numpy())


class _Graded(_Silent):
    """Units without state: they send their input where it is above the threshold."""

    def __init__(self, population: Graded, batch: int, device: torch.device) -> None:
        super().__init__((batch, *population.shape), device)
        self.vth = population.vth

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Return what is sent (batch, ...)."""
        a = a.to(torch.int64)
        self.sent.append(a.masked_fill(a <= self.vth, 0))
        return self.sent[-1]


class _SigmaDelta(_Silent):
    """Sigma, activation and residue of one population; sigma and activation are what is recorded as u and v."""

    def __init__(self, population: SigmaDelta, batch: int, device: torch.device, rasters: bool) -> None:
        super().__init__((batch, *population.shape), device)
        self.population = population
        self.takes_input = population.input_bias
        self.sigma = self.act = self.residue = self.silence
        self.bias = torch.from_numpy(population.bias.astype(np.int64)).to(device)
        self.wraps = torch.zeros((), dtype=torch.int64, device=device)
        self.probes: list[tuple[Tensor, Tensor]] | None = [] if rasters else None

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Advance one step and return the messages (batch, ...)."""
        bias = self.bias if drive is None else self.bias + drive.to(torch.int64)
        done = arithmetic.sigma_delta(self.sigma, self.act, self.residue, a.to(torch.int64), bias, self.population)
        self.sigma, self.act, self.residue, message, wrapped = done
        self.wraps += wrapped.sum()
        self.sent.append(message)
        if self.probes is not None:
            self.probes.append((self.sigma, self.act))
        return message

    def raster(self) -> Raster:
        """Return all that was recorded."""
        assert self.probes is not None
        u, v = (torch.stack([probe[part] for probe in self.probes]).cpu().numpy() for part in (0, 1))
        return Raster(torch.stack(self.sent).cpu().numpy(), u, v)

    def events(self) -> Overflow:
        """Return how often something left its 32 bits."""
        return Overflow(int(self.wraps), 0, 0)

    def output(self, readout: Readout) -> Counts:
        """Return the read-out (batch, classes)."""
        each = self.raster().v if readout.every_step else self.act.unsqueeze(0).cpu().numpy()
        return readout.output(torch.stack(self.sent).cpu().numpy(), each)


class _State(_Silent):
    """u and v of one population, and what is counted and recorded of it."""

    def __init__(
        self,
        population: Population,
        profile: Profile,
        batch: int,
        device: torch.device,
        rasters: bool,
        bound: int,
        feed: Feed | None,
    ) -> None:
        super().__init__((batch, *population.shape), device)
        self.population = population
        self.profile = profile
        self.bound, self.feed = bound, feed
        self.takes_input = population.input_bias
        self.u = self.v = self.silence
        self.bias = torch.from_numpy(population.bias.astype(np.int64)).to(device) << population.bias_exponent
        self.wraps = torch.zeros((), dtype=torch.int64, device=device)
        self.saturations = torch.zeros_like(self.wraps)
        self.swallowed = torch.zeros_like(self.wraps)
        self.probes: list[tuple[Tensor, Tensor]] | None = [] if rasters else None

    def run(self, a: Tensor) -> Tensor | None:
        """Advance all steps at once, if there is a compiled loop; return the spikes (time, batch, ...) as bytes."""
        if self.profile.name != "lava":
            return None
        self.done = neurons.run(a, self.population, self.bound, states=self.probes is not None)
        return None if self.done is None else self.done.spikes

    def fed(self, sent: Mapping[str, Tensor]) -> Tensor | None:
        """Advance all steps spike by spike, if that is possible here and cheap; return the spikes as bytes."""
        if self.feed is not None:
            self.done = self.feed.run(sent[self.feed.synapse.source], self.probes is not None)
        return None if self.done is None else self.done.spikes

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Advance one step and return the spikes (batch, ...)."""
        population, a = self.population, a.to(torch.int64)
        bias = self.bias if drive is None else self.bias + (drive.to(torch.int64) << population.bias_exponent)
        done = self.profile.step(self.u, self.v, a, du=population.du, dv=population.dv, vth=population.vth, bias=bias)
        self.u, self.v = done.u, done.v
        self.wraps += done.wrapped.sum()
        self.saturations += done.saturated.sum()
        self.swallowed += done.swallowed.sum()
        self.sent.append(done.spikes)
        if self.probes is not None:
            self.probes.append((self.u, self.v))
        return done.spikes

    def raster(self) -> Raster:
        """Return all that was recorded."""
        assert self.probes is not None
        if self.done is not None and self.done.states is not None:
            u, v = (state.numpy().astype(np.int64, order="C") for state in self.done.states)
            return Raster(np.ascontiguousarray(self.done.spikes.view(torch.bool).numpy()), u, v)
        u, v = (torch.stack([probe[part] for probe in self.probes]).cpu().numpy() for part in (0, 1))
        return Raster(torch.stack(self.sent).cpu().numpy(), u, v)

    def events(self) -> Overflow:
        """Return what was counted."""
        if self.done is not None:
            return self.done.events
        return Overflow(int(self.wraps), int(self.saturations), int(self.swallowed))

    def output(self, readout: Readout) -> Counts:
        """Return the read-out (batch, classes), or (batch, time classes)."""
        if readout.every_step and readout.kind == "membrane":
            found = self.raster()
            return readout.output(found.spikes, found.v)  # type: ignore[arg-type]  # spikes are of a spiking population
        if self.done is not None:
            v = self.done.v.unsqueeze(0).numpy().astype(np.int64)
            return readout.output(self.done.spikes.view(torch.bool).numpy(), v)
        return readout.output(torch.stack(self.sent).cpu().numpy(), self.v.unsqueeze(0).cpu().numpy())


class _Simulation(CompiledProgram):
    def __init__(self, program: Program, latency: Literal[0, 1], profile: Profile, device: torch.device) -> None:
        super().__init__(program)
        self.latency = latency
        self.profile = profile
        self.device = device
        self.wires = {
            population.name: [
                _Wires(program, synapse, profile, device) for synapse in program.incoming(population.name)
            ]
            for population in program.populations
        }
        self.bounds = {name: sum(wire.bound for wire in wires) for name, wires in self.wires.items()}
        self.feeds = {part.name: self._feed(part) for part in program.spiking}

    def _feed(self, population: Population) -> Feed | None:
        incoming = list(self.program.incoming(population.name))
        if len(incoming) != 1 or self.profile.name != "lava" or self.device.type != "cpu":
            return None
        made = Feed(self.program, incoming[0], population)
        return made if made.usable else None

    @torch.no_grad()
    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        widest = max(int(np.prod(population.shape)) for population in self.program.populations)
        batch = max(1, AT_ONCE // (widest * self.program.steps)) if self.device.type == "cpu" else inputs.shape[1]
        starts = range(0, inputs.shape[1], batch)
        parts = track(starts, "run on loihi", len(starts)) if len(starts) > 1 else starts
        return join([self._part(inputs[:, start : start + batch], rasters) for start in parts])

    def _part(self, inputs: NDArray[np.int32], rasters: bool) -> Trace:
        batch = inputs.shape[1]
        signal = to_tensor(inputs, self.device, self.program.input.peak)
        names = [population.name for population in self.program.populations]
        readout = self.program.readout

        def kept(name: str) -> bool:
            # A membrane that is read at every step is kept at every step.
            return rasters or (readout.every_step and readout.kind == "membrane" and name == readout.population)

        spiking = {
            part.name: _State(
                part, self.profile, batch, self.device, kept(part.name), self.bounds[part.name], self.feeds[part.name]
            )
            for part in self.program.spiking
        }
        changes = {
            part.name: _SigmaDelta(part, batch, self.device, kept(part.name)) for part in self.program.sigma_delta
        }
        graded = {
            part.name: _Graded(part, batch, self.device)
            for part in self.program.populations
            if isinstance(part, Graded)
        }
        stateful: dict[str, _State | _SigmaDelta] = {**spiking, **changes}
        states = {name: stateful.get(name) or graded[name] for name in names}
        if self.latency:
            by_clock(self.program, signal, self.wires, states)
        else:
            by_layer(
                self.program,
                signal,
                self.wires,
                states,
                lambda name, sent: spiking[name].fed(sent) if name in spiking else None,
            )
        return Trace(
            stateful[self.program.readout.population].output(self.program.readout),
            {name: state.counts() for name, state in states.items()},
            {name: state.events() for name, state in stateful.items()},
            {name: state.raster() for name, state in states.items()} if rasters else {},
        )


@final
class LoihiTarget(Target[Program]):
    """Batched exact simulation of a Program.

    Args:
        latency: 1 runs every synapse one step late on a common clock, as Lava does; 0 runs layer by layer, which is
            faster and gives the same integers in each population's window, but is refused for recurrent Programs. By
            default 0 where it can be, else 1.
        profile: whose arithmetic, one of :data:`.profiles.PROFILES`; only ``lava`` is what "deployed" means.
        device: a torch device.
    """

    name: ClassVar[str] = "loihi"
    summary: ClassVar[str] = "batched exact integer simulation in PyTorch, profile lava"

    def __init__(self, *, latency: Literal[0, 1] | None = None, profile: str = "lava", device: str = "cpu") -> None:
        self.latency = latency
        self.profile = get_profile(profile)
        self.device = device

    def unsupported(self, program: Program) -> list[str]:
        """Return reasons: sums that floating-point products could not keep exact, recurrence without latency."""
        reasons = [
            f"{synapse.label}: sums up to {bound} exceed 2^53"
            for synapse in program.synapses
            if (bound := _largest(program, synapse, self.profile)) >= LIMIT
        ]
        if self.latency == 0:
            reasons += [
                f"{synapse.label}: is recurrent, and without latency that is another network; use latency=1"
                for synapse in program.synapses
                if not program.forward(synapse)
            ]
        return reasons

    def _compile(self, program: Program) -> Compiled:
        latency = self.latency if self.latency is not None else (1 if program.recurrent else 0)
        return _Simulation(program, latency, self.profile, torch.device(self.device))
