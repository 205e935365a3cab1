from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx.reference import ReferenceEvaluator

from spikeproof.export.formats.onnx import read_onnx, to_onnx, unsupported, without, write_onnx
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import FileError, UnsupportedError


@pytest.fixture
def written(small: Program, tmp_path: Path) -> Path:
    write_onnx(tmp_path / "network.onnx", small)
    return tmp_path / "network.onnx"


def test_the_standards_own_evaluator_runs_the_graph_as_the_simulator_runs_the_program(
    small: Program, messages: Callable[..., np.ndarray], written: Path
) -> None:
    sent = messages(small, batch=5)
    model = ReferenceEvaluator(str(written))
    found = dict(zip(model.output_names, model.run(None, {"messages": sent}), strict=True))
    expected = LoihiTarget().compile(small).run(sent, rasters=True)
    np.testing.assert_array_equal(found["output"], expected.output, strict=True)
    for name, raster in expected.rasters.items():
        np.testing.assert_array_equal(found[f"spikes/{name}"], raster.spikes, strict=True)
        np.testing.assert_array_equal(found[f"u/{name}"], raster.u, strict=True)
        np.testing.assert_array_equal(found[f"v/{name}"], raster.v, strict=True)


def test_the_graph_holds_standard_operators_alone(small: Program) -> None:
    model = to_onnx(small)
    assert [entry.domain for entry in model.opset_import] == [""]
    bodies = [
        model.graph,
        *(attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")),
    ]
    assert {node.domain for body in bodies for node in body.node} == {""}


@settings(max_examples=20)
@given(st.data())
def test_equal_programs_give_equal_bytes_that_name_their_program(
    programs: Callable[..., st.SearchStrategy[Program]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    program, folder = data.draw(programs(message_bits=4)), tmp_path_factory.getbasetemp()
    again = Program.model_validate(dict(program))
    for name, one in (("one", program), ("two", again)):
        write_onnx(folder / name, one)
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    assert read_onnx(folder / "one", program) == (folder / "one").read_bytes()


def wide(message_bits: int) -> Program:
    return Program(
        input=Input(shape=(1,), message_bits=message_bits),
        populations=(Population(name="a", shape=(1,), du=0, dv=0, vth=1, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="a", weight=np.array([[-256]])),),
        readout=Readout(population="a"),
        steps=1,
    )


def test_weights_beyond_the_mantissa_of_float32_are_refused_with_the_synapse() -> None:
    # Wide messages are summed a few bits at a time (tests/hw_targets/test_onnx.py); of single bits nothing is left.
    assert unsupported(wide(17)) == unsupported(wide(24)) == []
    many = Program(
        input=Input(shape=(2**16,), message_bits=1),
        populations=(Population(name="a", shape=(1,), du=0, dv=0, vth=1, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="a", weight=np.full((1, 2**16), -256)),),
        readout=Readout(population="a"),
        steps=1,
    )
    (reason,) = unsupported(many)
    assert reason.startswith(f"synapse 'input' -> 'a': weights add up to {256 * 2**16} at one neuron")
    with pytest.raises(UnsupportedError, match="synapse 'input' -> 'a'"):
        to_onnx(many)


def test_a_file_of_another_program_is_refused(written: Path) -> None:
    with pytest.raises(FileError, match=r"network\.onnx: was not made from this Program"):
        read_onnx(written, wide(8))


def test_a_foreign_model_is_refused(small: Program, tmp_path: Path) -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "foreign", [x], [y])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "foreign.onnx")
    with pytest.raises(FileError, match=r"foreign\.onnx: was not made from this Program"):
        read_onnx(tmp_path / "foreign.onnx", small)


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"{}", b"\xff" * 9], ids=["empty", "zeros", "json", "ones"])
def test_what_is_no_model_is_refused(small: Program, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(FileError, match=r"bad\.onnx: "):
        read_onnx(tmp_path / "bad.onnx", small)


@given(st.data())
def test_cut_models_are_refused(small: Program, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    write_onnx(path, small)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FileError, match=r"cut\.onnx: "):
        read_onnx(path, small)


@pytest.mark.parametrize("name", ["weight/0", "bias/a"])
def test_a_model_whose_integers_were_changed_is_refused(small: Program, written: Path, name: str) -> None:
    model = onnx.load(str(written))
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    changed = onnx.numpy_helper.to_array(tensor).copy()
    changed.flat[0] += 2
    tensor.CopyFrom(onnx.numpy_helper.from_array(changed, name))
    onnx.save(model, str(written))
    with pytest.raises(FileError, match=r"network\.onnx"):
        read_onnx(written, small)


def test_only_what_remembers_runs_step_by_step(small: Program) -> None:
    def scans(program: Program) -> list[onnx.NodeProto]:
        return [node for node in to_onnx(program).graph.node if node.op_type == "Scan"]

    def inside(node: onnx.NodeProto) -> set[str]:
        (body,) = (attribute.g for attribute in node.attribute if attribute.name == "body")
        return {inner.op_type for inner in body.node}

    sums = {"Conv", "MatMul", "MatMulInteger"}
    assert not small.recurrent
    assert 1 <= len(scans(small)) <= len(small.populations)
    assert not any(inside(node) & sums for node in scans(small))
    one = small.population(small.readout.population)
    loop = Dense(source=one.name, target=one.name, weight=np.eye(int(np.prod(one.shape)), dtype=int) * 2)
    recurrent = Program.model_validate({**dict(small), "synapses": (*small.synapses, loop)})
    found = scans(recurrent)
    assert sum(bool(inside(node) & sums) for node in found) == 1
    forgetful = tuple(
        Population.model_validate({**dict(population), "du": 4095, "dv": 4096}) for population in small.spiking
    )
    assert not scans(Program.model_validate({**dict(small), "populations": forgetful}))


def test_outputs_that_are_not_asked_for_cost_nothing(small: Program) -> None:
    model = to_onnx(small)
    states = [output.name for output in model.graph.output if output.name[:2] in ("u/", "v/")]
    smaller = onnx.load_model_from_string(without(model.SerializeToString(), states))
    onnx.checker.check_model(smaller, full_check=True)
    kept = [output.name for output in smaller.graph.output]
    assert kept == [output.name for output in model.graph.output if output.name not in states]
    made = {name for node in smaller.graph.node for name in node.output}
    assert not made & set(states)
    assert len(smaller.graph.node) < len(model.graph.node)
    read = {name for node in smaller.graph.node for name in node.input} | set(kept)
    assert all(set(node.output) & read for node in smaller.graph.node if node.op_type not in ("Scan", "If"))
