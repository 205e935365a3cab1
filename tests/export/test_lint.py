"""The linter: each fault that a file can have is found by its code, at its node, and a sound file has none."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.export.lint import Report, check
from spikeproof.export.nir.write import write_nir
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork

DT = 1e-4
Nodes = dict[str, Any]


def neuron(*shape: int, **changes: Any) -> Any:
    fields = {"tau": 4 * DT, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.broadcast_to(value, shape).astype(float) for name, value in fields.items()})


def sound() -> Nodes:
    """Return the nodes of a file without a fault, on a chain in this order."""
    grid = np.random.default_rng(0).integers(-4, 4, (3, 1, 3, 3)) / 4
    return {
        "input": nir.Input({"input": np.array([1, 6, 6])}),
        "conv": nir.Conv2d((6, 6), grid, 1, 1, 1, 1, np.zeros(3)),
        "lif1": neuron(3, 6, 6),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flatten": nir.Flatten({"input": np.array([3, 3, 3])}, 0, -1),
        "fc": nir.Affine(np.random.default_rng(1).integers(-8, 8, (4, 27)) / 8, np.zeros(4)),
        "lif2": neuron(4),
        "output": nir.Output({"output": np.array([4])}),
    }


def write(folder: Path, nodes: Nodes, more: tuple[tuple[str, str], ...] = ()) -> Path:
    names = list(nodes)
    graph = nir.NIRGraph(nodes, [*itertools.pairwise(names), *more], type_check=False)
    nir.write(str(folder / "g.nir"), graph, compression=None)
    return folder / "g.nir"


def found(report: Report) -> dict[str, list[tuple[str, str | None]]]:
    by_code: dict[str, list[tuple[str, str | None]]] = {}
    for finding in report.findings:
        by_code.setdefault(finding.code, []).append((finding.severity, finding.node))
    return by_code


def test_a_sound_file_has_neither_errors_nor_warnings(tmp_path: Path) -> None:
    report = check(write(tmp_path, sound()), dt=DT, origin="spikeproof")
    assert [finding for finding in report.findings if finding.severity != "note"] == []
    assert not report.refused(strict=True)
    assert report.dt == DT
    assert [(name, kind) for name, kind, _ in report.nodes[:2]] == [("input", "Input"), ("conv", "Conv2d")]
    assert {name: shape for name, _, shape in report.nodes}["pool"] == (3, 3, 3)


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_what_spikeproof_writes_passes(exact: Callable[..., SpikingNetwork], tmp_path: Path, pool: str) -> None:
    write_nir(tmp_path / "n.nir", exact(pool), (1, 8, 8))
    report = check(tmp_path / "n.nir", origin="spikeproof")
    assert not report.refused(strict=True), report.findings


def change(name: str, **fields: Any) -> Callable[[Nodes], None]:
    def apply(nodes: Nodes) -> None:
        for field, value in fields.items():
            setattr(nodes[name], field, value)

    return apply


def replace(name: str, node: Any) -> Callable[[Nodes], None]:
    return lambda nodes: nodes.update({name: node})


def before(name: str, new: str, node: Any) -> Callable[[Nodes], None]:
    def apply(nodes: Nodes) -> None:
        old = dict(nodes)
        nodes.clear()
        for key, value in old.items():
            nodes |= {new: node, key: value} if key == name else {key: value}

    return apply


def ramp(*shape: int) -> np.ndarray:
    return np.linspace(1, 2, int(np.prod(shape))).reshape(shape)


def cuba(**changes: Any) -> Any:
    fields = {"tau_syn": 2 * DT, "tau_mem": 4 * DT, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0, "w_in": 2.0} | changes
    return nir.CubaLIF(**{name: np.full(4, value) for name, value in fields.items()})


FAULTS: dict[str, tuple[Callable[[Nodes], None], str, str, str | None]] = {
    "NaN": (change("fc", bias=np.array([0, np.nan, 0, 0])), "error", "not-finite", "fc"),
    "infinity": (change("lif1", tau=np.full((3, 6, 6), np.inf)), "error", "not-finite", "lif1"),
    "shape": (change("fc", weight=np.ones((4, 26))), "error", "graph", None),
    "v_reset": (change("lif2", v_reset=np.full(4, 0.5)), "note", "v-reset", "lif2"),
    "one neuron's v_reset": (change("lif2", v_reset=np.array([0, 0, 0, 0.5])), "note", "v-reset", "lif2"),
    "v_reset at the threshold": (change("lif2", v_reset=np.array([0, 0, 0, 1.0])), "error", "threshold", "lif2"),
    "v_leak": (change("lif2", v_leak=np.full(4, 0.5)), "note", "v-leak", "lif2"),
    "tau a neuron": (change("lif2", tau=ramp(4)), "warning", "per-neuron", "lif2"),
    "threshold a neuron": (change("lif1", v_threshold=ramp(3, 6, 6)), "warning", "per-neuron", "lif1"),
    "r a neuron": (change("lif2", r=ramp(4)), "warning", "per-neuron", "lif2"),
    "threshold": (change("lif2", v_threshold=np.full(4, -1.0)), "error", "threshold", "lif2"),
    "r below 0": (change("lif2", r=np.full(4, -4.0)), "error", "r", "lif2"),
    "tau below 0": (change("lif2", tau=np.full(4, -4.0)), "error", "tau", "lif2"),
    "a step longer than tau": (change("lif2", tau=np.full(4, DT / 2)), "error", "dt-long", "lif2"),
    "leak below 1/4096": (
        change("lif2", tau=np.full(4, DT * 3000), r=np.full(4, 3000.0)),
        "warning",
        "leak-coarse",
        "lif2",
    ),
    "R of another step": (change("lif2", r=np.full(4, 40.0)), "warning", "dt-other", "lif2"),
    "kernel": (
        change("conv", weight=np.ones((3, 1, 3, 1)), padding=np.array([1, 0])),
        "warning",
        "kernel-shape",
        "conv",
    ),
    "average pooling": (lambda nodes: None, "note", "not-elsewhere", None),
    "input_shape": (change("conv", input_shape=(6, 7)), "warning", "shape-stated", "conv"),
    "Output": (replace("output", nir.Output({"output": np.array([5])})), "warning", "shape-stated", "output"),
    "Flatten": (
        replace("flatten", nir.Flatten({"input": np.array([27])}, 0, -1)),
        "warning",
        "shape-stated",
        "flatten",
    ),
    "flatten order": (lambda nodes: None, "note", "flatten-order", "flatten"),
    "weights": (change("fc", weight=np.random.default_rng(2).normal(size=(4, 27))), "warning", "weight-grid", "fc"),
    "no weights": (change("fc", weight=np.zeros((4, 27))), "warning", "weights-zero", "fc"),
    "IF": (replace("lif2", nir.IF(np.full(4, 1 / DT), np.ones(4))), "warning", "if-elsewhere", "lif2"),
    "size 1": (replace("lif1", neuron(1)), "note", "size-one", "lif1"),
    "biases": (change("fc", bias=np.ones(4)), "note", "bias-elsewhere", None),
    "long delay": (before("output", "late", nir.Delay(np.full(4, 63 * DT))), "error", "delay-long", "late"),
    "half a step": (before("output", "late", nir.Delay(np.full(4, 2.5 * DT))), "error", "delay-fraction", "late"),
    "negative delay": (before("output", "late", nir.Delay(np.full(4, -2 * DT))), "error", "delay-fraction", "late"),
    "membrane": (
        replace("lif1", nir.LI(*(np.full((3, 6, 6), v) for v in (4 * DT, 4.0, 0.0)))),
        "error",
        "membrane-sent",
        "lif1",
    ),
    "one dimension": (
        replace("conv", nir.Conv1d(6, np.ones((1, 1, 3)), 1, 1, 1, 1, np.zeros(1))),
        "error",
        "graph",
        None,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_code_and_node(name: str, tmp_path: Path) -> None:
    apply, severity, code, node = FAULTS[name]
    nodes = sound()
    apply(nodes)
    report = check(write(tmp_path, nodes), dt=DT, origin="spikeproof")
    assert (severity, node) in found(report).get(code, []), report.findings
    assert report.refused() == any(finding.severity == "error" for finding in report.findings)
    clean = found(check(write(tmp_path, sound()), dt=DT, origin="spikeproof"))
    assert severity == "note" or code not in clean


@pytest.mark.parametrize(("kind", "severity"), [(nir.AvgPool2d, "error"), (nir.SumPool2d, "warning")])
def test_padded_pools_are_found(kind: Any, severity: str, tmp_path: Path) -> None:
    nodes = sound()
    nodes["pool"] = kind(np.array([2, 2]), np.array([2, 2]), np.array([1, 0]))
    nodes["fc"].weight = np.ones((4, 36))
    del nodes["flatten"].input_type["input"]
    nodes["flatten"] = nir.Flatten({"input": np.array([3, 4, 3])}, 0, -1)
    assert found(check(write(tmp_path, nodes), DT, "spikeproof"))["pool-padding"] == [(severity, "pool")]


def test_groups_are_found(tmp_path: Path) -> None:
    nodes = sound()
    nodes["input"] = nir.Input({"input": np.array([2, 6, 6])})
    nodes["conv"] = nir.Conv2d((6, 6), np.ones((4, 1, 3, 3)), 1, 1, 1, 2, np.zeros(4))
    nodes["lif1"], nodes["fc"] = neuron(4, 6, 6), nir.Linear(np.ones((4, 36)))
    nodes["flatten"] = nir.Flatten({"input": np.array([4, 3, 3])}, 0, -1)
    report = check(write(tmp_path, nodes), DT, "spikeproof")
    assert found(report)["groups"] == [("warning", "conv")]
    assert not report.refused()


@pytest.mark.parametrize(
    ("origin", "reset", "expected"),
    [
        (None, None, {"reset-unknown": "error"}),
        ("nir", None, {"reset-unknown": "warning"}),
        (None, "zero", {}),
        ("snntorch", None, {"reset-unknown": "error"}),
        ("snntorch", "subtract_later", {"soft-reset": "error"}),
        ("snntorch", "none", {"soft-reset": "error"}),
        ("spikingjelly", None, {"tie": "note"}),
        ("sinabs", None, {"soft-reset": "error", "tie": "note", "several-spikes": "error"}),
        ("sinabs", "zero", {"tie": "note", "several-spikes": "error"}),
        ("norse", None, {}),
        ("spikeproof", None, {}),
    ],
)
def test_what_the_reset_may_have_been_depends_on_the_origin(
    origin: str | None, reset: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path, sound())
    report = found(check(path, dt=DT, origin=origin, reset=reset, trial=False))
    codes = ("reset-unknown", "soft-reset", "tie", "reset-skips", "several-spikes")
    assert {code: report[code][0][0] for code in codes if code in report} == expected


def test_what_is_told_of_sinabs_makes_it_deployable(tmp_path: Path) -> None:
    nodes = sound()
    nodes["lif1"], nodes["lif2"] = neuron(3, 6, 6, tau=5.0, r=1.0), neuron(4, tau=5.0, r=1.0)
    path = write(tmp_path, nodes)
    assert check(path, origin="sinabs", reset="zero").refused()
    report = check(path, origin="sinabs", reset="zero", one_spike=True, unscaled=True)
    assert not report.refused(strict=True), report.findings
    assert report.dt == 1.0


def test_without_a_time_step_it_is_demanded_and_guessed_from_r(tmp_path: Path) -> None:
    report = check(write(tmp_path, sound()))
    (missing,) = [finding for finding in report.findings if finding.code == "dt-missing"]
    assert missing.severity == "error"
    assert missing.message.endswith("R of its neurons would fit a step of 0.0001 s")
    nodes = sound()
    nodes["lif1"], nodes["lif2"] = (neuron(*shape, r=1.0) for shape in ((3, 6, 6), (4,)))
    report = check(write(tmp_path, nodes))
    assert [finding.message for finding in report.findings if finding.code == "dt-missing"] == [
        "needs a time step, which NIR does not hold: give --dt SECONDS or --origin FRAMEWORK"
    ]


def test_a_graph_without_time_needs_no_time_step(tmp_path: Path) -> None:
    nodes = {name: node for name, node in sound().items() if not name.startswith("lif")}
    nodes = before_output = nodes
    before("output", "spikes", nir.Threshold(np.full(4, 0.5)))(before_output)
    assert "dt-missing" not in found(check(write(tmp_path, nodes)))


@pytest.mark.parametrize(("origin", "warned"), [(None, True), ("nir", True), ("sinabs", False), ("norse", False)])
def test_r_and_w_in_of_one_mean_different_things(origin: str | None, warned: bool, tmp_path: Path) -> None:
    nodes = sound()
    nodes["lif1"], nodes["lif2"] = neuron(3, 6, 6, r=1.0), cuba(r=1.0, w_in=1.0)
    report = found(check(write(tmp_path, nodes), dt=DT, origin=origin, trial=False))
    assert (report.get("r-convention") == [("warning", "lif1"), ("warning", "lif2")]) == warned
    assert (report.get("w-in") == [("warning", "lif2")]) == warned
    nodes["lif2"] = nir.IF(np.ones(4), np.ones(4))
    report = found(check(write(tmp_path, nodes), dt=DT, origin=origin, trial=False))
    assert (("warning", "lif2") in report.get("r-convention", [])) == warned


def recurrent() -> Nodes:
    layer = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([4])}),
            "lif": neuron(4),
            "w_rec": nir.Linear(np.eye(4)),
            "output": nir.Output({"output": np.array([4])}),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    return sound() | {"lif2": layer, "output": nir.Output({"output": np.array([4])})}


def test_recurrent_sub_graphs_are_told_and_deployed(tmp_path: Path) -> None:
    report = check(write(tmp_path, recurrent()), DT, "snntorch", reset="zero")
    assert found(report)["sub-graph"] == [("note", "lif2")]
    assert report.feedback == (("lif2.w_rec", "lif2.lif"),)
    assert not report.refused(), report.findings
    assert found(check(write(tmp_path, recurrent()), DT, "snntorch"))["reset-skips"] == [("warning", None)]


def test_the_last_word_is_a_trial(tmp_path: Path) -> None:
    nodes = sound()
    del nodes["lif2"]
    path = write(tmp_path, nodes)
    assert not check(path, DT, "spikeproof", trial=False).refused()
    (last,) = [finding for finding in check(path, DT, "spikeproof").findings if finding.severity == "error"]
    assert last.code == "cannot-lower"
    assert "last node before the output" in last.message


def test_a_small_file_of_a_huge_network_is_refused_at_once(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input({"input": np.array([2**25])}),
        "lif": neuron(1),
        "output": nir.Output({"output": np.array([2**25])}),
    }
    (finding,) = [f for f in check(write(tmp_path, nodes), DT, "spikeproof").findings if f.severity == "error"]
    assert finding.code == "too-large"


def test_no_spikes_at_all(tmp_path: Path) -> None:
    nodes = {name: node for name, node in sound().items() if not name.startswith("lif")}
    assert found(check(write(tmp_path, nodes), DT))["no-spikes"] == [("error", None)]


def test_errors_come_first_and_strict_fails_on_warnings(tmp_path: Path) -> None:
    nodes = sound()
    nodes["lif2"].v_reset[:] = 1
    nodes["fc"].weight = np.random.default_rng(2).normal(size=(4, 27))
    report = check(write(tmp_path, nodes), DT, "spikeproof")
    order = [finding.severity for finding in report.findings]
    assert order == sorted(order, key=["error", "warning", "note"].index)
    assert {"error", "warning", "note"} <= set(order)
    nodes["lif2"].v_reset[:] = 0
    report = check(write(tmp_path, nodes), DT, "spikeproof")
    assert (report.refused(), report.refused(strict=True)) == (False, True)


def test_the_report_is_json(tmp_path: Path) -> None:
    report = check(write(tmp_path, recurrent()), DT)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["dt"] == DT
    assert values["feedback"] == [["lif2.w_rec", "lif2.lif"]]
    assert values["nodes"][1] == {"node": "conv", "type": "Conv2d", "shape": [3, 6, 6]}
    counts = [sum(f["severity"] == s for f in values["findings"]) for s in ("error", "warning", "note")]
    assert counts == [values["errors"], values["warnings"], values["notes"]]
    assert set(values["findings"][0]) == {"severity", "code", "node", "message"}


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_files_that_cannot_be_read_are_a_finding(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "g.nir"
    if content is not None:
        path.write_bytes(content)
    report = check(path, DT)
    assert found(report) == {"file": [("error", None)]}
    assert str(path) not in report.findings[0].message


@pytest.mark.parametrize(
    "options", [{"dt": 0.0}, {"dt": float("nan")}, {"origin": "brian"}, {"dt": DT, "reset": "hard"}, {"reset": "hard"}]
)
def test_impossible_options_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        check(write(tmp_path, sound()), **options)


def test_every_code_is_documented_and_no_other() -> None:
    root = Path(__file__).parents[2]
    source = (root / "export/nir/rules.py").read_text() + (root / "export/lint.py").read_text()
    codes = set(re.findall(r'Finding\(\s*"?[^",]+"?(?: if average else "warning")?,\s*"([a-z-]+)"', source))
    table = (root / "docs/nir.md").read_text().split("## What the linter finds")[1]
    documented = {code for row in table.splitlines() for code in re.findall(r"`([a-z-]+)`", row.partition(" | ")[0])}
    assert len(codes) > 30
    assert codes == documented


FIELDS = ["conv/stride", "conv/padding", "conv/groups", "conv/input_shape", "conv/weight", "pool/kernel_size"]
FIELDS += [
    "flatten/start_dim",
    "flatten/input_type",
    "lif1/tau",
    "lif2/v_reset",
    "fc/bias",
    "input/shape",
    "output/shape",
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_in_a_file_makes_the_linter_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.getbasetemp(), sound())
    value = data.draw(
        st.sampled_from([0, -1, 3, 2**40, -(2**62), 1e300, np.nan, np.inf, 0.5, True, "same", "x", ""])
        | st.sampled_from(
            [np.zeros(0), np.zeros((2, 2)), np.full(3, -7), np.full(4, np.nan), np.array([b"a"]), np.zeros(4, "?")]
        )
    )
    with h5py.File(path, "a") as file:
        for _ in range(data.draw(st.integers(1, 2))):
            name = f"node/nodes/{data.draw(st.sampled_from(FIELDS))}"
            del file[name]
            file[name] = value
            value = 1
    report = check(path, DT, data.draw(st.sampled_from([None, "snntorch", "sinabs", "norse"])))
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.findings
