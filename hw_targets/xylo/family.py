"""Xylo as a family of chips."""

from pathlib import Path
from typing import ClassVar, final

from ...export.program import Program
from ...toolkit.coding import Coder
from ...toolkit.config import Recipe
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.quantize import Bits
from ..family import Family
from .arithmetic import HIDDEN_SPIKES
from .lower import lower
from .quantize import changes, chip_coder, load_quantized, quantized_network
from .twin import twin


@final
class XyloFamily(Family):
    """Leaks by bit shifts, reset by subtraction, up to 31 spikes a step, states of 16 bits, profile ``xylo``."""

    name: ClassVar[str] = "xylo"
    target: ClassVar[str] = "xylo"
    reset: ClassVar[str] = "subtract"
    spikes: ClassVar[int] = HIDDEN_SPIKES

    def coder(self, coder: Coder) -> Coder:
        """Return :func:`.quantize.chip_coder`."""
        return chip_coder(coder)

    def quantized(self, network: SpikingNetwork, bits: Bits) -> SpikingNetwork:
        """Return :func:`.quantize.quantized_network`."""
        return quantized_network(network, bits)

    def load(self, path: Path) -> tuple[SpikingNetwork, Recipe]:
        """Return :func:`.quantize.load_quantized`."""
        return load_quantized(path)

    def changes(self, network: SpikingNetwork) -> list[str]:
        """Return :func:`.quantize.changes`."""
        return changes(network)

    def twin(self, program: Program, coder: Coder) -> SpikingNetwork:
        """Return :func:`.twin.twin`."""
        return twin(program, coder)

    def lower(self, quantized: SpikingNetwork, shape: tuple[int, int, int]) -> Program:
        """Return :func:`.lower.lower`."""
        return lower(quantized, shape)
