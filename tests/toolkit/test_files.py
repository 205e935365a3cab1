import json
import os
import struct
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import save

from spikeproof.toolkit.errors import FileError
from spikeproof.toolkit.files import atomic, read_arrays, read_bytes, read_json, write_arrays, write_json, write_text

DTYPES = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
DTYPES += [np.float16, np.float32, np.float64]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "file.safetensors"


def write_half(path: Path, error: BaseException) -> None:
    with atomic(path) as temporary:
        temporary.write_text("half of the new")
        raise error


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_a_failing_block_makes_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "file", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_is_there_until_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert not path.exists()
        temporary.write_text("new")
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("file", "new")]


def test_a_written_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "ours", "")
        (tmp_path / "plain").touch()
    finally:
        os.umask(mask)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file/inner: cannot be written"):
        write_text(tmp_path / "file" / "inner", "")


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write_text(tmp_path, "")


def test_json_that_is_not_json_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "file.json", {"share": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b'{"a": 1} x'], ids=lambda c: c[:4].hex()
)
def test_damaged_json_is_a_file_error_with_the_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"file\.json"):
        read_json(path)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x, max_size=3)))
def test_json_round_trip(scratch: Path, value: Any) -> None:
    write_json(scratch.with_suffix(".json"), value)
    assert read_json(scratch.with_suffix(".json")) == value


@pytest.mark.parametrize("read", [read_bytes, read_json, lambda path: read_arrays(path, "model")])
def test_missing_files_and_folders_are_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(FileError, match=r"absent: no such file"):
        read(tmp_path / "absent")
    with pytest.raises(FileError, match=tmp_path.name):
        read(tmp_path)


arrays = st.dictionaries(
    st.text("abc/._0", min_size=1, max_size=6),
    st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0, max_side=3))),
    max_size=3,
)


@given(arrays, st.dictionaries(st.sampled_from("xyz"), st.integers() | st.text() | st.lists(st.floats(0, 1))))
def test_arrays_and_header_come_back_bit_for_bit(
    scratch: Path, given_arrays: dict[str, Any], header: dict[str, Any]
) -> None:
    write_arrays(scratch, "model", given_arrays, header)
    found, read_header = read_arrays(scratch, "model")
    assert read_header == {**header, "kind": "model", "format": 1}
    assert found.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [np.array(7), np.arange(12).reshape(3, 4).T, np.arange(12)[::-2], np.asfortranarray(np.eye(3)), np.zeros((2, 0))],
    ids=["0-d", "transposed", "strided", "fortran", "empty"],
)
def test_any_memory_layout_keeps_values_and_shape(tmp_path: Path, array: np.ndarray) -> None:
    write_arrays(tmp_path / "f", "model", {"a": array}, {})
    found = read_arrays(tmp_path / "f", "model")[0]["a"]
    np.testing.assert_array_equal(found, array, strict=True)


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    parts = {"b": np.zeros(2), "a": np.arange(3, dtype=np.int8), "c": np.ones((), np.float32)}
    write_arrays(tmp_path / "one", "model", parts, {"x": 1, "y": [2]})
    write_arrays(tmp_path / "two", "model", dict(reversed(parts.items())), {"y": [2], "x": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_kind_is_named_with_the_kind_that_was_expected(tmp_path: Path) -> None:
    write_arrays(tmp_path / "f", "model", {}, {})
    with pytest.raises(FileError, match="holds 'model', expected 'program'"):
        read_arrays(tmp_path / "f", "program")


@pytest.mark.parametrize(
    "metadata",
    [None, {"other": "x"}, *({"spikeproof": text} for text in ("", "{", "[1]", "3", "null", "{}", "[" * 100_000))],
    ids=str,
)
def test_foreign_safetensors_files_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(save({"a": np.zeros(2)}, metadata=metadata))
    with pytest.raises(FileError, match="foreign"):
        read_arrays(path, "model")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 50], ids=lambda c: c[:4].hex()
)
def test_files_that_are_no_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(FileError, match="foreign"):
        read_arrays(path, "model")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F4", "C64", "I32", "XX"])
def test_any_declared_type_is_read_or_refused(tmp_path: Path, dtype: str) -> None:
    meta = {"spikeproof": json.dumps({"kind": "model"})}
    head = json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}, "__metadata__": meta}).encode()
    (tmp_path / "f").write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    try:
        assert read_arrays(tmp_path / "f", "model")[0].keys() == {"a"}
    except FileError:
        assert dtype != "I32"


@settings(max_examples=400)
@given(st.data())
def test_flipped_and_cut_files_are_refused_or_read_but_never_crash(scratch: Path, data: st.DataObject) -> None:
    write_arrays(scratch, "model", {"weights": np.arange(6.0).reshape(2, 3), "n": np.array(3)}, {"recipe": {"a": [1]}})
    content = bytearray(scratch.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, header - 1) | st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(content)
    try:
        found, _ = read_arrays(scratch, "model")
    except FileError as error:
        assert str(error).startswith(f"{scratch}: ")  # noqa: PT017
    else:
        assert len(content) > place, "a file cut short cannot be whole"
        assert all(isinstance(array, np.ndarray) for array in found.values())
