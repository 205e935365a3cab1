"""An attack that was interrupted: what it made so far, and where its random generators were."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..code import code_hash
from ..data import Images
from ..errors import FileError
from ..files import read_arrays, write_arrays

KIND = "attack state"


@dataclass
class Progress:
    """The batches that are done, in order."""

    made: list[Images]


def load(path: Path, identity: str) -> Progress:
    """Return the progress in ``path`` and put the generators where they were when it was written.

    Raises:
        FileError: damaged, or of another attack, victim, input or code.
    """
    arrays, header = read_arrays(path, KIND)
    if header.get("identity") != identity:
        raise FileError(f"{path}: belongs to another attack, victim or input; delete it to start over")
    if header.get("code") != code_hash():
        raise FileError(f"{path}: begun by other code than this one; delete it to start over")
    try:
        made = [arrays[f"batch{number}"] for number in range(header["batches"])]
        python = (3, tuple(int(word) for word in arrays["python"]), header["python_gauss"])
        position, has_gauss, gauss = header["numpy"]
        random.setstate(python)
        np.random.set_state(("MT19937", arrays["numpy"], position, has_gauss, gauss))  # noqa: NPY002
        torch.random.set_rng_state(torch.from_numpy(arrays["torch"].copy()))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(f"{path}: damaged ({type(error).__name__}); delete it to start over") from error
    return Progress(made)


def save(path: Path, identity: str, progress: Progress) -> None:
    """Write the progress, and where the generators are, atomically."""
    _, words, python_gauss = random.getstate()
    state: Any = np.random.get_state()  # noqa: NPY002
    arrays: dict[str, NDArray[Any]] = {f"batch{number}": made for number, made in enumerate(progress.made)}
    arrays["python"] = np.array(words, dtype=np.uint32)
    arrays["numpy"] = np.asarray(state[1], dtype=np.uint32)
    arrays["torch"] = torch.random.get_rng_state().numpy()
    header = {
        "identity": identity,
        "code": code_hash(),
        "batches": len(progress.made),
        "python_gauss": python_gauss,
        "numpy": [int(state[2]), int(state[3]), float(state[4])],
    }
    write_arrays(path, KIND, arrays, header)
