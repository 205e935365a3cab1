"""Families of chips: whose integers a network is quantized into, lowered to, and run with.

A family is all that the road asks of a chip beyond its limits, which are data (export/chip/chips.toml). A new one is a
folder beside this file with a class derived from :class:`Family`, and a line in :data:`FAMILIES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

from torch import nn

from ..export.chip.limits import PROFILES, load_limits
from ..export.program import Program
from ..toolkit.coding import Coder
from ..toolkit.config import Recipe
from ..toolkit.errors import UnsupportedError
from ..toolkit.network.network import SpikingNetwork
from ..toolkit.quantize import Bits
from ..toolkit.registry import resolve
from .target import Target, get_target


class Family(ABC):
    """One arithmetic, with the networks and Programs that compute in it.

    Attributes:
        name: as ``chips.toml`` has it.
        target: the exact simulator of its Programs, which is what "deployed" means.
        reset: what a spike does to the membrane.
        spikes: most spikes of a neuron in a step.
        nir: whether its networks have an exact form in NIR, and Programs come over it.
    """

    name: ClassVar[str]
    target: ClassVar[str]
    reset: ClassVar[str]
    spikes: ClassVar[int]
    nir: ClassVar[bool] = False

    @property
    def profile(self) -> str:
        """The profile of its Programs."""
        return PROFILES[self.name]  # type: ignore[index]

    def targets(self, names: Sequence[str]) -> list[str]:
        """Return those of ``names`` that compute in these integers, or in real numbers; the simulator if none does."""
        found = [name for name in names if get_target(name).form != "program" or self._computes(name)]
        return found if any(self._computes(name) for name in found) else [*found, self.target]

    def _computes(self, name: str) -> bool:
        return self.profile in get_target(name).profiles and get_target(name).form == "program"

    @abstractmethod
    def coder(self, coder: Coder) -> Coder:
        """Return what makes the chip's messages where ``coder`` makes the float network's input.

        Raises:
            UnsupportedError: the chip cannot receive such messages.
        """

    @abstractmethod
    def quantized(self, network: SpikingNetwork, bits: Bits) -> SpikingNetwork:
        """Return the copy of a float network whose weights are on the chip's grid, ready to be fine-tuned or lowered.

        Raises:
            UnsupportedError: a layer that cannot be deployed, by name and with the reason.
        """

    @abstractmethod
    def load(self, path: Path) -> tuple[SpikingNetwork, Recipe]:
        """Return the quantized network in ``path``, with its recipe.

        Raises:
            FileError: missing, corrupt, foreign, or not matching its own recipe.
        """

    @abstractmethod
    def changes(self, network: SpikingNetwork) -> list[str]:
        """Return what quantization makes of a float network beside the rounding of its numbers, one sentence each."""

    @abstractmethod
    def twin(self, program: Program, coder: Coder) -> nn.Module:
        """Return the differentiable module that answers as a Program does: what a white-box attacker of the chip takes.

        Raises:
            UnsupportedError: the Program has none.
        """

    @abstractmethod
    def lower(self, quantized: SpikingNetwork, shape: tuple[int, int, int]) -> Program:
        """Return the Program of a quantized network.

        Raises:
            UnsupportedError: a layer has no exact form; named with the reason.
        """


FAMILIES = {"loihi": "loihi.family:LoihiFamily", "xylo": "xylo.family:XyloFamily"}
"""The class of each family, by name."""


def get_family(name: str) -> Family:
    """Return the family called ``name``."""
    return cast(Family, resolve(FAMILIES[name], __package__)())


def family_of(chip: str) -> Family:
    """Return the family of a chip.

    Raises:
        InputError: there is no such chip.
    """
    return get_family(load_limits(chip).family)


def family_for(program: Program) -> Family:
    """Return the family in whose integers a Program is."""
    return get_family(next(name for name, profile in PROFILES.items() if profile == program.profile))


def loihi_only(program: Program, what: str) -> None:
    """Refuse a Program that is not in Loihi's integers.

    Args:
        program: that is looked at.
        what: what knows no others.

    Raises:
        UnsupportedError: it is of another profile.
    """
    if program.profile != PROFILES["loihi"]:
        raise UnsupportedError(f"{what}: knows Loihi's integers; the Program is of profile {program.profile!r}")


def simulator(program: Program) -> Target[Program]:
    """Return the exact simulator of a Program's integers, which is what "deployed" means."""
    return get_target(family_for(program).target)
