"""Is a spiking network still accurate, robust and sparse once it is integers on a neuromorphic chip.

The folders follow the way of the data: ``toolkit`` trains and attacks in PyTorch, ``export`` turns the quantized
network into NIR, an integer Program and ONNX, ``hw_targets`` runs it, ``eval`` measures every form again. What stands
in ``__all__`` is public, see docs/api; it is imported when it is first asked for, so that importing is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors, type checkers and the documentation; a test compares it with what is loaded
    from .eval.face.adaptation import Adapted as Adapted
    from .eval.face.adaptation import adapt as adapt
    from .eval.face.adopt import Adopted as Adopted
    from .eval.face.adopt import adopt as adopt
    from .eval.face.conversion import Converted as Converted
    from .eval.face.conversion import convert as convert
    from .eval.face.decision import decision as decision
    from .eval.face.faults import faults as faults
    from .eval.face.measures import agree as agree
    from .eval.face.measures import compare as compare
    from .eval.face.measures import explain as explain
    from .eval.face.measures import fit as fit
    from .eval.face.measures import robustness as robustness
    from .eval.face.networks import attack as attack
    from .eval.face.networks import build_network as build_network
    from .eval.face.networks import deploy as deploy
    from .eval.face.networks import load_data as load_data
    from .eval.face.networks import lower as lower
    from .eval.face.networks import quantize as quantize
    from .eval.face.networks import run as run
    from .eval.face.networks import train as train
    from .eval.face.proofs import prove as prove
    from .eval.face.sensitivity import sensitivity as sensitivity
    from .eval.face.shown import Shown as Shown
    from .eval.face.traces import compare_trace as compare_trace
    from .eval.measure.forms import Deployed as Deployed
    from .eval.measure.forms import Forms as Forms
    from .eval.run.folder import Run as Run
    from .export.formats.netx_read import read_net as read_net
    from .export.program import Program as Program
    from .export.program import read_program as read_program
    from .export.program import write_program as write_program
    from .hw_targets.target import Target as Target
    from .hw_targets.target import Trace as Trace
    from .hw_targets.target import get_target as get_target
    from .toolkit.attacks.base import Attack as Attack
    from .toolkit.attacks.protocol import Protocol as Protocol
    from .toolkit.config import Recipe as Recipe
    from .toolkit.config import load_recipe as load_recipe
    from .toolkit.data import Dataset as Dataset
    from .toolkit.defences.base import Defence as Defence
    from .toolkit.errors import SpikeproofError as SpikeproofError
    from .toolkit.network.network import SpikingNetwork as SpikingNetwork

_WHERE = {
    "eval.face.adopt": ("Adopted", "adopt"),
    "eval.face.networks": ("attack", "build_network", "deploy", "load_data", "lower", "quantize", "run", "train"),
    "eval.face.measures": ("agree", "compare", "explain", "fit", "robustness"),
    "eval.face.adaptation": ("Adapted", "adapt"),
    "eval.face.conversion": ("Converted", "convert"),
    "eval.face.decision": ("decision",),
    "eval.face.faults": ("faults",),
    "eval.face.proofs": ("prove",),
    "eval.face.sensitivity": ("sensitivity",),
    "eval.face.shown": ("Shown",),
    "eval.face.traces": ("compare_trace",),
    "eval.measure.forms": ("Deployed", "Forms"),
    "eval.run.folder": ("Run",),
    "export.formats.netx_read": ("read_net",),
    "export.program": ("Program", "read_program", "write_program"),
    "hw_targets.target": ("Target", "Trace", "get_target"),
    "toolkit.attacks.base": ("Attack",),
    "toolkit.attacks.protocol": ("Protocol",),
    "toolkit.config": ("Recipe", "load_recipe"),
    "toolkit.data": ("Dataset",),
    "toolkit.defences.base": ("Defence",),
    "toolkit.errors": ("SpikeproofError",),
    "toolkit.network.network": ("SpikingNetwork",),
}
_NAMES = {name: module for module, names in _WHERE.items() for name in names}

__version__: str
__all__ = ["__version__", *sorted(_NAMES)]


def __getattr__(name: str) -> Any:
    """Return a public name, or ``__version__``: what the installation was made from, as git's tags name it."""
    if name in _NAMES:
        found = getattr(import_module(f".{_NAMES[name]}", __name__), name)
        globals()[name] = found
        return found
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("spikeproof")
    except PackageNotFoundError:  # a tree that was never installed
        return "0.0+unknown"


def __dir__() -> list[str]:
    return __all__
