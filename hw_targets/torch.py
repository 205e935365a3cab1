"""Target ``torch``: the float (or fake-quantized) network itself, on CPU or GPU; the reference, not a deployed form."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..toolkit.errors import InputError
from ..toolkit.network.layers import Membrane
from ..toolkit.network.network import SpikingNetwork
from ..toolkit.progress import Track, silent
from .target import Compiled, Raster, Target, Trace, join


class _Network(Compiled):
    def __init__(self, network: SpikingNetwork, device: torch.device, batch: int, graded: tuple[str, ...]) -> None:
        self.network = network.to(device).eval()
        self.device = device
        self.batch = batch
        self.graded = graded

    def _parts(self, name: str) -> tuple[str, ...]:
        layers = dict(self.network.named_layers())
        return (name,) if name in layers else self.network.sources(name.removesuffix(".sum"))

    @torch.no_grad()
    def run(self, inputs: NDArray[Any], *, rasters: bool = False, track: Track = silent) -> Trace:
        """Run what the network's coder takes, in [0, 1]; every sample starts from state 0."""
        images = self.network.coder.check(inputs, "images to run")
        starts = range(0, len(images), self.batch)
        return join(
            [self._part(images[s : s + self.batch], rasters) for s in track(starts, "run on torch", len(starts))]
        )

    def _part(self, images: NDArray[np.float32], rasters: bool) -> Trace:
        spikes: dict[str, Tensor] = {}
        names = set(self.network.populations())
        # What a graded unit sends is what its layer sends, or what the layer behind it receives.
        parts = {name: self._parts(name) for name in self.graded}
        heard: dict[str, Tensor] = {}

        def watch(name: str, signal: Tensor) -> None:
            if name in names:
                spikes[name] = signal.bool()
            if any(name in sources for sources in parts.values()):
                heard[name] = signal

        last = self.network.spikes(torch.from_numpy(images).to(self.device), watch)
        for name, sources in parts.items():
            spikes[name] = torch.stack([heard[source] for source in sources]).sum(0) != 0
        return Trace(
            self.network.read(last).cpu().numpy(),
            {name: signal.sum(0).cpu().numpy() for name, signal in spikes.items()},
            None,
            {name: Raster(signal.cpu().numpy()) for name, signal in spikes.items()} if rasters else {},
        )


@final
class TorchTarget(Target[SpikingNetwork]):
    """The network in PyTorch.

    Args:
        device: a torch device.
        batch: images at once.
        graded: names of graded units of the network's Program, whose messages are counted, too.
    """

    name: ClassVar[str] = "torch"
    summary: ClassVar[str] = "the float network in PyTorch, CPU or GPU (reference)"
    form: ClassVar[Literal["program", "network"]] = "network"

    def __init__(self, *, device: str = "cpu", batch: int = 250, graded: Sequence[str] = ()) -> None:
        try:
            self.device = torch.device(device)
        except RuntimeError as error:
            raise InputError(f"device {device!r}: unknown to torch; say cpu or cuda") from error
        self.batch = batch
        self.graded = tuple(graded)

    def unavailable(self) -> str | None:
        """Return a reason if torch finds no such device on this machine."""
        if self.device.type == "cuda" and not torch.cuda.is_available():
            return "torch finds no CUDA device on this machine; use --device cpu"
        return None

    def unsupported(self, network: SpikingNetwork) -> list[str]:
        """Return a reason if the last layer can not be read out."""
        layers = [layer for _, layer in network.named_layers()]
        return (
            []
            if layers and isinstance(layers[-1], Membrane)
            else ["the last layer must be LIF (classes are its spike counts) or an integrator (its membrane)"]
        )

    def _compile(self, network: SpikingNetwork) -> Compiled:
        return _Network(network, self.device, self.batch, self.graded)
