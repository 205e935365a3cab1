"""The samples of a Program from elsewhere: what the user gave, as images or spikes of its input's shape."""

import io
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import FileError, InputError
from ...toolkit.files import atomic, digest, read_bytes
from ..records.imported import read_imported

if TYPE_CHECKING:
    from ...toolkit.data import Dataset, Images, Labels


def image_shape(given: tuple[int, ...], shape: tuple[int, ...], source: str) -> tuple[int, int, int]:
    """Return (channels, height, width) of a step of the input, for arrays of ``given`` shape a step.

    Input without an order in space, (neurons,), takes images of as many pixels, in the order of memory.

    Raises:
        InputError: the array does not fit.
    """
    if len(shape) == 3:
        wanted = (shape[0], shape[1], shape[2])
        if given == wanted or (shape[0] == 1 and given == shape[1:]) or given == (prod(shape),) == (max(shape),):
            return wanted
    elif prod(given) == prod(shape) and len(given) <= 3:
        sizes = (1,) * (3 - len(given)) + given
        return sizes[0], sizes[1], sizes[2]
    raise InputError(f"{source}: {given} a step, but the Program's input is {shape}; reshape them")


def write_samples(path: Path, images: "Images", labels: "Labels") -> None:
    """Write images or spikes (samples, ...) and labels (samples,)."""
    content = io.BytesIO()
    packed = images.astype(np.uint8) if images.ndim == 5 else images
    np.savez_compressed(content, x=packed, y=labels)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_samples(path: Path, record: Path) -> "Dataset":
    """Return the samples beside an import's record: all are for testing, none for training.

    Raises:
        FileError: missing, damaged, or not what the record says.
    """
    from ...toolkit.data import Dataset, read_npz

    about = read_imported(record)
    arrays: list[NDArray[Any]] = read_npz(path, ("x", "y"))
    x, y = arrays[0].astype(np.float32), arrays[1].astype(np.int64)
    steps = (about.steps,) if about.coding == "events" else ()
    if x.shape != (about.samples, *steps, *about.shape) or y.shape != (about.samples,):
        raise FileError(f"{path}: not the samples of {record.name}; import the Program again")
    own = "" if about.labels == "file" else ", labelled by the Program's own answers"
    return Dataset(
        about.name,
        about.classes,
        x[:0],
        y[:0],
        x,
        y,
        digest(read_bytes(path)),
        "events" if steps else "image",
        title=f"samples of {about.name}{own}",
    )
