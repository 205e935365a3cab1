"""The ``.net`` file (HDF5) of lava-dl 0.6.0: written for its importer ``netx``, and checked against the Program.

A user block in front of the HDF5 data, which HDF5 readers skip, holds the SHA-256 of what follows, so that a damaged
file is known before any of it is parsed.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.files import atomic, digest, read_bytes
from ..program import Program
from .netx_layers import Layer, Net, rewrite

USER_BLOCK = 512
MARK = b"spikeproof netx 1\n"
AGAIN = "write it again from its Program"


def unsupported(program: Program) -> list[str]:
    """Return the reasons why ``program`` has no exact form that lava-dl's importer can load; empty when it has."""
    return rewrite(program)[1]


def netx_layers(program: Program) -> Net:
    """Return the layers that :func:`write_net` writes.

    Raises:
        UnsupportedError: there is no exact form; the message holds every reason.
    """
    net, reasons = rewrite(program)
    if net is None:
        raise UnsupportedError("netx: " + "; ".join(reasons))
    return net


def _neuron(layer: Layer) -> dict[str, Any]:
    """Return the neuron's fields: the importer takes 1 from iDecay."""
    assert layer.du is not None
    return {
        "type": b"CUBA",
        "iDecay": layer.du + 1,
        "vDecay": layer.dv,
        "vThMant": layer.vth,
        "refDelay": 1,
        "gradedSpike": 0,
    }


def _layer(layer: Layer) -> dict[str, Any]:
    """Return a layer's data sets by name."""
    fields: dict[str, Any] = {"type": layer.kind.encode(), "shape": np.array(layer.shape)}
    if layer.du is not None:
        fields |= {f"neuron/{name}": value for name, value in _neuron(layer).items()}
    if layer.kind == "input":
        if layer.du is not None:
            fields |= {"weight": layer.transform[0], "bias": layer.transform[1]}
        return fields
    fields["weight"] = layer.weight
    if layer.loops is not None:
        fields["weight_rec"] = layer.loops
    if layer.bias is not None:
        # The importer turns shapes around but not biases: those it takes as (width, height, channels).
        fields["bias"] = layer.bias.reshape(layer.shape).transpose() if layer.kind == "conv" else layer.bias
    if layer.kind == "conv":
        fields |= {name: np.array(getattr(layer, name)) for name in ("stride", "padding", "dilation")}
        fields["groups"] = layer.groups
    elif layer.delay:
        fields["delay"] = layer.delay
    return fields


def contents(net: Net) -> dict[str, Any]:
    """Return every data set of the file by its path: integers, arrays of them, or ASCII."""
    found: dict[str, Any] = {}
    number = 0
    for index, layer in enumerate(net.layers):
        if index and net.flattened(index):
            found[f"layer/{number}/type"] = b"flatten"
            number += 1
        found |= {f"layer/{number}/{name}": value for name, value in _layer(layer).items()}
        number += 1
    return found


def _stored(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    return array.astype(np.int32) if array.dtype.kind == "i" else array


def write_net(path: Path, program: Program) -> Net:
    """Write ``program`` as a file that ``lava.lib.dl.netx.hdf5.Network`` loads; return its layers.

    Raises:
        UnsupportedError: there is no exact form; the message holds every reason.
        FileError: the file cannot be written.
    """
    net = netx_layers(program)
    with atomic(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=USER_BLOCK) as file:
            for name, value in contents(net).items():
                file[name] = _stored(value)
        with temporary.open("r+b") as raw:
            raw.seek(USER_BLOCK)
            mark = hashlib.file_digest(raw, "sha256").hexdigest().encode()
            raw.seek(0)
            raw.write(MARK + mark + b"\n")
    return net


def _strange(group: h5py.Group, prefix: str, expected: dict[str, Any]) -> Iterator[str]:
    """Yield names in a group that are not expected, and expected ones that are not there.

    The importer counts members, so that a link to what is in the file, or in another, matters as much as data.
    """
    wanted = {name[len(prefix) :].partition("/")[0] for name in expected if name.startswith(prefix)}
    for name in sorted(wanted | set(group)):
        place = prefix + name
        linked = name in wanted and isinstance(group.get(name, getlink=True), h5py.HardLink)
        if not linked or isinstance(group[name], h5py.Dataset) != (place in expected):
            yield place
        elif place not in expected:
            yield from _strange(group[name], f"{place}/", expected)


def check_net(path: Path, program: Program) -> None:
    """Check that ``path`` is whole and holds ``program``, data set by data set; nothing is read that is not expected.

    Raises:
        FileError: missing, damaged, foreign, or of another Program; the message names the place.
        UnsupportedError: ``program`` has no exact form.
    """
    expected = contents(netx_layers(program))
    data = read_bytes(path)
    if data[: len(MARK)] != MARK or len(data) < USER_BLOCK:
        raise FileError(f"{path}: not a .net file of spikeproof; {AGAIN}")
    if data[len(MARK) : len(MARK) + 64] != digest(data[USER_BLOCK:]).encode():
        raise FileError(f"{path}: damaged, its SHA-256 is another; {AGAIN}")
    try:
        with h5py.File(path, "r") as file:
            strange = next(_strange(file, "", expected), None)
            if strange is not None:
                raise FileError(f"{path}: {strange} is missing or too much; {AGAIN}")
            for name, value in expected.items():
                item, array = file[name], _stored(value)
                if item.shape != array.shape or item.dtype != array.dtype or item.is_virtual or item.external:
                    raise FileError(
                        f"{path}: {name} is {item.dtype} {item.shape}, expected {array.dtype} {array.shape}; {AGAIN}"
                    )
                if not np.array_equal(item[()], array):
                    raise FileError(f"{path}: {name} differs from the Program; {AGAIN}")
    except FileError:
        raise
    except Exception as error:  # h5py raises many kinds on what is not HDF5 within
        raise FileError(f"{path}: cannot be parsed ({type(error).__name__}); {AGAIN}") from error
