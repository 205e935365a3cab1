import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import save_file

from spikeproof.export.program import Program, read_program, write_program
from spikeproof.toolkit.errors import FileError
from spikeproof.toolkit.files import read_arrays, write_arrays


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("program") / "program.safetensors"


@settings(max_examples=200)
@given(st.data())
def test_flipped_and_cut_files_are_refused_or_valid_but_never_crash(
    scratch: Path, small: Program, data: st.DataObject
) -> None:
    write_program(scratch, small)
    content = bytearray(scratch.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, start - 1) | st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    scratch.write_bytes(content)
    try:
        assert isinstance(read_program(scratch), Program)
    except FileError as error:
        assert str(error).startswith(f"{scratch}: ")  # noqa: PT017


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "kind", "x"]), inner),
    max_leaves=4,
)


@settings(max_examples=200)
@given(st.data())
def test_any_value_anywhere_in_the_header_is_refused_or_valid(
    scratch: Path, rewrite: Callable[..., None], data: st.DataObject
) -> None:
    def change(values: Any, arrays: dict[str, Any]) -> None:
        while True:
            key = data.draw(st.sampled_from(sorted(values) if isinstance(values, dict) else range(len(values))))
            if not isinstance(values[key], dict | list) or not values[key] or data.draw(st.booleans()):
                values[key] = data.draw(json_values)
                return
            values = values[key]

    rewrite(scratch, change)
    try:
        assert isinstance(read_program(scratch), Program)
    except FileError as error:
        assert str(error).startswith(f"{scratch}: ")  # noqa: PT017


def test_foreign_files_and_other_kinds_are_refused(small: Program, tmp_path: Path) -> None:
    save_file({"weight": np.zeros(3)}, tmp_path / "foreign")
    write_arrays(tmp_path / "kind", "model", *(small.arrays(), small.header()))
    write_arrays(tmp_path / "empty", "program", {}, {})
    for name, why in (("foreign", "not a spikeproof program"), ("kind", "holds 'model'"), ("empty", "not a complete")):
        with pytest.raises(FileError, match=rf"{name}: {why}"):
            read_program(tmp_path / name)


def test_a_written_file_holds_the_header_and_the_arrays_alone(small: Program, scratch: Path) -> None:
    write_program(scratch, small)
    arrays, found = read_arrays(scratch, "program")
    assert sorted(arrays) == ["bias/a", "bias/b", "weight/0", "weight/1"]
    assert found.keys() == {"kind", "format", "program"}


def test_a_file_says_its_format_and_the_hash_does_not_depend_on_it(small: Program, scratch: Path) -> None:
    write_program(scratch, small)
    arrays, found = read_arrays(scratch, "program")
    assert found["format"] == 1
    assert "format" not in small.header()
    # As written before there were versions: read as format 1, the same Program.
    del found["format"]
    meta = {"spikeproof": json.dumps(found)}
    save_file(arrays, scratch, metadata=meta)
    assert read_program(scratch).sha256() == small.sha256()


def test_a_file_of_a_newer_format_is_refused_in_words(small: Program, scratch: Path) -> None:
    write_arrays(scratch, "program", small.arrays(), small.header(), 2)
    words = r"written by a newer spikeproof \(format 2, this one reads up to 1\): upgrade spikeproof"
    with pytest.raises(FileError, match=words):
        read_program(scratch)
