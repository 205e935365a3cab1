"""The one registry: everything that has a name in a recipe, built in or of another package, is found here.

Built-ins are named as "module:attribute", so that nothing heavy is imported before it is asked for; the table of each
kind stands beside the code of that kind. Other packages add theirs as entry points of the group ``spikeproof.<kind>s``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import getdoc
from typing import Any, Generic, TypeVar

from .errors import InputError, SpikeproofError

T = TypeVar("T")
BUILT_IN = "built-in"

KINDS = {
    "target": "hw_targets:TARGETS",
    "attack": "toolkit.attacks:ATTACKS",
    "defence": "toolkit.defences:DEFENCES",
    "coder": "toolkit.coding:CODERS",
    "dataset": "toolkit.data:DATASETS",
    "neuron": "toolkit.network:NEURONS",
    "metric": "eval.measure:METRICS",
    "chip": "export.chip:CHIPS",
}
"""Where the table of each kind stands, imported when it is asked for."""


@dataclass(frozen=True)
class Entry:
    """One name of a registry.

    Attributes:
        name: as in recipes and on the command line.
        origin: "built-in", or the distribution that brings it and its version.
    """

    name: str
    origin: str


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else f"entry point {point.value!r}"


class Registry(Generic[T]):
    """All things of one kind, by name: built-ins first, in their order, then those of other packages by the alphabet.

    Args:
        kind: in one word, as messages call it.
        package: where the module names of ``built_in`` and ``base`` start; ``__name__`` beside the table.
        built_in: "module:attribute" by name.
        base: "module:Class" that all of them derive from.
        failure: what is raised where another package's code fails to load.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        built_in: Mapping[str, str],
        base: str,
        failure: type[SpikeproofError] = InputError,
    ) -> None:
        self.kind, self.package, self.built_in, self.base, self.failure = kind, package, dict(built_in), base, failure

    @property
    def group(self) -> str:
        """The group of entry points."""
        return f"spikeproof.{self.kind}s"

    def _points(self) -> dict[str, EntryPoint]:
        """Return the entry points by name.

        Raises:
            InputError: two have one name, or one has that of a built-in.
        """
        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=self.group)):
            if point.name in self.built_in or point.name in found:
                other = BUILT_IN if point.name in self.built_in else f"of {_origin(found[point.name])}"
                raise InputError(
                    f"{self.kind} {point.name!r} is defined twice: {other}, and of {_origin(point)} (entry points of "
                    f"group {self.group!r}); rename or uninstall one"
                )
            found[point.name] = point
        return found

    def entries(self) -> list[Entry]:
        """Return all names with their origin; nothing is loaded.

        Raises:
            InputError: two things have one name; the message names both.
        """
        others = self._points()
        return [
            *(Entry(name, BUILT_IN) for name in self.built_in),
            *(Entry(name, _origin(point)) for name, point in others.items()),
        ]

    def names(self) -> list[str]:
        """Return all names; raises as :meth:`entries`."""
        return [entry.name for entry in self.entries()]

    def get(self, name: str) -> T:
        """Return what is called ``name``, loaded.

        Raises:
            InputError: there is none of that name, or it is not of this kind; or as :meth:`entries`.
            SpikeproofError: ``failure``: another package fails to load it.
        """
        others = self._points()
        if name in self.built_in:
            return self._load_built_in(name)
        if name not in others:
            raise InputError(
                f"{self.kind} {name!r}: unknown; known {self.kind}s: {', '.join([*self.built_in, *others])}"
            )
        try:
            found = self._load_point(others[name])
        except Exception as error:  # whatever another package's code raises
            raise self.failure(
                f"{self.kind} {name!r} of {_origin(others[name])}: cannot be loaded ({type(error).__name__}: {error})"
            ) from error
        return self._checked(name, found)

    def summary(self, name: str) -> str:
        """Return one line for people: the class's ``summary``, or the first line of its docstring; raises as get."""
        found = self.get(name)
        return str(getattr(found, "summary", "") or (getdoc(found) or "").partition("\n")[0])

    def _load_built_in(self, name: str) -> T:
        found: T = resolve(self.built_in[name], self.package)
        return found

    def _load_point(self, point: EntryPoint) -> Any:
        return point.load()

    def _checked(self, name: str, found: Any) -> T:
        base = resolve(self.base, self.package)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise InputError(f"{self.kind} {name!r}: {found!r} is not a class derived from {base.__name__}")
        made: Any = found
        own: T = made
        return own


def resolve(value: str, package: str) -> Any:
    """Return the attribute of "module:attribute", the module's name relative to ``package``."""
    module, _, attribute = value.partition(":")
    return getattr(import_module(f".{module}", package), attribute)


def registry(kind: str) -> Registry[Any]:
    """Return the registry of a kind (:data:`KINDS`).

    Raises:
        InputError: there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r}: unknown; known kinds: {', '.join(KINDS)}")
    found: Registry[Any] = resolve(KINDS[kind], __name__.rpartition(".toolkit.")[0])
    return found
