"""The exported ONNX file needs nothing of ours: it runs in a Python that has NumPy and ONNX Runtime alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from spikeproof.eval.support.constructs import PROGRAMS
from spikeproof.export.formats.onnx import unsupported, write_onnx
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

ALONE = """
import json, sys
sys.path[:] = [sys.argv[1], *(path for path in sys.path if "site-packages" not in path)]
found = {"importable": []}
for name in ("spikeproof", "torch", "onnx", "snntorch", "nir", "numpy", "onnxruntime"):
    try:
        __import__(name)
        found["importable"].append(name)
    except ImportError:
        pass
import numpy
import onnxruntime
for stem in sys.argv[3:]:
    file = f"{sys.argv[2]}/{stem}"
    with numpy.load(file + ".npz", allow_pickle=False) as saved:
        expected = {name: saved[name] for name in saved.files}
    session = onnxruntime.InferenceSession(file + ".onnx", providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, {entry.name: expected.pop("messages")})))
    found[stem] = {
        "names": sorted(answers) == sorted(expected),
        "different": {
            name: -1 if array.shape != answers[name].shape else int((array != answers[name]).sum())
            for name, array in expected.items()
        },
        "spikes": int(sum((array != 0).sum() for name, array in expected.items() if name.startswith("spikes/"))),
    }
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with the ONNX file of every construct, and beside it an input and what the simulator makes of it."""
    folder, stems = tmp_path_factory.mktemp("exported"), []
    for index, make in enumerate(PROGRAMS.values()):
        program = make()
        if unsupported(program):
            continue
        shape = (program.steps, 5, *program.input.shape)
        given = np.random.default_rng(index).integers(0, program.input.peak + 1, shape).astype(np.int32)
        trace = LoihiTarget().compile(program).run(given, rasters=True)
        kept = {"messages": given, "output": trace.output}
        for name, raster in trace.rasters.items():
            kept |= {f"spikes/{name}": raster.spikes}
            if raster.u is not None and raster.v is not None:
                kept |= {f"u/{name}": raster.u, f"v/{name}": raster.v}
        stems.append(f"network{index}")
        write_onnx(folder / f"{stems[-1]}.onnx", program)
        np.savez(folder / f"{stems[-1]}.npz", **kept)
    return folder, stems


def test_without_spikeproof_torch_or_onnx_all_integers_are_the_same(
    exported: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, stems = exported
    for name in ("numpy", "onnxruntime"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        # Wheels keep shared libraries in a folder beside the package.
        for part in (package, *package.parent.glob(f"{name}.libs")):
            (tmp_path / part.name).symlink_to(part)
    # -I: neither this folder nor the environment's variables; -S: no site-packages.
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path), str(folder), *stems]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("importable") == ["numpy", "onnxruntime"]
    assert list(found) == stems
    assert len(stems) >= 12
    for stem, answer in found.items():
        assert answer["names"], stem
        assert set(answer["different"].values()) == {0}, (stem, answer)
        assert answer["spikes"] > 0, stem


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def test_every_construct_is_standard_onnx(exported: tuple[Path, list[str]]) -> None:
    folder, stems = exported
    operators = set()
    for stem in stems:
        model = onnx.load(str(folder / f"{stem}.onnx"))
        onnx.checker.check_model(model, full_check=True)
        assert [entry.domain for entry in model.opset_import] == [""]
        assert not model.functions
        nodes = [node for graph in graphs(model.graph) for node in graph.node]
        assert {node.domain for node in nodes} == {""}
        operators |= {node.op_type for node in nodes}
    assert operators >= {"Scan", "If", "Conv", "MatMul", "MatMulInteger", "Div"}
    version = onnx.load(str(folder / f"{stems[0]}.onnx")).opset_import[0].version
    assert all(onnx.defs.has(operator, version) for operator in operators)
