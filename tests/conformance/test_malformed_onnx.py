"""Damaged and forged ONNX files: refused, or the Program's in every operator (see test_malformed.py)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import onnx

from spikeproof.export.formats.onnx import to_onnx
from spikeproof.export.program import read_program

Many = Callable[[int], Callable[[Callable[[st.DataObject], None]], None]]


def test_onnx_files_with_other_bytes(real: Path, worker: Any, many: Many) -> None:
    @many(150)
    def law(data: st.DataObject) -> None:
        path = worker.folder / "network.onnx"
        path.write_bytes(data.draw(worker.damaged((real / "wide.onnx").read_bytes())))
        worker.read(kind="onnx", path=str(path), place=str(path), original=str(real / "wide"))


def forged(draw: st.DrawFn, model: onnx.ModelProto) -> None:
    """Change something within an ONNX model."""
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    body = next(attribute.g for attribute in scan.attribute if attribute.HasField("g"))
    graph = draw(st.sampled_from([model.graph, body]))
    node = draw(st.sampled_from(list(graph.node)))
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    how = draw(
        st.sampled_from(
            [
                "operator",
                "domain",
                "input",
                "remove",
                "twice",
                "opset",
                "function",
                "tensor",
                "dims",
                "type",
                "outside",
                "attribute",
                "version",
                "output",
                "shape",
            ]
        )
    )
    if how == "operator":
        node.op_type = draw(st.sampled_from(["Identity", "Sub", "Add", "Nothing", "If", "Less", "Mul"]))
    elif how == "domain":
        node.domain = draw(st.sampled_from(["evil", "ai.onnx", "com.microsoft"]))
    elif how == "input" and node.input:
        node.input[0] = draw(st.sampled_from(["", "nothing", node.output[0]]))
    elif how == "remove":
        graph.node.remove(node)
    elif how == "twice":
        graph.node.append(node)
    elif how == "opset":
        model.opset_import[0].version = draw(st.sampled_from([0, 1, 11, 13, 18, 21, 10**6]))
    elif how == "function":
        made = onnx.helper.make_function(
            "", "Add", ["a", "b"], ["c"], [onnx.helper.make_node("Sub", ["a", "b"], ["c"])], list(model.opset_import)
        )
        model.functions.append(made)
    elif how == "tensor":
        tensor.raw_data = tensor.raw_data[: draw(st.integers(0, 4))]
    elif how == "dims":
        tensor.dims.append(draw(st.sampled_from([0, 2, -1, 2**40])))
    elif how == "type":
        tensor.data_type = draw(st.sampled_from([0, 1, 6, 7, 10, 99]))
    elif how == "outside":
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    elif how == "attribute" and node.attribute:
        node.attribute[0].i += 1
    elif how == "version":
        model.ir_version = draw(st.sampled_from([0, 3, 9, 10**6]))
    elif how == "output":
        model.graph.output.remove(draw(st.sampled_from(list(model.graph.output))))
    else:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = draw(st.sampled_from([0, 1, 6, 2**40]))


def test_onnx_files_with_other_contents(real: Path, worker: Any, many: Many) -> None:
    @many(150)
    def law(data: st.DataObject) -> None:
        path, model = worker.folder / "network.onnx", to_onnx(read_program(real / "wide"))
        forged(data.draw, model)
        path.write_bytes(model.SerializeToString())
        found = worker.read(kind="onnx", path=str(path), place=str(path), original=str(real / "wide"))
        assert (found["outcome"] == "accepted") == (model == to_onnx(read_program(real / "wide")))
