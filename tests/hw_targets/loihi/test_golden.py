"""Our arithmetic and simulator against vectors recorded from lava-nc 0.10.0; see tests/golden/make_lava.py."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.export.program import Convolution, Dense, Graded, Input, Population, Program, Readout
from spikeproof.export.program.storage import stored_bias, stored_weight
from spikeproof.hw_targets.lava.environment import environment_python
from spikeproof.hw_targets.loihi.arithmetic import int24, int32, shift, step
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Raster
from spikeproof.toolkit.files import read_arrays

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
ARRAYS, HEADER = read_arrays(GOLDEN / "lava.safetensors", "golden")
CASES: dict[str, dict[str, Any]] = HEADER["cases"]
SYNAPSES = ("Dense", "Sparse", "DelayDense", "DelaySparse")


def named(*kinds: str, neuron: bool = False) -> list[str]:
    return sorted(name for name, case in CASES.items() if case["kind"] in kinds and (not neuron or "neuron" in case))


def array(name: str, what: str) -> np.ndarray:
    """Return an array of a case, or of the inputs that it shares with others, in 64 bits."""
    own = f"{name}/{what}"
    return ARRAYS[own if own in ARRAYS else f"{CASES[name]['inputs']}/{what}"].astype(np.int64)


def tensor(name: str, what: str) -> torch.Tensor:
    return torch.from_numpy(array(name, what))


def stored(name: str) -> np.ndarray:
    """Return the weights that a Dense or Sparse of Lava computes with."""
    sign = CASES[name]["sign"]
    weight, mode = stored_weight(
        array(name, "weight"), CASES[name]["num_weight_bits"], None if sign == "inferred" else sign
    )
    if sign == "inferred":
        assert name.startswith(f"dense/inferred-{mode}/")
    return weight.astype(np.int64)


def messages(name: str) -> np.ndarray:
    """Return what a synapse sees of x: with message bits 0 whether there is a message, whatever its payload."""
    x = array(name, "x")
    return x if CASES[name]["num_message_bits"] else (x != 0).astype(np.int64)


def test_the_vectors_were_recorded_from_the_pinned_lava() -> None:
    assert HEADER["source"] == "lava-nc 0.10.0"
    assert len(CASES) > 150
    assert {case["kind"] for case in CASES.values()} == {*SYNAPSES, "LIF", "Conv", "GradedVec", "GradedReluVec"}
    assert all(values.dtype.kind == "i" for values in ARRAYS.values())


@pytest.mark.parametrize("name", named("LIF"))
def test_step_equals_lavas_neuron(name: str) -> None:
    case = CASES[name]
    bias = int32(shift(torch.from_numpy(stored_bias(array(name, "bias_mant")).astype(np.int64)), case["bias_exp"]))
    u, v = tensor(name, "u0"), tensor(name, "v0")
    for time, a in enumerate(tensor(name, "a")):
        if "reset_interval" in case and (time + 1 - case["reset_offset"]) % case["reset_interval"] == 0:
            u, v = torch.zeros_like(u), torch.zeros_like(v)
        u, v, spikes = step(u, v, a, du=case["du"], dv=case["dv"], vth=case["vth"], bias=bias)[:3]
        for what, found in (("u", u), ("v", v), ("spikes", spikes)):
            np.testing.assert_array_equal(found.numpy(), array(name, what)[time], err_msg=f"{what} at step {time}")


def test_the_vectors_reach_every_edge_of_the_neuron() -> None:
    """What the cases are for: without these events the comparison above would prove little."""
    seen = set()
    for name in named("LIF"):
        u, v, a = (array(name, what) for what in ("u", "v", "a"))
        seen |= {"u at 2^23"} if (u == 2**23).any() else set()
        seen |= {"u beyond 2^23 after its one wrap"} if (abs(u) > 2**23).any() else set()
        seen |= {"voltage clipped"} if (v == 2**23 - 1).any() and (v == 1 - 2**23).any() else set()
        seen |= {"input beyond 2^25"} if (abs(a) >= 2**25).any() else set()
        seen |= {"spikes and silence"} if 0 < array(name, "spikes").mean() < 1 else set()
        seen |= {"v above a threshold that no 17 bits hold"} if CASES[name]["vth"] >= 2**17 else set()
    assert len(seen) == 6, seen


@pytest.mark.parametrize("name", named(*SYNAPSES))
def test_stored_weights_and_exponents_equal_lavas_synapses(name: str) -> None:
    weight, x, expected = stored(name), messages(name), array(name, "a_out")
    late = array(name, "delays") if "Delay" in CASES[name]["kind"] else np.zeros_like(weight)
    found = torch.zeros((len(x) + 64, len(weight)), dtype=torch.int64)
    for delay in np.unique(late):
        total = torch.from_numpy(x @ np.where(late == delay, weight, 0).T)
        # One step of latency, and the delay; the exponent floors the sum.
        found[1 + delay : 1 + delay + len(x)] += int32(shift(int32(total), CASES[name].get("weight_exp", 0)))
    np.testing.assert_array_equal(int32(found[: len(x)]).numpy(), expected)


def test_the_vectors_reach_every_edge_of_the_synapses() -> None:
    sums = {name: messages(name) @ stored(name).T for name in named("Dense", "Sparse")}
    wide = [name for name, total in sums.items() if (abs(total) >= 2**31).any()]
    assert {CASES[name]["weight_exp"] for name in wide} == set(range(-8, 8))
    parted = [
        name
        for name, total in sums.items()
        if (exponent := CASES[name].get("weight_exp", 0)) < 0
        and (total[:-1] >> -exponent != messages(name)[:-1] @ (stored(name) >> -exponent).T).any()
    ]
    assert {CASES[name]["weight_exp"] for name in parted} == set(range(-8, 0))
    given = [(CASES[name], array(name, "x")) for name in sums]
    assert any((x < 0).any() and case["num_message_bits"] == 0 for case, x in given)
    assert any((x < 0).any() and case["num_message_bits"] > 0 for case, x in given)
    assert set(np.unique(array("delay/all/DelaySparse,exponent=0", "delays"))) == set(range(63))
    edge = array("conv/unit/weight=1", "a_out")
    assert {2**23 - 1, -(2**23)} <= set(edge.ravel().tolist())


def program(name: str) -> Program:
    """Return a case as a Program: its synapse or, with delays, one for each, and its neurons."""
    case, x, weight = CASES[name], array(name, "x"), array(name, "weight")
    neuron, (steps, *shape), target = case["neuron"], x.shape, array(name, "u").shape[1:]
    common = {"source": "input", "target": "a"}
    if case["kind"] == "Conv":
        shape, target = shape[::-1], target[::-1]
        geometry = {key: tuple(case[key][::-1]) for key in ("stride", "padding", "dilation")}
        torch_weight = np.ascontiguousarray(weight.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1])
        synapses: list[Any] = [Convolution(**common, weight=torch_weight, groups=case["groups"], **geometry)]
    else:
        weight = stored(name)
        late = array(name, "delays") if "Delay" in case["kind"] else np.zeros_like(weight)
        synapses = [
            Dense(**common, exponent=case["weight_exp"], delay=int(delay), weight=np.where(late == delay, weight, 0))
            for delay in np.unique(late)
        ]
    neurons = Population(
        name="a",
        shape=tuple(target),
        du=neuron["du"],
        dv=neuron["dv"],
        vth=neuron["vth"],
        bias_exponent=neuron["bias_exp"],
        bias=np.full(target, neuron["bias_mant"]),
    )
    return Program(
        input=Input(shape=tuple(shape), message_bits=case["num_message_bits"]),
        populations=(neurons,),
        synapses=tuple(synapses),
        readout=Readout(population="a"),
        steps=steps,
    )


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("name", named(*SYNAPSES, "Conv", neuron=True))
def test_the_simulator_equals_lava(name: str, latency: int) -> None:
    x = messages(name)
    if CASES[name]["kind"] == "Conv":
        x = x.swapaxes(1, 3)
    # Lava's neurons run from the first step on, when nothing has arrived yet; a Program's window starts one later.
    x = np.concatenate([np.zeros_like(x[:1]), x[:-1]])[:, None]
    raster = LoihiTarget(latency=latency).compile(program(name)).run(x, rasters=True).rasters["a"]
    assert isinstance(raster, Raster)
    for what in ("u", "v", "spikes"):
        expected = array(name, what)
        expected = expected.swapaxes(1, 3) if expected.ndim == 4 else expected
        np.testing.assert_array_equal(getattr(raster, what)[:, 0], expected, err_msg=what)


@pytest.mark.parametrize("name", [name for name in named("Conv") if "neuron" not in CASES[name]])
def test_a_convolutions_sum_wraps_at_24_bits(name: str) -> None:
    found = int24(tensor(name, "x") * int(array(name, "weight").item()))
    np.testing.assert_array_equal(found[:-1].numpy(), array(name, "a_out")[1:])


@pytest.mark.parametrize("name", [name for name in named("GradedReluVec") if CASES[name]["vth"] < 2**17])
def test_graded_units_send_what_lava_sends(name: str) -> None:
    a, expected = array(name, "x"), array(name, "s_out")
    fits = (np.abs(a) < 2**22).all(0)
    sent = np.stack([np.maximum(a, 0), np.maximum(-a, 0)], 1)[:, None, :, fits]
    size = int(fits.sum())
    eye = np.eye(size, dtype=np.int64)
    graded = Program(
        input=Input(shape=(2, size), message_bits=22),
        populations=(
            Graded(name="a", shape=(size,), vth=CASES[name]["vth"], message_bits=24),
            Population(name="b", shape=(size,), du=0, dv=0, vth=0, bias=np.zeros(size, dtype=np.int64)),
        ),
        synapses=(
            Dense(source="input", target="a", bits=9, weight=np.concatenate([eye, -eye], 1)),
            Dense(source="a", target="b", weight=2 * eye),
        ),
        readout=Readout(population="b"),
        steps=len(a),
    )
    raster = LoihiTarget().compile(graded).run(sent, rasters=True).rasters["a"]
    np.testing.assert_array_equal(raster.spikes[:, 0], expected[:, fits])


@pytest.mark.parametrize("part", ["lif", "synapse", "conv", "graded"])
def test_lava_gives_the_recorded_vectors_again(need_lava: None, tmp_path: Path, part: str) -> None:
    made = tmp_path / "again.safetensors"
    # The script kills itself, and all helpers of Lava, after 300 s.
    command = [str(environment_python()), str(GOLDEN / "make_lava.py"), str(made), part]
    subprocess.run(command, check=True, timeout=400, stdin=subprocess.DEVNULL)
    arrays, header = read_arrays(made, "golden")
    prefixes = {"lif": ("lif/",), "synapse": ("dense/", "delay/"), "conv": ("conv/",), "graded": ("graded/",)}[part]
    assert header["cases"] == {name: case for name, case in CASES.items() if name.startswith(prefixes)}
    assert sorted(arrays) == sorted(name for name in ARRAYS if name.startswith(prefixes))
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, ARRAYS[name], err_msg=name)
