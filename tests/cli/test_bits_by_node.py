"""``nir evaluate --bits``: of all nodes, or of some; what each node's weights become."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikeproof.eval.agreement.foreign import Told
from spikeproof.eval.agreement.nir_file import lower_nir
from spikeproof.toolkit.quantize import Bits

Call = Callable[..., Any]
TOLD = ("--origin", "nir", "--reset", "zero")
STEPS = 5


def cells(size: int) -> nir.LIF:
    ones = np.ones(size)
    return nir.LIF(tau=1e-3 * ones, r=10 * ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two weight layers in a row, the second beside a shortcut into the same population."""
    random = np.random.default_rng(0)
    nodes = {
        "input": nir.Input({"input": np.array([12])}),
        "first": nir.Affine(random.normal(size=(8, 12)), random.normal(size=8) / 9),
        "cells": cells(8),
        "second": nir.Linear(random.normal(size=(4, 8))),
        "short": nir.Linear(3 * random.normal(size=(4, 12))),
        "last": cells(4),
        "output": nir.Output({"output": np.array([4])}),
    }
    chain = list(itertools.pairwise(("input", "first", "cells", "second", "last", "output")))
    path = tmp_path / "net.nir"
    nir.write(str(path), nir.NIRGraph(nodes, [*chain, ("input", "short"), ("short", "last")]))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npz"
    random = np.random.default_rng(1)
    np.savez(path, x=random.random((6, 12)).astype(np.float32), y=random.integers(0, 4, 6))
    return path


def synapses(graph: Path, bits: Bits | None) -> dict[tuple[str, str], Any]:
    program = lower_nir(graph, Told(origin="nir", reset="zero"), steps=STEPS, bits=bits).program
    return {(one.source, one.target): one for one in program.synapses}


def steps_of(real: np.ndarray, q: np.ndarray) -> tuple[float, float]:
    """The steps, from and to, of which ``q`` are the multiples nearest to ``real``."""
    real, q = np.abs(real), np.abs(q)
    low = (real / (q + 0.5)).max()
    high = (real[q > 0] / (q[q > 0] - 0.5)).min()
    return float(low), float(high)


def test_each_nodes_weights_have_its_own_bits(graph: Path) -> None:
    nodes = nir.read(graph).nodes
    names = {("input", "cells"): "first", ("cells", "last"): "second", ("input", "last"): "short"}
    bits = {"default": 6, "second": 3, "short": 8}
    found = synapses(graph, bits)
    assert set(found) == set(names)
    units = {}
    for ends, name in names.items():
        one, width = found[ends], bits.get(name, 6)
        assert one.bits == width
        assert not (one.weight % 2 ** (9 - width)).any(), "Loihi's grid of so many bits"
        q = one.weight / 2 ** (9 - width)
        assert np.abs(q).max() <= 2 ** (width - 1) - 1
        low, high = steps_of(np.asarray(nodes[name].weight), q)
        assert low <= high, f"{name}: no step whose nearest multiples these are"
        unit = 2 ** (9 - width) * 2.0**one.exponent * (255 if ends[0] == "input" else 1)
        units[name] = low / unit, high / unit
    # Into one population a unit is worth the same; the input's messages are 255 for 1.
    assert max(units["second"][0], units["short"][0]) <= min(units["second"][1], units["short"][1])
    # Of a population's only layer the step is what its largest weight needs.
    low, high = (end * 2**3 * 2.0 ** found["input", "cells"].exponent * 255 for end in units["first"])
    assert low <= np.abs(nodes["first"].weight).max() / 31 * (1 + 1e-9)
    assert high >= np.abs(nodes["first"].weight).max() / 31 * (1 - 1e-9)


def test_one_number_is_that_of_all(graph: Path) -> None:
    for bits in (2, 5, 8):
        plain, table = synapses(graph, bits), synapses(graph, {"default": bits})
        named = synapses(graph, dict.fromkeys(("first", "second", "short"), bits))
        for ends, one in plain.items():
            for other in (table[ends], named[ends]):
                assert np.array_equal(one.weight, other.weight)
                assert (one.exponent, one.bits) == (other.exponent, other.bits)


def test_the_command_takes_them_and_its_record_says_them(call: Call, graph: Path, data: Path) -> None:
    common = (*TOLD, "--data", data, "--steps", STEPS, "--targets", "loihi,onnx", "--json")
    options: dict[str, tuple[Any, ...]] = {
        "mixed": ("--bits", 6, "--bits", "second=3"),
        "commas": ("--bits", "second=3,6"),
        "3": ("--bits", 3),
        "6": ("--bits", 6),
        "rest": ("--bits", "second=3"),
        "none": (),
    }
    told = {}
    for name, how in options.items():
        answer = call("nir", "evaluate", graph, *common, *how)
        assert answer.code == 0, answer.err
        told[name] = json.loads(answer.out)
    assert told["mixed"]["weight_bits"] == {"default": 6, "second": 3}
    assert (told["3"]["weight_bits"], told["none"]["weight_bits"]) == (3, 8)
    assert "--bits 6,second=3" in told["mixed"]["command"]
    assert told["mixed"]["program"] == told["commas"]["program"]
    assert len({told[name]["program"]["sha256"] for name in ("mixed", "3", "6", "rest", "none")}) == 5
    assert call("fit", graph, *TOLD, "--steps", STEPS, "--bits", "6,second=3", "--chip", "loihi2").code == 0


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        (("nowhere=4",), "--bits: no weight layer 'nowhere'; there are first, second, short"),
        (("9",), "--bits 9: expected 2 to 8, or NODE=BITS"),
        (("first=1",), "--bits first=1: expected 2 to 8"),
        (("4", "5"), "--bits 5: default has 4 bits already"),
        (("few",), "--bits few: expected 2 to 8"),
    ],
)
def test_bits_that_cannot_be_are_refused(call: Call, graph: Path, data: Path, bits: tuple[str, ...], why: str) -> None:
    options = [word for one in bits for word in ("--bits", one)]
    answer = call("nir", "evaluate", graph, *TOLD, "--data", data, "--steps", STEPS, *options)
    assert answer.code == 2
    assert why in answer.err
