"""What the same network costs elsewhere: measured on this machine where a meter can be read, estimated as an INT8 ANN.

A meter that cannot be read is an absence with its reason; no figure ever takes its place.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ...export.program import Program
from ...toolkit.errors import TargetError
from ...toolkit.network.network import SpikingNetwork
from ..measure.metrics import fan_out
from .constants import Interval, Table
from .energy import PICO

POWERCAP = Path("/sys/class/powercap")
BYTES_A_READ = 8


class Meter(ABC):
    """Something that counts joules."""

    name: str

    @abstractmethod
    def read(self) -> float:
        """Return joules since some moment in the past."""


class Rapl(Meter):
    """The energy counters of all processor packages, through Linux' powercap files."""

    name = "RAPL, processor packages"

    def __init__(self, zones: list[Path]) -> None:
        self.zones = zones
        self.last = [self._counter(zone) for zone in zones]
        self.range = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        self.joules = 0.0

    @staticmethod
    def _counter(zone: Path) -> int:
        return int((zone / "energy_uj").read_text())

    def read(self) -> float:
        """Return joules since the meter was made; a counter that began again at 0 in between is continued."""
        for index, zone in enumerate(self.zones):
            now = self._counter(zone)
            passed = now - self.last[index]
            self.joules += (passed if passed >= 0 else passed + self.range[index]) * 1e-6
            self.last[index] = now
        return self.joules


def rapl(root: Path = POWERCAP) -> Rapl | str:
    """Return the processor's meter, or why there is none."""
    zones = [
        path
        for path in sorted(root.glob("intel-rapl:*"))
        if (path / "name").exists() and (path / "name").read_text().startswith("package")
    ]
    if not zones:
        return f"no RAPL counter of a processor package under {root} (a virtual machine, or another system)"
    try:
        return Rapl(zones)
    except (OSError, ValueError) as error:
        return f"RAPL cannot be read ({type(error).__name__}); allow reading {zones[0].name}/energy_uj, or run as root"


class Nvml(Meter):
    """The energy counter of torch's first CUDA device, through NVML."""

    name = "NVML, whole board"

    def __init__(self, library: Any) -> None:
        self.library = library
        library.nvmlInit()
        self.device = library.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        self.read()

    def read(self) -> float:
        """Return joules since the driver was loaded."""
        return float(self.library.nvmlDeviceGetTotalEnergyConsumption(self.device)) * 1e-3


def nvml() -> Nvml | str:
    """Return the GPU's meter, or why there is none."""
    if not torch.cuda.is_available():
        return "torch finds no CUDA device on this machine"
    try:
        import pynvml
    except ImportError:
        return "NVML is not installed; run: pip install nvidia-ml-py"
    try:
        return Nvml(pynvml)
    except pynvml.NVMLError as error:
        return f"NVML gives no energy counter for this device ({error})"


@dataclass(frozen=True)
class Metered:
    """Joules a sample.

    Attributes:
        meter: what counted.
        joules: from what the run added to the idle power, to all that was counted.
        samples: that were run.
        seconds: for which they ran.
        idle_watts: before.
    """

    meter: str
    joules: Interval
    samples: int
    seconds: float
    idle_watts: float


def metered(meter: Meter, run: Callable[[], Any], samples: int, seconds: float = 2.0) -> Metered:
    """Measure the energy of ``run``, repeated for some seconds, after as many seconds of idleness.

    Args:
        meter: counts.
        run: infers ``samples`` samples.
        samples: a run.
        seconds: of each part.

    Raises:
        TargetError: the counter stood still, so nothing was measured.
    """
    run()
    before, begun = meter.read(), time.perf_counter()
    time.sleep(seconds)
    idle = (meter.read() - before) / (time.perf_counter() - begun)
    before, begun, runs = meter.read(), time.perf_counter(), 0
    while not runs or time.perf_counter() - begun < seconds:
        run()
        runs += 1
    spent, passed = meter.read() - before, time.perf_counter() - begun
    if spent <= 0:
        raise TargetError(f"{meter.name}: the counter stood still for {passed:.1f} s, so nothing was measured")
    each = runs * samples
    return Metered(meter.name, Interval(max(spent - idle * passed, 0.0) / each, spent / each), each, passed, idle)


@dataclass(frozen=True)
class Ann:
    """The estimate of an ANN with the same layers: one pass, 8-bit weights and activations.

    Attributes:
        macs: multiply-accumulates, those of padding not counted.
        weights: numbers kept.
        activations: numbers that layers send, the image among them.
        joules: see :func:`int8_ann`.
    """

    macs: int
    weights: int
    activations: int
    joules: Interval


def int8_ann(network: SpikingNetwork, shape: tuple[int, ...], constants: Table) -> Ann:
    """Estimate the energy of an ANN with the network's convolutions and linear layers: arithmetic and SRAM, 45 nm.

    Low end: every weight and activation is read once, from a small memory. High end: every multiplication reads both
    its numbers from a large one. A read brings 8 numbers. Pooling and activation functions are left out.

    Args:
        network: the float network.
        shape: of one step of the encoded input.
        constants: the table.
    """
    macs = weights = 0
    activations = int(torch.Size(shape).numel())
    seen: set[int] = set()

    def count(layer: nn.Module, given: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
        nonlocal macs, weights, activations
        if id(layer) in seen:  # A network with loops runs a layer at every step.
            return
        seen.add(id(layer))
        if isinstance(layer, nn.Conv2d):
            ones = torch.ones_like(layer.weight, dtype=torch.float64)
            image = torch.ones_like(given[0][:1], dtype=torch.float64)
            found = functional.conv2d(image, ones, None, layer.stride, layer.padding, layer.dilation, layer.groups)
            macs += round(float(found.sum()))
        else:
            assert isinstance(layer, nn.Linear)
            macs += layer.in_features * layer.out_features
        assert isinstance(layer.weight, torch.Tensor)
        weights += layer.weight.numel()
        activations += answer[0].numel()

    device = next(network.parameters()).device
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            network.eval().respond(torch.zeros(network.steps, 1, *shape, device=device))
    finally:
        for hook in hooks:
            hook.remove()

    return _priced(macs, weights, activations, constants)


def program_ann(program: Program, constants: Table) -> Ann:
    """Estimate the energy of an ANN with a Program's synapses and neurons, as :func:`int8_ann` does.

    Args:
        program: the integers of a network whose float form is not known.
        constants: the table.
    """
    return _priced(
        sum(int(fan_out(program, synapse).sum()) for synapse in program.synapses),
        sum(synapse.weight.size for synapse in program.synapses),
        sum(math.prod(part.shape) for part in (program.input, *program.populations)),
        constants,
    )


def _priced(macs: int, weights: int, activations: int, constants: Table) -> Ann:
    def price(term: str) -> Interval:
        return constants.interval("int8-45nm", term, "pJ")

    work = price("mac") * (PICO * macs)
    least = price("read small").low * PICO * (weights + activations) / BYTES_A_READ
    most = price("read large").high * PICO * 2 * macs / BYTES_A_READ
    # A network of a few weights used once each could turn the two around.
    return Ann(macs, weights, activations, work + Interval(min(least, most), max(least, most)))
