"""Laws of the registry, for every kind alike."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spikeproof.toolkit.errors import InputError, SpikeproofError
from spikeproof.toolkit.registry import BUILT_IN, KINDS, Entry, registry

Install = Callable[[str, str, dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what writes the metadata that installing a distribution with entry points writes."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(distribution: str, kind: str, entries: dict[str, str]) -> None:
        info = tmp_path / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"[{registry(kind).group}]", *(f"{name} = {value}" for name, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    return installed


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_loads_and_has_a_line_for_people(kind: str) -> None:
    found = registry(kind)
    assert found.kind == kind
    assert found.names() == list(dict.fromkeys(found.names()))
    for entry in found.entries():
        assert entry.origin == BUILT_IN
        line = found.summary(entry.name)
        assert line
        assert "\n" not in line


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_answered_with_the_known_ones(kind: str) -> None:
    found = registry(kind)
    with pytest.raises(InputError) as caught:
        found.get("nothing-like-it")
    assert str(caught.value) == f"{kind} 'nothing-like-it': unknown; known {kind}s: {', '.join(found.names())}"


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="kind 'thing': unknown; known kinds: target, attack, defence"):
        registry("thing")


@pytest.mark.parametrize("kind", KINDS)
def test_others_come_after_the_built_in_ones_with_their_origin(kind: str, install: Install) -> None:
    before = registry(kind).names()
    install("zoo", kind, {"zebra": "nowhere:Zebra", "ant": "nowhere:Ant"})
    assert registry(kind).names() == [*before, "ant", "zebra"]
    assert registry(kind).entries()[-1] == Entry("zebra", "zoo 1.2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_built_in_name_taken_by_another_is_an_error_that_names_both(kind: str, install: Install) -> None:
    taken = registry(kind).names()[0]
    install("zoo", kind, {taken: "nowhere:Zebra"})
    wanted = rf"{kind} '{taken}' is defined twice: built-in, and of zoo 1\.2 .*'spikeproof\.{kind}s'"
    with pytest.raises(InputError, match=wanted):
        registry(kind).names()
    with pytest.raises(InputError, match=wanted):
        registry(kind).get(taken)


@pytest.mark.parametrize("kind", KINDS)
def test_two_packages_with_one_name_are_an_error_that_names_both(kind: str, install: Install) -> None:
    install("zoo", kind, {"ant": "nowhere:Zebra"})
    install("farm", kind, {"ant": "somewhere:Ant"})
    with pytest.raises(InputError) as caught:
        registry(kind).names()
    assert "zoo 1.2" in str(caught.value)
    assert "farm 1.2" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["nowhere:Ant", "builtins:Nothing", "builtins:dict", "builtins:len"])
def test_what_does_not_load_or_is_of_another_kind_is_refused_by_name(kind: str, value: str, install: Install) -> None:
    install("zoo", kind, {"ant": value})
    with pytest.raises(SpikeproofError, match=f"{kind} 'ant'") as caught:
        registry(kind).get("ant")
    assert "\n" not in str(caught.value)


def test_names_are_listed_without_loading_pytorch() -> None:
    code = (
        "import sys; from spikeproof.toolkit.registry import KINDS, registry; "
        "names = [registry(kind).names() for kind in KINDS]; "
        "sets = [registry('dataset').get(name) for name in registry('dataset').names()]; "
        "print(sorted({'torch', 'onnx', 'art', 'nir'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
