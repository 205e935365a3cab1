"""What the make_*.py scripts beside it share: a file of integer arrays and the cases that they belong to."""

import json
import os
from importlib.metadata import version
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Array = np.ndarray[Any, np.dtype[Any]]


class Golden:
    """Arrays and cases gathered so far.

    Args:
        package: the distribution whose behaviour is recorded.
        script: the name of the script that records it.
    """

    def __init__(self, package: str, script: str) -> None:
        self.source = f"{package} {version(package)}"
        self.made_by = f"tests/golden/{script}"
        self.arrays: dict[str, Array] = {}
        self.cases: dict[str, dict[str, Any]] = {}

    def add(self, name: str, values: Any, dtype: type = np.int32) -> None:
        """Keep an array of integers; refuse values that ``dtype`` would change."""
        exact = np.asarray(values)
        # safetensors writes memory as it lies.
        self.arrays[name] = np.ascontiguousarray(exact, dtype=dtype)
        if (self.arrays[name] != exact).any():
            raise RuntimeError(f"{name}: values do not fit {dtype.__name__}")

    def write(self, path: str) -> None:
        """Write everything at once."""
        header = {"kind": "golden", "cases": self.cases, "made_by": self.made_by, "source": self.source}
        save_file(self.arrays, path + ".part", metadata={"spikeproof": json.dumps(header, sort_keys=True)})
        os.chmod(path + ".part", 0o644)
        os.replace(path + ".part", path)
