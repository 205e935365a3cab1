"""Cora and Citeseer: citation graphs with Planetoid's split; nothing is ever unpickled."""

import pickletools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from .archive import unzipped
from .graph import Features, Graph, GraphSource, Indices, undirected
from .places import find_folder, read_published

HOME = "github.com/kimiyoung/planetoid, folder data"
LIMIT = 2**21
CORA = "cora.npz"
CORA_MD5 = "b14b82c6080a4ad9d1e938a6bace5cf8"
CITESEER = {
    "x": "baeb0100b5a8af8d41f928113ce0a4e5",
    "tx": "c25ab826a7e95c0922ab625de705f7df",
    "allx": "28486b4b9c4ee076b4eee2febd89ba86",
    "y": "8b99f50aa950fbbf9a7a2b71ff9cac97",
    "ty": "356894a73b7a7eff43c3580f2fcf92a4",
    "ally": "f0df7e5f859245e32987bfd224d01657",
    "graph": "5f88483d5f5cc2b26b987bbbfb695005",
    "test.index": "70af39d4dff8aaa5c63f8dc526b16534",
}
"""MD5 of the published files ``ind.citeseer.*``."""
VALIDATION = 500
"""Nodes after the training nodes that the split sets aside."""
_NUMBERS = {"BININT", "BININT1", "BININT2"}
_STORED = {"PROTO", "BINPUT", "LONG_BINPUT", "STOP"}


def _of_rows(indptr: NDArray[Any], columns: NDArray[Any], width: int) -> Features:
    """Return a matrix of zeros and ones, from where the ones of each row are."""
    rows = np.zeros((len(indptr) - 1, width), np.float32)
    rows[np.repeat(np.arange(len(rows)), np.diff(indptr)), columns] = 1
    return rows


class Cora(GraphSource):
    """Cora, 2708 papers of 7 subjects, 1433 words, 5278 citations; 140 papers are labelled, 1000 tested."""

    title: ClassVar[str] = "Cora, Planetoid split"

    def graph(self) -> Graph:
        """Return the graph of the file ``cora.npz``, which holds no pickles."""
        home = f"docs/data.md, which says how it was made from {HOME}"
        path = find_folder("cora", self.path, (CORA,), ("planetoid",), home) / CORA
        names = ("x_indptr", "x_indices", "x_shape", "labels", "edges", "train_index", "val_index", "test_index")
        given = unzipped(path, read_published(path, LIMIT, CORA_MD5, home), names)
        indptr, columns, shape, labels, edges, train, validation, test = (each.astype(np.int64) for each in given)
        features = _of_rows(indptr, columns, int(shape[1]))
        return Graph(
            features,
            undirected(edges[0], edges[1], len(features)),
            labels,
            train,
            validation,
            test,
            int(labels.max()) + 1,
        )


def arrays_of(content: bytes, path: Path) -> tuple[list[bytes], list[int]]:
    """Return the raw bytes of the arrays in a pickle of protocol 2, in order, and its whole numbers; none is executed.

    Raises:
        FileError: it is something else.
    """
    raw, numbers = [], []
    try:
        for opcode, value, _ in pickletools.genops(content):
            if opcode.name == "BINSTRING":
                raw.append(str(value).encode("latin-1"))
            elif opcode.name in _NUMBERS:
                numbers.append(int(value))  # type: ignore[arg-type]
    except ValueError as error:
        raise FileError(f"{path}: not a pickle of protocol 2 ({error}); get it from {HOME}") from error
    return raw, numbers


def lists_of(content: bytes, path: Path) -> dict[int, list[int]]:
    """Return the table of lists of whole numbers in a pickle of protocol 2, read as data: no opcode is executed.

    Raises:
        FileError: it holds anything else.
    """
    found: dict[int, list[int]] = {}
    stack: list[int | list[int] | None] = []  # None is a mark

    def since_mark() -> list[int | list[int] | None]:
        place = len(stack) - 1 - stack[::-1].index(None)
        above = stack[place + 1 :]
        del stack[place:]
        return above

    try:
        for opcode, value, _ in pickletools.genops(content):
            name = opcode.name
            if name == "GLOBAL" and value in ("collections defaultdict", "__builtin__ list"):
                continue
            if name in ("TUPLE1", "REDUCE", *_STORED):  # makes the table itself, or names something to come back to
                continue
            if name in _NUMBERS:
                stack.append(int(value))  # type: ignore[arg-type]
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "MARK":
                stack.append(None)
            elif name in ("APPEND", "APPENDS"):
                given = since_mark() if name == "APPENDS" else [stack.pop()]
                stack[-1].extend(given)  # type: ignore[union-attr, arg-type]
            elif name == "SETITEMS":
                pairs = since_mark()
                found.update(zip(pairs[::2], pairs[1::2], strict=True))  # type: ignore[arg-type]
            else:
                raise FileError(f"{path}: holds {name} {value or ''}, which no graph of Planetoid does; not read")
    except (ValueError, IndexError, AttributeError) as error:
        raise FileError(f"{path}: not a table of lists of numbers ({error}); get it from {HOME}") from error
    return found


class Citeseer(GraphSource):
    """Citeseer, 3327 papers of 6 subjects, 3703 words; 120 papers are labelled, 1000 tested.

    15 numbers among the test papers belong to papers without features, citations and label: they are isolated nodes of
    class 0 that nobody trains on or tests.
    """

    title: ClassVar[str] = "Citeseer, Planetoid split"

    def graph(self) -> Graph:
        """Return the graph of the published files, which are pickles of Python 2, read as data."""
        wanted = tuple(f"ind.citeseer.{name}" for name in CITESEER)
        folder = find_folder("citeseer", self.path, wanted, ("planetoid",), HOME)
        paths = {name: folder / f"ind.citeseer.{name}" for name in CITESEER}
        files = {name: read_published(path, LIMIT, CITESEER[name], HOME) for name, path in paths.items()}
        known, tested = (self._matrix(files[name], paths[name]) for name in ("allx", "tx"))
        labels = [self._labels(files[name], paths[name]) for name in ("ally", "ty")]
        test = np.array(files["test.index"].split(), dtype=np.int64)
        neighbours = lists_of(files["graph"], paths["graph"])
        features = np.zeros((len(neighbours), known.shape[1]), np.float32)
        classes = np.zeros(len(neighbours), np.int64)
        features[: len(known)], features[test] = known, tested
        classes[: len(known)], classes[test] = labels
        start = np.repeat(list(neighbours), [len(ends) for ends in neighbours.values()])
        edges = undirected(
            start, np.concatenate([np.array(ends, np.int64) for ends in neighbours.values()]), len(features)
        )
        labelled = len(self._labels(files["y"], paths["y"]))
        train, validation = np.split(np.arange(labelled + VALIDATION), [labelled])
        return Graph(features, edges, classes, train, validation, np.sort(test), int(classes.max()) + 1)

    @staticmethod
    def _matrix(content: bytes, path: Path) -> Features:
        raw, numbers = arrays_of(content, path)
        indptr, columns = (np.frombuffer(each, "<i4") for each in raw[:2])
        width = next(number for number in numbers[numbers.index(len(indptr) - 1) + 1 :])  # after the number of rows
        return _of_rows(indptr, columns, width)

    @staticmethod
    def _labels(content: bytes, path: Path) -> Indices:
        raw, _ = arrays_of(content, path)
        one_hot = np.frombuffer(raw[0], "<i4").reshape(-1, 6)
        return np.asarray(one_hot.argmax(1), dtype=np.int64)
