"""Where files of a data set are looked for, and how untrusted files are read: bounded before anything is allocated."""

import hashlib
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

from ..errors import FileError, InputError
from ..files import read_bytes

VARIABLE = "SPIKEPROOF_DATA"
"""Environment variable: the folder in which data sets are looked for."""
MOST_BYTES = 2**33
"""A data set that takes more memory than this as float32 is refused before it is read."""


def find_folder(name: str, given: str | None, wanted: Sequence[str], below: Sequence[str], home: str) -> Path:
    """Return the folder that holds one of the files ``wanted``: the given one or ``$SPIKEPROOF_DATA``, or below it.

    Args:
        name: of the data set, for messages.
        given: the recipe's ``data.path``.
        wanted: file names, one of which tells that the set is there; the first is named where it is not.
        below: customary sub-folders.
        home: where to get the files.

    Raises:
        FileError: they are nowhere; the message says where to get them.
    """
    roots = [Path(given)] if given else [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    places = [root / part for root in roots for part in ("", *below)]
    for place in places:
        if any((place / file).exists() for file in wanted):
            return place
    looked = f"looked in {', '.join(map(str, places))}" if places else f"set data.path, or ${VARIABLE}"
    raise FileError(f"data set {name!r}: {wanted[0]} not found ({looked}); nothing is downloaded: get it from {home}")


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's bytes.

    Raises:
        FileError: it cannot be read, or has more than ``limit`` bytes.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    if size > limit:
        raise FileError(f"{path}: {size:,} bytes, expected {limit:,} at most; not a file of this data set")
    return read_bytes(path)


def read_published(path: Path, limit: int, md5: str, home: str) -> bytes:
    """Return the bytes of a file whose MD5 sum was published.

    Raises:
        FileError: it cannot be read, or is another file.
    """
    content = read_bounded(path, limit)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise FileError(f"{path}: is not the published file (MD5 differs); get it from {home}")
    return content


def check_size(source: str, shape: tuple[int, ...]) -> None:
    """Refuse an array of ``shape`` float32 values that takes more than :data:`MOST_BYTES`.

    Raises:
        InputError: it does; says what to lower.
    """
    needed = 4 * prod(shape)
    if needed > MOST_BYTES:
        raise InputError(
            f"{source}: {shape} values take {needed / 2**30:.1f} GiB, {MOST_BYTES / 2**30:.0f} at most; "
            "lower data.train_samples, data.test_samples or coding.steps"
        )
