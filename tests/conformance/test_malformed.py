"""Damaged and forged files of every kind: refused by an exception of ours that names the place, or sound.

Hypothesis cuts, flips and overwrites real files, and changes what is in them: header values, arrays, nodes, edges,
links, operators. Each is read in a process with limited memory and time (malformed_worker.py). Never may a reader
crash, hang, take more than it states, or accept what is not sound: a Program that is read is valid, has the original's
SHA-256 exactly if it is the original, and runs alike on loihi and onnx.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from safetensors.numpy import save

from spikeproof.export.formats.netx import MARK, USER_BLOCK
from spikeproof.export.program import read_program

# --- how it is damaged


NUMBERS = [-1, 0, 1, 2, 7, 255, 2**16, 2**20, 2**31 - 1, 2**31, 2**63, 10**30, -(2**40), 0.5, 1e308, -1e-320]
WORDS = ["", "a", "b", "input", "mixed", "lava", "x" * 5000, "../../etc/passwd", "\0", "ä", "dense", "graded"]
VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        float("nan"),
        float("inf"),
        [],
        {},
        [[]],
        [1],
        [2, 3],
        [-1, 1],
        [2**40, 2**40],
        *NUMBERS,
        *WORDS,
    ]
)


def inside(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) within JSON values."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [pair for key in keys for pair in ((value, key), *inside(value[key]))]


def spoil(draw: st.DrawFn, value: Any) -> None:
    """Change something within JSON values: replace, nudge, remove, repeat, rename, or add."""
    for _ in range(draw(st.integers(1, 2))):
        container, key = draw(st.sampled_from(inside(value)))
        how = draw(
            st.sampled_from(["replace", "replace", "nudge", "nudge", "remove", "repeat", "rename", "add", "swap"])
        )
        if how == "nudge" and type(container[key]) in (int, float):
            container[key] += draw(st.sampled_from([-1, 1, 2, -4, 0.5]))
        elif how == "remove":
            del container[key]
        elif how == "repeat" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif how == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(WORDS))] = container.pop(key)
        elif how == "add" and isinstance(container, dict):
            container[draw(st.sampled_from(["extra", "weight", "start", "delay"]))] = draw(VALUES)
        elif how == "swap" and isinstance(container, list):
            container.reverse()
        else:
            container[key] = draw(VALUES)
        if not inside(value):
            return


TYPES = [np.float32, np.float64, np.int64, np.uint8, np.int8, np.bool_, np.float16, np.int32]


def bent(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """Return an array with another type, shape, size or value."""
    how = draw(st.sampled_from(["type", "shape", "value", "value", "grow", "empty", "scalar", "order"]))
    if how == "type":
        return array.astype(draw(st.sampled_from(TYPES)))
    if how == "shape":
        return array.reshape(draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (*array.shape, 1)])))
    if how == "grow":
        return np.concatenate([array, array], axis=draw(st.integers(0, array.ndim - 1))) if array.ndim else array[None]
    if how == "empty":
        return array[:0] if array.ndim else np.zeros(0, array.dtype)
    if how == "scalar":
        return np.array(array.reshape(-1)[0] if array.size else 0)
    if how == "order":
        return np.ascontiguousarray(array.reshape(-1)[::-1].reshape(array.shape))
    changed = array.copy()
    if changed.size and changed.dtype.kind in "fiu":
        real = [np.nan, np.inf, -1e300, 1e-320, -1.0, 0.0, 1e9] if changed.dtype.kind == "f" else []
        limits = [] if real else [np.iinfo(changed.dtype).min, np.iinfo(changed.dtype).max, 0, 1, 2, 100, -2 % 100]
        with np.errstate(over="ignore"):
            changed.flat[draw(st.integers(0, changed.size - 1))] = draw(st.sampled_from(real or limits))
    return changed


Many = Callable[[int], Callable[[Callable[[st.DataObject], None]], None]]


# --- Programs


@pytest.mark.parametrize("name", ["wide", "chain"])
def test_program_files_with_other_bytes(name: str, real: Path, worker: Any, many: Many) -> None:
    @many(250)
    def law(data: st.DataObject) -> None:
        path = worker.folder / "p.safetensors"
        path.write_bytes(data.draw(worker.damaged((real / name).read_bytes())))
        worker.read(kind="program", path=str(path), place=str(path), original=str(real / name))


@pytest.mark.parametrize("name", ["wide", "chain"])
def test_programs_with_other_contents(name: str, real: Path, worker: Any, many: Many) -> None:
    @many(250)
    def law(data: st.DataObject) -> None:
        program, path = read_program(real / name), worker.folder / "p.safetensors"
        header, arrays = program.header(), {key: array.copy() for key, array in program.arrays().items()}
        if data.draw(st.booleans()):
            spoil(data.draw, header["program"])
        else:
            key = data.draw(st.sampled_from(sorted(arrays)))
            how = data.draw(st.sampled_from(["bend", "bend", "bend", "remove", "rename"]))
            array = arrays.pop(key) if how in ("remove", "rename") else arrays[key]
            if how == "bend":
                arrays[key] = bent(data.draw, array)
            elif how == "rename":
                arrays[data.draw(st.sampled_from(["bias/b", "weight/9", "x"]))] = array
        # Past the writer, which refuses what JSON does not know.
        path.write_bytes(save(arrays, metadata={"spikeproof": json.dumps({"kind": "program", **header})}))
        worker.read(kind="program", path=str(path), place=str(path), original=str(real / name))


# --- NIR files: ours with their side-car, and anyone's


def test_nir_files_with_other_bytes(real: Path, worker: Any, many: Many) -> None:
    @many(150)
    def law(data: st.DataObject) -> None:
        path, content = worker.folder / "n.nir", (real / "n.nir").read_bytes()
        changed = data.draw(worker.damaged(content))
        path.write_bytes(changed)
        path.with_suffix(".json").write_bytes((real / "n.json").read_bytes())
        found = worker.read(kind="nir", path=str(path), place=str(worker.folder), original=str(real / "n"))
        assert (found["outcome"] == "accepted") == (changed == content)


def test_side_cars_with_other_values(real: Path, worker: Any, many: Many) -> None:
    @many(150)
    def law(data: st.DataObject) -> None:
        path = worker.folder / "n.nir"
        path.write_bytes((real / "n.nir").read_bytes())
        values = json.loads((real / "n.json").read_text())
        if data.draw(st.booleans()):
            spoil(data.draw, values)
            content = json.dumps(values).encode()
        else:
            content = data.draw(worker.damaged((real / "n.json").read_bytes()))
        path.with_suffix(".json").write_bytes(content)
        worker.read(kind="nir", path=str(path), place=str(worker.folder), original=str(real / "n"))


def twisted(draw: st.DrawFn, path: Path, paths: list[str]) -> None:
    """Change something within an HDF5 file."""
    with h5py.File(path, "r+") as file:
        name = draw(st.sampled_from(paths))
        how = draw(
            st.sampled_from(["bend", "bend", "remove", "rename", "link", "more", "huge", "word", "copy", "group"])
        )
        item = file[name]
        if how == "bend" and isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
            array = bent(draw, np.asarray(item[()]))
            del file[name]
            file[name] = array
        elif how == "rename":
            file.move(name, name + draw(st.sampled_from(["x", ".a", " "])))
        elif how == "more":
            # To itself or a neighbour, by a second name: readers that count members would see one more.
            parent, link = file[name].parent, draw(st.sampled_from(["soft", "hard", "loop"]))
            parent["again"] = {"soft": h5py.SoftLink(f"/{name}"), "hard": file[name], "loop": parent}[link]
        elif how == "copy":
            parent = name.rpartition("/")[0]
            file.copy(name, f"{parent}/{draw(st.sampled_from(['again', '9', 'input2']))}")
        elif how in ("link", "huge", "word", "group"):
            del file[name]
            if how == "link":
                links = [h5py.SoftLink("/"), h5py.SoftLink(paths[0]), h5py.ExternalLink("/etc/passwd", "/")]
                file[name] = draw(st.sampled_from(links))
            elif how == "huge":
                shape = draw(st.sampled_from([(2**40,), (2**31, 2**31), (2**28,), (2**17, 2**12)]))
                file.create_dataset(name, shape, "f4", chunks=(1024,) * len(shape), compression="gzip")
            elif how == "word":
                file[name] = draw(st.sampled_from(["LIF", "NIRGraph", "Conv2d", "x" * 9999, "input", "Flatten", "IF"]))
            else:
                file.create_group(name)
        else:
            del file[name]


def rewired(draw: st.DrawFn, path: Path) -> None:
    """Add, remove or turn edges: loops, doubles, names of nothing."""
    with h5py.File(path, "r+") as file:
        edges = [[end.decode() for end in edge] for edge in file["node/edges"][()]]
        names = [*file["node/nodes"], "nowhere", ""]
        for _ in range(draw(st.integers(1, 3))):
            how = draw(st.sampled_from(["add", "remove", "turn", "double", "many"]))
            if how == "add":
                edges.append([draw(st.sampled_from(names)), draw(st.sampled_from(names))])
            elif edges and how == "remove":
                edges.pop(draw(st.integers(0, len(edges) - 1)))
            elif edges and how == "turn":
                edges[draw(st.integers(0, len(edges) - 1))].reverse()
            elif edges and how == "double":
                edges.append(edges[0])
            elif edges:
                edges *= 40
        del file["node/edges"]
        file["node/edges"] = np.array(edges or np.zeros((0, 2)), dtype=h5py.string_dtype())


def members(path: Path) -> list[str]:
    names: list[str] = []
    with h5py.File(path) as file:
        file.visit(names.append)
    return names


def test_nir_files_with_other_contents(real: Path, worker: Any, many: Many) -> None:
    @many(250)
    def law(data: st.DataObject) -> None:
        path = worker.folder / "n.nir"
        path.write_bytes((real / "n.nir").read_bytes())
        if data.draw(st.integers(0, 3)) == 0:
            rewired(data.draw, path)
        else:
            twisted(data.draw, path, members(real / "n.nir"))
        # The pair belongs together again, so that the hash in the side-car does not save the reader.
        values = json.loads((real / "n.json").read_text()) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        path.with_suffix(".json").write_text(json.dumps(values))
        worker.read(kind="nir", path=str(path), place=str(worker.folder), original=str(real / "n"))
        worker.read(kind="foreign", path=str(path), place="")


def test_foreign_nir_files_with_other_bytes(real: Path, worker: Any, many: Many) -> None:
    @many(250)
    def law(data: st.DataObject) -> None:
        path = worker.folder / "f.nir"
        path.write_bytes(data.draw(worker.damaged((real / "n.nir").read_bytes())))
        worker.read(kind="foreign", path=str(path), place="")


# --- .net files


def test_net_files_with_other_bytes(real: Path, worker: Any, many: Many) -> None:
    @many(150)
    def law(data: st.DataObject) -> None:
        path, content = worker.folder / "c.net", (real / "chain.net").read_bytes()
        changed = data.draw(worker.damaged(content))
        path.write_bytes(changed)
        found = worker.read(kind="net", path=str(path), place=str(path), original=str(real / "fixed"))
        # What lies behind the hash in the user block is read by nobody.
        assert (found["outcome"] == "accepted") == (
            changed[USER_BLOCK:] == content[USER_BLOCK:] and changed[:82] == content[:82]
        )


def marked(content: bytes) -> bytes:
    """Return a file with the hash that it should have."""
    block = MARK + hashlib.sha256(content[USER_BLOCK:]).hexdigest().encode() + b"\n"
    return block.ljust(USER_BLOCK, b"\0") + content[USER_BLOCK:]


def test_net_files_with_other_contents_and_the_right_hash(real: Path, worker: Any, many: Many) -> None:
    @many(150)
    def law(data: st.DataObject) -> None:
        path, content = worker.folder / "c.net", (real / "chain.net").read_bytes()
        if data.draw(st.booleans()):
            path.write_bytes(marked(data.draw(worker.damaged(content))))
        else:
            path.write_bytes(content)
            twisted(data.draw, path, members(real / "chain.net"))
            path.write_bytes(marked(path.read_bytes()))
        found = worker.read(kind="net", path=str(path), place=str(path), original=str(real / "fixed"))
        if found["outcome"] == "accepted":
            assert inventory(path) == inventory(real / "chain.net")


def test_foreign_net_files_with_other_contents(real: Path, worker: Any, many: Many) -> None:
    @many(250)
    def law(data: st.DataObject) -> None:
        path, content = worker.folder / "l.net", (real / "lava-dl.net").read_bytes()
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(worker.damaged(content)))
        else:
            path.write_bytes(content)
            twisted(data.draw, path, members(real / "lava-dl.net"))
        worker.read(kind="lava-dl", path=str(path), place=str(path))


def inventory(path: Path) -> dict[str, Any]:
    """Return the values of an HDF5 file by name; loops and links that lead elsewhere are kept as what they are."""
    found: dict[str, Any] = {}

    def walk(group: h5py.Group, prefix: str) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            item = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(item, h5py.Group) and prefix.count("/") < 9:
                walk(item, f"{prefix}{name}/")
            else:
                found[prefix + name] = str(link) if item is None else (str(item.dtype), np.asarray(item[()]).tolist())

    with h5py.File(path) as file:
        walk(file, "/")
    return found


def test_the_files_that_are_damaged_are_sound(real: Path, worker: Any) -> None:
    for kind, name, original in (
        ("program", "wide", "wide"),
        ("program", "chain", "chain"),
        ("nir", "n.nir", "n"),
        ("foreign", "n.nir", "n"),
        ("onnx", "wide.onnx", "wide"),
        ("net", "chain.net", "fixed"),
        ("lava-dl", "lava-dl.net", "fixed"),
    ):
        found = worker.read(kind=kind, path=str(real / name), place="", original=str(real / original))
        assert found["outcome"] == "accepted"
        assert found.get("ran", True)


@pytest.mark.parametrize("fault", ["raises", "takes too much", "takes a lot", "dies", "hangs"])
def test_faults_of_a_reader_are_noticed(fault: str, worker: Any) -> None:
    expected = {
        "raises": "KeyError",
        "takes too much": "MemoryError",
        "takes a lot": "bytes more",
        "dies": "died with status -6",
        "hangs": "Timeout",
    }
    with pytest.raises((AssertionError, pytest.fail.Exception), match=expected[fault]):
        worker.read(kind=fault, path="", place="")


def test_as_many_cases_as_promised(worker: Any, share: float) -> None:
    if {kind.split()[0] for kind in worker.cases} < {"program", "nir", "foreign", "net", "lava-dl"}:
        pytest.skip("only some of this file's tests were run")
    assert sum(worker.cases.values()) >= 2000 * share, worker.cases
    # Much is refused, but what is read must have been looked at, too.
    assert worker.cases["program accepted"] > 20 * share
