"""SANA-FE as a second opinion: its files say what the Program is, and both count the same spikes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from spikeproof.eval.cost import sanafe
from spikeproof.eval.cost.constants import table
from spikeproof.eval.cost.sanafe import architecture, network, second_opinion
from spikeproof.export.chip.mapping import Core, Mapping, Slice
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.toolkit.errors import TargetError, UnsupportedError


def population(name: str, shape: tuple[int, ...], dv: int = 0) -> Population:
    return Population(name=name, shape=shape, du=4095, dv=dv, vth=50, bias=np.zeros(shape, dtype=int))


def three_neurons() -> Program:
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(population("a", (2,), dv=4096), population("b", (1,))),
        synapses=(
            Dense(source="input", target="a", weight=np.array([[64, 0], [64, 64]])),
            Dense(source="a", target="b", weight=np.array([[40, 40]])),
        ),
        readout=Readout(population="b"),
        steps=2,
    )


MESSAGES = np.array([[[1, 0]], [[0, 1]]], dtype=np.int32)
"""The input sends (1, 0), then (0, 1): a fires 3 times, b once, 7 operations, 5 messages; see test_energy.py."""


def test_the_files_say_where_each_neuron_lies_and_what_it_sends() -> None:
    mapping = Mapping("loihi1", (Core(0, (Slice("a", 0, 2),)), Core(127, (Slice("b", 0, 1),))))
    trains = {"input": np.array([[1, 0], [0, 1]], bool), "a": np.ones((2, 2), bool), "b": np.zeros((2, 1), bool)}
    found = yaml.safe_load("".join(network(three_neurons(), mapping, trains)))
    groups = {group["name"]: group for group in found["network"]["groups"]}
    assert groups["input"]["neurons"] == [{0: [{"spikes": [1, 0]}]}, {1: [{"spikes": [0, 1]}]}]
    # The dense weight of 0 is a connection, too.
    assert [next(iter(edge)) for edge in found["network"]["edges"]] == [
        *("input.0 -> a.0", "input.1 -> a.0", "input.0 -> a.1", "input.1 -> a.1"),
        *("a.0 -> b.0", "a.1 -> b.0"),
    ]
    places = {
        name: dict(part for one in where for part in one.items())
        for each in found["mappings"]
        for name, where in each.items()
    }
    assert (places["a.0"]["core"], places["a.0"]["synapse"]) == (0.0, "dense")
    assert (places["a.1"]["soma"], str(places["b.0"]["core"])) == ("replayed[1]", "31.3")
    chip = yaml.safe_load(architecture(table()))["architecture"]
    assert (chip["attributes"]["width"], chip["attributes"]["height"]) == (8, 4)
    (core,) = chip["tile"][0]["core"]
    soma = core["soma"][0]["attributes"]
    assert float(soma["energy_access_neuron"]) + float(soma["energy_update_neuron"]) == pytest.approx(72.8e-12)
    assert {one["name"]: float(one["attributes"]["energy_process_spike"]) for one in core["synapse"]} == {
        "dense": pytest.approx(35.5e-12),
        "sparse": pytest.approx(33.6e-12),
        "convolution": pytest.approx(24.0e-12),
    }


def test_both_opinions_stand_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program in SANA-FE's place answers for two samples what one would cost on paper, twice."""
    answer = {
        "energy": {"total": 2e-9, "synapse": 14 * 35.5e-12, "dendrite": 0.0, "soma": 1e-9, "network": 1e-9},
        "sim_time": 8e-6,
        "neurons_fired": 12,
        "neurons_updated": 12,
        "packets_sent": 10,
        "spikes": 14,
    }
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho 'Executed steps: [8/8]'\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv(sanafe.VARIABLE, str(program))
    found = second_opinion(three_neurons(), np.concatenate([MESSAGES, MESSAGES], 1), table())
    assert (found.samples, found.time) == (2, 4e-6)
    assert found.energy["synapse"] == pytest.approx(7 * 35.5e-12)
    assert found.same["synapse"] == pytest.approx((7 * 35.5e-12, 7 * 35.5e-12))
    assert found.counts["synaptic operations"] == (7, 7)
    assert found.counts["messages"] == (5, 5)
    assert found.counts["neurons that fire"] == (4, 4)  # 6 fire, two of them are the input
    # 12 updates, 5 of them active, 4 spikes.
    soma = 12 * 51.2e-12 + 5 * 21.6e-12 + 4 * 69.3e-12
    assert found.same["soma"] == pytest.approx((soma, soma))


def test_what_is_missing_or_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sanafe.VARIABLE, raising=False)
    with pytest.raises(TargetError, match=r"pip install sanafe==2.2.9.*SPIKEPROOF_SANAFE"):
        second_opinion(three_neurons(), MESSAGES, table())
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'no module named sanafe' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv(sanafe.VARIABLE, str(program))
    with pytest.raises(TargetError, match="SANA-FE failed: no module named sanafe"):
        second_opinion(three_neurons(), MESSAGES, table())


def test_two_kinds_of_synapse_into_one_population_are_refused() -> None:
    program = Program(
        input=Input(shape=(1, 1, 2), message_bits=0),
        populations=(population("a", (1, 1, 2)), population("b", (1, 1, 2))),
        synapses=(
            Convolution(source="input", target="a", weight=np.full((1, 1, 1, 1), 64)),
            Convolution(source="a", target="b", weight=np.full((1, 1, 1, 1), 64)),
            Dense(source="a", target="b", weight=np.full((2, 2), 2)),
        ),
        readout=Readout(population="b"),
        steps=1,
    )
    mapping = Mapping("loihi1", (Core(0, (Slice("a", 0, 2), Slice("b", 0, 2))),))
    trains = {name: np.zeros((1, 2), bool) for name in ("input", "a", "b")}
    with pytest.raises(UnsupportedError, match="two kinds end in population 'b'"):
        list(network(program, mapping, trains))


@pytest.mark.skipif(not os.environ.get(sanafe.VARIABLE), reason=f"{sanafe.VARIABLE} names no interpreter with SANA-FE")
def test_sanafe_itself_counts_the_same() -> None:
    found = second_opinion(three_neurons(), np.concatenate([MESSAGES, MESSAGES], 1), table())
    for theirs, ours in found.counts.values():
        assert theirs == pytest.approx(ours)
    assert found.energy["synapse"] == pytest.approx(found.same["synapse"][0])
    assert found.same["network"][0] <= found.energy["network"] <= found.same["network"][1]
