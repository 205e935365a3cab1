"""Files are written atomically and read without ever executing what is in them."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import FileError

Arrays = dict[str, NDArray[Any]]

_KEY = "spikeproof"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` only if the block succeeds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private to the user; give the result the mode that any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


STEP = "run the step that writes it first"
"""What to do about a file that spikeproof itself should have written."""


def given_path(path: Path) -> str:
    """Return what to do about a missing file that the user named."""
    if not str(path).isprintable():
        return (
            "the name holds a line break or a tab: \\n and \\t in double quotes are such; write '/', or single quotes"
        )
    if "\\" in str(path) and os.sep != "\\":
        return "back-slashes separate folders on Windows only: write '/'"
    return "check the path" if path.is_absolute() else f"check the path, which is looked for from {Path.cwd()}"


def read_bytes(path: Path, missing: str = STEP) -> bytes:
    """Return a file's bytes.

    Args:
        path: the file.
        missing: what to do if there is none.

    Raises:
        FileError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file; {missing}") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return ``value`` as the indented JSON that :func:`write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; raises :class:`FileError` naming file and line."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not a JSON file ({error}); write it again with the step that made it") from error


def check_format(path: Path, found: Any, known: int) -> int:
    """Return the format version of a file.

    Args:
        path: the file, for messages.
        found: what it says its version is; a file without one is of format 1.
        known: the newest version that this spikeproof reads.

    Raises:
        FileError: the version is newer, or none.
    """
    if type(found) is not int or found < 1:
        raise FileError(f"{path}: format {found!r} is not a version; write it again with the step that made it")
    if found > known:
        raise FileError(
            f"{path}: written by a newer spikeproof (format {found}, this one reads up to {known}): upgrade spikeproof"
        )
    return found


def write_arrays(
    path: Path, kind: str, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any], version: int = 1
) -> None:
    """Write named arrays and a JSON header as one safetensors file.

    Args:
        path: where to; replaced atomically.
        kind: what the file is ("model", "program", ...); checked on reading.
        arrays: numeric arrays by name.
        header: JSON values that describe them.
        version: of the kind's format.
    """
    meta = {_KEY: json.dumps({**header, "kind": kind, "format": version}, sort_keys=True, allow_nan=False)}
    data = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata=meta)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read_arrays(path: Path, kind: str, version: int = 1) -> tuple[Arrays, dict[str, Any]]:
    """Return ``(arrays, header)`` of a file that :func:`write_arrays` wrote.

    Args:
        path: the file.
        kind: that it must be of.
        version: the newest format of that kind that can be read.

    Raises:
        FileError: the file is missing, corrupt, foreign, of another kind, or written by a newer spikeproof.
    """
    data = read_bytes(path)
    try:
        arrays: Arrays = load(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"{path}: not a spikeproof {kind} file or damaged ({type(error).__name__}); "
            "write it again with the step that made it"
        ) from error
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else header
        raise FileError(f"{path}: holds {found!r}, expected {kind!r}; give the file of the right step")
    check_format(path, header.get("format", 1), version)
    return arrays, header


def digest(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
