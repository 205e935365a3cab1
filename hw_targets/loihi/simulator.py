"""Target ``loihi``: the ``lava`` profile's integer arithmetic, batched, on CPU or GPU."""

from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...export.program import Convolution, Dense, Program, Synapse
from ...toolkit.progress import Track
from ..target import Compiled, CompiledProgram, Counts, Overflow, Raster, Target, Trace
from .arithmetic import int24, int32, shift, step


class _Wires:
    """A synapse ready to run: exact sums by floating-point matrix products whose partial sums all fit the mantissa."""

    def __init__(self, program: Program, synapse: Synapse, device: torch.device) -> None:
        self.synapse = synapse
        self.shape = program.shape_of(synapse.target)
        self.binary = program.peak(synapse.source) == 1
        # Every partial sum is an integer of at most this magnitude, so any order of additions is exact.
        self.dtype = torch.float32 if program.bound(synapse) < 2**24 else torch.float64
        weight = torch.from_numpy(synapse.weight.astype(np.float64))
        if isinstance(synapse, Convolution):
            weight = weight.unflatten(0, (synapse.groups, -1)).flatten(2)
        self.weight = weight.to(device, self.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return what arrives at the target, (batch, ...) int64, for messages x (batch, ...)."""
        x = x.to(self.dtype)
        if isinstance(self.synapse, Dense):
            total = (x.flatten(1) @ self.weight.T).to(torch.int64).unflatten(1, self.shape)
            return int32(shift(total, self.synapse.exponent))
        conv = self.synapse
        # An explicit matrix product: library convolutions may use Winograd or TF32, which round.
        columns = functional.unfold(x, tuple(conv.weight.shape[2:]), conv.dilation, conv.padding, conv.stride)
        groups = columns.unflatten(1, (conv.groups, -1))
        total = torch.einsum("gok,bgkp->bgop", self.weight, groups).to(torch.int64).flatten(1, 2)
        total = total.unflatten(2, self.shape[1:])
        # Lava's convolution knows no exponent; with one, the rule is that of its Sparse synapse.
        return int24(total) if conv.exponent == 0 else int32(shift(total, conv.exponent))


class _State:
    """u and v of one population, and what is counted and recorded of it."""

    def __init__(self, program: Program, name: str, batch: int, device: torch.device, rasters: bool) -> None:
        self.population = program.population(name)
        self.u = torch.zeros((batch, *self.population.shape), dtype=torch.int64, device=device)
        self.v = torch.zeros_like(self.u)
        self.bias = torch.from_numpy(self.population.bias.astype(np.int64)).to(device) << self.population.bias_exponent
        self.wraps = torch.zeros((), dtype=torch.int64, device=device)
        self.saturations = torch.zeros_like(self.wraps)
        self.spikes: list[Tensor] = []
        self.probes: list[tuple[Tensor, Tensor]] | None = [] if rasters else None

    def advance(self, a: Tensor) -> Tensor:
        """Advance one step and return the spikes (batch, ...)."""
        population = self.population
        self.u, self.v, spikes, wrapped, saturated = step(
            self.u, self.v, a, du=population.du, dv=population.dv, vth=population.vth, bias=self.bias
        )
        self.wraps += wrapped.sum()
        self.saturations += saturated.sum()
        self.spikes.append(spikes)
        if self.probes is not None:
            self.probes.append((self.u, self.v))
        return spikes

    def reset(self) -> None:
        """Forget everything: a sample starts here."""
        self.u, self.v = torch.zeros_like(self.u), torch.zeros_like(self.v)
        self.wraps, self.saturations = torch.zeros_like(self.wraps), torch.zeros_like(self.wraps)
        self.spikes = []
        if self.probes is not None:
            self.probes = []

    def raster(self) -> Raster:
        """Return all that was recorded."""
        assert self.probes is not None
        u, v = (torch.stack([probe[part] for probe in self.probes]).cpu().numpy() for part in (0, 1))
        return Raster(torch.stack(self.spikes).cpu().numpy(), u, v)

    def counts(self) -> Counts:
        """Return spikes over all steps (batch, ...)."""
        return torch.stack(self.spikes).sum(0).cpu().numpy()


class _Simulation(CompiledProgram):
    def __init__(self, program: Program, latency: Literal[0, 1], device: torch.device) -> None:
        super().__init__(program)
        self.latency = latency
        self.device = device
        self.wires = {
            population.name: [(s.source, _Wires(program, s, device)) for s in program.incoming(population.name)]
            for population in program.populations
        }

    @torch.no_grad()
    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        batch = inputs.shape[1]
        signal = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)
        names = [population.name for population in self.program.populations]
        states = {name: _State(self.program, name, batch, self.device, rasters) for name in names}
        if self.latency == 0:
            self._by_layer(signal, states)
        else:
            self._by_clock(signal, states)
        counts = {name: state.counts() for name, state in states.items()}
        return Trace(
            counts[self.program.readout.population].reshape(batch, -1),
            counts,
            {name: Overflow(int(state.wraps), int(state.saturations)) for name, state in states.items()},
            {name: state.raster() for name, state in states.items()} if rasters else {},
        )

    def _by_layer(self, signal: Tensor, states: dict[str, _State]) -> None:
        """Run population after population, all steps of a synapse at once: no step of latency."""
        sent = {self.program.input.name: signal}
        for name, state in states.items():
            arriving: Tensor | None = None
            for source, wires in self.wires[name]:
                a = wires(sent[source].flatten(0, 1)).unflatten(0, signal.shape[:2])
                arriving = a if arriving is None else arriving + a
            assert arriving is not None
            for a in arriving:
                state.advance(a)
            sent[name] = torch.stack(state.spikes)

    def _by_clock(self, signal: Tensor, states: dict[str, _State]) -> None:
        """Run step by step on one clock, each synapse delivering one step late, state reset when a sample arrives."""
        depths = self.program.depths()
        silence = torch.zeros_like(signal[0])
        buffers: dict[tuple[str, int], Tensor] = {}
        for clock in range(self.program.steps + max(depths.values())):
            sent = {self.program.input.name: signal[clock] if clock < self.program.steps else silence}
            for name, state in states.items():
                if clock == depths[name]:
                    state.reset()
                a = torch.zeros_like(state.u)
                for index in range(len(self.wires[name])):
                    if (name, index) in buffers:
                        a = a + buffers[name, index]
                recording = clock < depths[name] + self.program.steps
                sent[name] = state.advance(a) if recording else torch.zeros_like(state.u)
            for name, incoming in self.wires.items():
                for index, (source, wires) in enumerate(incoming):
                    buffers[name, index] = wires(sent[source])


@final
class LoihiTarget(Target[Program]):
    """Batched exact simulation of a Program.

    Args:
        latency: 1 runs every synapse one step late on a common clock, as Lava does; 0 runs layer by layer, which is
            faster and, for the feed-forward Programs accepted today, gives the same spikes in each population's window.
        device: a torch device.
    """

    name: ClassVar[str] = "loihi"
    summary: ClassVar[str] = "batched exact integer simulation in PyTorch, profile lava"

    def __init__(self, *, latency: Literal[0, 1] = 0, device: str = "cpu") -> None:
        self.latency = latency
        self.device = device

    def unsupported(self, program: Program) -> list[str]:
        """Return reasons for sums that floating-point products could not keep exact."""
        return [
            f"{synapse.label}: sums up to {program.bound(synapse)} exceed 2^53"
            for synapse in program.synapses
            if program.bound(synapse) >= 2**53
        ]

    def _compile(self, program: Program) -> Compiled:
        return _Simulation(program, self.latency, torch.device(self.device))
