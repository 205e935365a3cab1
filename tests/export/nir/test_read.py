"""Files that try to hurt their reader; each is written by h5py itself."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.read import read_graph
from spikeproof.toolkit.errors import FileError, UnsupportedError


def graph() -> nir.NIRGraph:
    layer = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([3])}),
            "lif": nir.LIF(*(np.full(3, value) for value in (1e-3, 1.0, 0.0, 1.0, 0.0))),
            "w_rec": nir.Linear(np.eye(3)),
            "output": nir.Output({"output": np.array([3])}),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    return nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([1, 6, 6])}),
            "conv": nir.Conv2d((6, 6), np.ones((2, 1, 3, 3)), 1, "same", 1, 1, np.arange(2.0)),
            "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
            "flatten": nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1),
            "fc": nir.Affine(np.ones((3, 18)), np.zeros(3)),
            "rec": layer,
            "output": nir.Output({"output": np.array([3])}),
        },
        [("input", "conv"), ("conv", "pool"), ("pool", "flatten"), ("flatten", "fc"), ("fc", "rec"), ("rec", "output")],
        type_check=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    nir.write(str(tmp_path / "g.nir"), graph())
    return tmp_path / "g.nir"


def same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)


def test_what_the_package_reads_is_read_the_same(path: Path) -> None:
    found, expected = read_graph(path).to_dict(), nir.read(str(path), type_check=False).to_dict()
    same(found, expected)
    assert found["nodes"]["conv"]["padding"] == "same"


@pytest.mark.parametrize("compression", ["gzip", "lzf", None])
def test_any_packing_of_h5py_is_read(tmp_path: Path, compression: str | None) -> None:
    nir.write(str(tmp_path / "g.nir"), graph(), compression=compression)
    assert read_graph(tmp_path / "g.nir").nodes["fc"].weight.shape == (3, 18)


def test_fields_that_some_exporters_leave_out_are_filled(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/conv/input_shape"], file["node/nodes/conv/bias"]
        del file["node/nodes/rec/nodes/lif/v_reset"]
    found = read_graph(path)
    assert found.nodes["conv"].input_shape is None
    assert found.nodes["conv"].bias is None
    np.testing.assert_array_equal(found.nodes["rec"].nodes["lif"].v_reset, np.zeros(3))
    assert flatten(found, "g").shapes["rec.lif"] == (3,)


def test_numbers_beside_arrays_are_one_for_all_neurons(path: Path) -> None:
    with h5py.File(path, "a") as file:
        group = file["node/nodes/rec/nodes/lif"]
        for name, value in (("r", 1.0), ("v_leak", np.zeros((1, 1))), ("v_threshold", np.array([1.0, 2.0, 3.0]))):
            del group[name]
            group[name] = value
    node = read_graph(path).nodes["rec"].nodes["lif"]
    expected = {"tau": [1e-3] * 3, "r": [1.0] * 3, "v_leak": [0.0] * 3, "v_threshold": [1.0, 2.0, 3.0]}
    same({name: getattr(node, name) for name in expected}, expected)


def test_metadata_is_ignored(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes/conv/metadata/soft_reset"] = 1
    same(read_graph(path).to_dict(), graph().to_dict())


def put(name: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def link(name: str, to: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = to

    return change


def folder(file: h5py.File) -> None:
    del file["node/nodes/fc/weight"]
    file["node/nodes/fc/weight/deep"] = 3


def huge(file: h5py.File) -> None:
    del file["node/nodes/fc/weight"]
    file.create_dataset("node/nodes/fc/weight", shape=(2**20, 2**20), dtype="f8", compression="gzip")


def many_large(file: h5py.File) -> None:
    for index in range(6):
        group = file.create_group(f"node/nodes/fc{index}")
        group["type"] = "Linear"
        group.create_dataset("weight", shape=(2**14, 2**11), dtype="f8", chunks=(2**7, 2**11))


def large_chunk(file: h5py.File) -> None:
    del file["node/nodes/fc/bias"]
    file.create_dataset("node/nodes/fc/bias", shape=(3,), maxshape=(None,), chunks=(2**27,), dtype="f8")


def loop(file: h5py.File) -> None:
    file["node/nodes/rec/nodes/again"] = file["node"]


def long_texts(file: h5py.File) -> None:
    del file["node/edges"]
    file.create_dataset("node/edges", data=np.full((4, 2), "x" * 10_000_000, dtype=object), dtype=h5py.string_dtype())


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3,))
    del file["node/nodes/fc/bias"]
    file.create_virtual_dataset("node/nodes/fc/bias", layout)


def external(file: h5py.File) -> None:
    put("node/nodes/fc/bias", np.zeros(3), external=[(f"{file.filename}.elsewhere", 0, 24)])(file)


def many_nodes(file: h5py.File) -> None:
    for index in range(1100):
        file[f"node/nodes/n{index}"] = file["node/nodes/pool"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put("node/type", "Spike"), r"type 'Spike' is not a node"),
        (put("node/nodes/fc/type", "Conv3d"), "node 'fc': type 'Conv3d' is not a node of NIR"),
        (put("node/nodes/fc/type", 3), "node 'fc': its type is not a text"),
        (put("node/nodes/fc/type", np.array([["a"]], dtype=object)), "node 'fc': its type is not a text"),
        (put("node/nodes/fc", 3), "node 'fc': is not a node"),
        (put("node/nodes/fc/colour", 3), "node 'fc': not a valid Affine .*colour"),
        (put("node/nodes/fc/weight", "heavy"), "node 'fc': not a valid Affine"),
        (folder, "node 'fc': field 'weight': is not an array"),
        (put("node/nodes/fc/weight", h5py.Empty("f8")), "field 'weight': is not an array"),
        (put("node/nodes/fc/weight", np.zeros(3, dtype="c16")), "field 'weight': holds complex128"),
        (put("node/nodes/fc/weight", np.zeros(3, dtype=[("a", "f8")])), "field 'weight': holds"),
        (put("node/nodes/rec/nodes/lif/tau", np.ones(4)), r"node 'rec\.lif': parameters of shapes that do not fit"),
        (put("node/edges", np.zeros((3, 2))), "edges are not pairs of names"),
        (put("node/edges", np.array(["a", "b"], dtype=object)), "edges are not pairs"),
        (put("node/edges", np.array([["a", "b", "c"]], dtype=object)), "edges are not pairs"),
        (put("node/edges", np.full((5000, 2), "a", dtype=object)), "10000 texts .* too many"),
        (put("node/edges", np.full((1, 2, 2), "a", dtype=object)), "edges are not pairs"),
        (put("node/edges", "ab"), "edges are not pairs"),
        (link("node/edges", h5py.SoftLink("/node/type")), "'edges' is a link to another place"),
        (link("node/nodes/fc", h5py.ExternalLink("/etc/passwd", "/")), "'fc' is a link"),
        (link("node/nodes/fc/bias", h5py.ExternalLink("/etc/passwd", "/")), "'bias' is a link"),
        (lambda file: file.pop("node"), "it has no 'node'"),
        (lambda file: file.pop("node/nodes"), "a graph needs nodes and edges"),
        (lambda file: file.pop("node/nodes/fc/type"), "node 'fc': is not a node"),
        (lambda file: file.pop("node/nodes/fc/bias"), "node 'fc': not a valid Affine .*bias"),
        (huge, r"shape \(1048576, 1048576\) is too large"),
        (many_large, "is too large"),
        (large_chunk, "is too large"),
        (loop, "more than 16 graphs within one another|more than 1024 nodes"),
        (long_texts, "a text of 10000000 characters"),
        (virtual, "kept outside the file"),
        (external, "kept outside the file"),
        (many_nodes, "at most 1024"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused_by_place(
    path: Path, change: Callable[[h5py.File], None], why: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(FileError, match=f"{path}.*{why}"):
        read_graph(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "more than 1 GiB was taken"


@pytest.mark.parametrize("content", [b"", b"NIR", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.nir").write_bytes(content)
    with pytest.raises(FileError, match=r"g\.nir: not a readable NIR file"):
        read_graph(tmp_path / "g.nir")


def test_absent_files_folders_and_single_nodes_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent.nir"):
        with pytest.raises(FileError, match="no such file"):
            read_graph(place)
    nir.write(str(tmp_path / "one.nir"), nir.Linear(np.eye(2)))
    with pytest.raises(FileError, match="holds a single Linear, expected a graph"):
        read_graph(tmp_path / "one.nir")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damage_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.nir"
    nir.write(str(path), graph())
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        flatten(read_graph(path), str(path))
    except (FileError, UnsupportedError) as error:
        assert str(error).startswith(str(path))  # noqa: PT017
