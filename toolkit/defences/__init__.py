"""Defences: ways of training, and neurons, that shall make a network more robust. Found by name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..named import parse_named
from ..registry import Registry

if TYPE_CHECKING:
    from .base import Defence

DEFENCES: "Registry[type[Defence]]" = Registry(
    "defence",
    __name__,
    {
        "at": "adversarial:AT",
        "trades": "trades:TRADES",
        "rat": "rat:RAT",
        "sr": "sr:SR",
        "tgo": "tgo:TGO",
        "slif": "slif:SLIF",
        "trr": "trr:TRR",
        "lfm": "lfm:LFM",
        "sca": "sca:SCA",
        "self_connection": "self_connection:SelfConnection",
        "stochastic": "stochastic:Stochastic",
        "cap": "cap:CAP",
        "certified": "certified:Certified",
    },
    base="base:Defence",
)


def defence_names() -> list[str]:
    """Return the names of all defences: built-ins first, then those of other packages.

    Raises:
        InputError: another package's defence has the name of a built-in one.
    """
    return DEFENCES.names()


def get_defence(name: str) -> "type[Defence]":
    """Return the class of the defence called ``name``; its fields are its settings.

    Raises:
        InputError: there is none of that name, or another package's cannot be loaded or is no Defence.
    """
    found = DEFENCES.get(name)
    if found.model_fields["name"].default != name:
        raise InputError(f"defence {name!r}: its class calls itself {found.model_fields['name'].default!r}")
    return found


def parse_defence(value: Any) -> Any:
    """Return the defence that an entry of a recipe's ``defences`` asks for: a name, or a table with a name.

    Raises:
        PydanticCustomError: on one line, what is wrong and what is valid.
    """
    if isinstance(value, str):
        value = {"name": value}
    return parse_named("defence", value, get_defence) if isinstance(value, Mapping) else value
