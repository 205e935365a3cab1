"""``spikeproof list``."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from spikeproof.toolkit.registry import BUILT_IN, KINDS, registry


def test_without_a_kind_the_kinds_are_listed(call: Callable[..., Any]) -> None:
    told = json.loads(call("list", "--json").out)["kinds"]
    assert [row["kind"] for row in told] == list(KINDS)
    assert {row["kind"]: row["names"].split(", ") for row in told} == {kind: registry(kind).names() for kind in KINDS}
    assert "spikeproof.targets" in call("list").out


@pytest.mark.parametrize("kind", KINDS)
def test_everything_of_a_kind_is_listed_with_origin_and_a_line(call: Callable[..., Any], kind: str) -> None:
    told = json.loads(call("list", kind, "--json").out)
    assert told["kind"] == kind
    assert [row["name"] for row in told["entries"]] == registry(kind).names()
    assert all(row["origin"] == BUILT_IN and row["summary"] for row in told["entries"])
    shown = call("list", kind)
    assert shown.code == 0
    assert all(name.split()[0] in shown.out for name in registry(kind).names())


def test_an_unknown_kind_is_refused_with_the_kinds(call: Callable[..., Any]) -> None:
    answer = call("list", "thing")
    assert answer.code == 2
    assert answer.err.startswith("error: kind 'thing': unknown; known kinds: target, attack, defence")
