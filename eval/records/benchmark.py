"""The record of a benchmark: the header, and whatever its script in benchmarks/ found."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from .base import Record, read_model


class Benchmark(Record):
    """What a script measured; its own keys stand beside those of the header."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: each script wrote the part of a header that it thought of."""
        names = [values[key] for key in ("method", "family", "what", "machine_class") if key in values]
        older = {"name": names[0]} if names else {}
        if "versions" in values:
            older["packages"] = values["versions"]
        return super().of_schema_1(older | values)


def read(path: Path) -> Benchmark:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Benchmark, path, "run the script in benchmarks/ that wrote it")
