"""Coders: from an image to input over time, in the float world and in the chip's integers. Found by name."""

from typing import TYPE_CHECKING, Any

from ..named import make
from ..registry import Registry, resolve
from ..settings import CodingSettings

if TYPE_CHECKING:
    from .base import LEVELS, MESSAGE_BITS, Coder, on_grid, spike_count_logits
    from .delta import Delta, Events
    from .direct import Direct, direct_integers
    from .latency import Latency
    from .phase import Phase
    from .rate import Rate

__all__ = [
    "CODERS",
    "LEVELS",
    "MESSAGE_BITS",
    "Coder",
    "Delta",
    "Direct",
    "Events",
    "Latency",
    "Phase",
    "Rate",
    "direct_integers",
    "make_coder",
    "on_grid",
    "spike_count_logits",
]

CODERS: "Registry[type[Coder]]" = Registry(
    "coder",
    __name__,
    {
        "direct": "direct:Direct",
        "phase": "phase:Phase",
        "rate": "rate:Rate",
        "latency": "latency:Latency",
        "delta": "delta:Delta",
        "events": "delta:Events",
    },
    base="base:Coder",
)

_PLACES = {
    **dict.fromkeys(("LEVELS", "MESSAGE_BITS", "Coder", "on_grid", "spike_count_logits"), "base"),
    **dict.fromkeys(("Direct", "direct_integers"), "direct"),
    **dict.fromkeys(("Delta", "Events"), "delta"),
    "Latency": "latency",
    "Phase": "phase",
    "Rate": "rate",
}


def __getattr__(name: str) -> Any:
    """Import what stands in the other files when it is asked for: a recipe is read without PyTorch."""
    if name in _PLACES:
        return resolve(f"{_PLACES[name]}:{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def make_coder(settings: CodingSettings) -> "Coder":
    """Return the coder that a recipe's section ``coding`` names; keys that it leaves out have the coder's defaults."""
    return make(CODERS.get(settings.name), settings)
