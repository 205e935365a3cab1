"""Chips: their limits, what a Program asks of them, and where it lies on one. Found by name."""

import tomllib
from importlib import resources
from importlib.metadata import EntryPoint
from typing import Any

from ...toolkit.errors import InputError
from ...toolkit.registry import Registry, resolve


class Chips(Registry[Any]):
    """Chips are data: the built-in ones stand in ``chips.toml``, each in a table of its own, read as ``limits.Limits``.

    Another package's entry point is "package:file.toml": a file of its own, which holds what such a table holds.
    """

    def __init__(self) -> None:
        text = resources.files(__name__).joinpath("chips.toml").read_text(encoding="utf-8")
        self.tables = tomllib.loads(text)
        super().__init__("chip", __name__, dict.fromkeys(self.tables, "chips.toml"), base="limits:Limits")

    def _load_built_in(self, name: str) -> Any:
        return self._limits(self.tables[name])

    def _load_point(self, point: EntryPoint) -> Any:
        if not point.attr.endswith(".toml"):
            raise InputError(f"entry point {point.value!r}, expected 'package:file.toml'")
        return self._limits(tomllib.loads(resources.files(point.module).joinpath(point.attr).read_text("utf-8")))

    def _limits(self, table: dict[str, Any]) -> Any:
        return resolve(self.base, self.package).model_validate(table)

    def _checked(self, name: str, found: Any) -> Any:
        return found

    def summary(self, name: str) -> str:
        """Return the chip's title."""
        return str(self.get(name).title)


CHIPS = Chips()
