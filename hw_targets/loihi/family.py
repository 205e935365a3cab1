"""Loihi 1 and 2 as a family of chips."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, final

from ...export.lowering.lower import lower
from ...export.nir.write import read_nir, write_nir
from ...export.program import Program
from ...toolkit.coding import Coder
from ...toolkit.config import Recipe
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.quantize import Bits, load_quantized, quantized_network
from ..family import Family
from ..twin import Twin


@final
class LoihiFamily(Family):
    """Leaks of 12 bits, a hard reset, one spike a step, profile ``lava``."""

    name: ClassVar[str] = "loihi"
    target: ClassVar[str] = "loihi"
    reset: ClassVar[str] = "zero"
    spikes: ClassVar[int] = 1
    nir: ClassVar[bool] = True

    def coder(self, coder: Coder) -> Coder:
        """Return the coder itself."""
        return coder

    def quantized(self, network: SpikingNetwork, bits: Bits) -> SpikingNetwork:
        """Return :func:`...toolkit.quantize.quantized_network`."""
        return quantized_network(network, bits)

    def load(self, path: Path) -> tuple[SpikingNetwork, Recipe]:
        """Return :func:`...toolkit.quantize.load_quantized`."""
        return load_quantized(path)

    def changes(self, network: SpikingNetwork) -> list[str]:
        """Return nothing: what Loihi has no form for is refused, and changed by ``adapt``."""
        return []

    def twin(self, program: Program, coder: Coder) -> Twin:
        """Return :class:`..twin.Twin`."""
        return Twin(program, coder=coder)

    def lower(self, quantized: SpikingNetwork, shape: tuple[int, int, int]) -> Program:
        """Return the Program, over NIR."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "network.nir"
            write_nir(path, quantized, shape)
            return lower(*read_nir(path), "network")
