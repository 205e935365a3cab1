"""lava-dl's environment and worker: what its importer does to weights, and that nothing is left behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spikeproof.export.formats.netx_weights import dense_problem
from spikeproof.export.program import Dense, Input, Population, Program, Readout, write_program
from spikeproof.hw_targets.lava import client, environment
from spikeproof.hw_targets.lava.netx import NetxTarget
from spikeproof.toolkit.errors import TargetError, UnsupportedError

MATRICES = [
    [[3, 4]],
    [[1, -1]],
    [[-3, 0]],
    [[-100, 0]],
    [[-200, 0]],
    [[-255, -1]],
    [[255, 0]],
    [[253, -256]],
    [[-256, 1]],
    [[128, 64]],
    [[-64, 0]],
    [[-64, -60]],
    [[-128, 0]],
    [[-256, 0]],
    [[-1, -1]],
    [[-201, 0]],
    [[-129, 0]],
    [[255, -1]],
    [[300, 3]],
    [[0, 0]],
]
"""First such as the importer keeps, then such as it changes."""
KEPT = 10

# Runs lava-dl's importer on one dense layer a matrix, as it is, and prints what arrives at the neuron.
PROBE = """
import json, sys, tempfile, os, warnings
sys.path.insert(0, sys.argv[1])
import worker_netx
if worker_netx.importlib.util.find_spec("torch") is None:
    worker_netx.leave_out_torch()
import h5py, numpy as np
from lava.lib.dl.netx.hdf5 import Network
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.source import RingBuffer
from lava.proc.monitor.process import Monitor
warnings.simplefilter("ignore")
matrices, messages = (json.loads(word) for word in sys.argv[2:4])
answers = []
for weight in map(np.array, matrices):
    path = os.path.join(tempfile.mkdtemp(dir=sys.argv[4]), "a.net")
    with h5py.File(path, "w") as file:
        fields = {"type": b"dense", "shape": np.array([1]), "weight": weight, "neuron/type": b"CUBA"}
        fields.update({"neuron/iDecay": 4096, "neuron/vDecay": 4096, "neuron/vThMant": 131071})
        for name, value in fields.items():
            file["layer/0/" + name] = value
    try:
        net = Network(net_config=path, input_message_bits=8)
        data = np.array([*messages, [0, 0]], dtype=np.int32).T
        RingBuffer(data=data).s_out.connect(net.inp)
        monitor = Monitor()
        monitor.probe(net.layers[0].neuron.u, data.shape[1])
        net.run(RunSteps(num_steps=data.shape[1]), Loihi2SimCfg(select_tag="fixed_pt"))
        ((u,),) = [list(parts.values()) for parts in monitor.get_data().values()]
        net.stop()
        answers.append((u[1:, 0] / 64).tolist())
    except Exception as error:
        answers.append(repr(error))
with open(os.path.join(sys.argv[4], "answers"), "w") as file:
    json.dump(answers, file)
os._exit(0)
"""


def test_the_importer_keeps_and_changes_what_we_say(need_netx: Path, tmp_path: Path) -> None:
    """The reasons are true: each matrix that is refused as a dense layer gives other sums there, the others do not."""
    messages = np.array([[1, 0], [0, 1], [3, 5], [200, 255]])
    folder = Path(environment.__file__).parent
    words = [str(need_netx), "-c", PROBE, str(folder), str(MATRICES), str(messages.tolist()), str(tmp_path)]
    subprocess.run(words, timeout=300, check=True, capture_output=True)
    answers = json.loads((tmp_path / "answers").read_text())
    for matrix, answer in zip(MATRICES, answers, strict=True):
        exact = answer == (messages @ np.array(matrix).T).ravel().tolist()
        assert exact == (dense_problem(np.array(matrix), 255) is None), (matrix, answer)
        assert exact == (MATRICES.index(matrix) < KEPT)


@pytest.fixture
def simple() -> Program:
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(Population(name="a", shape=(2,), du=4095, dv=0, vth=1, bias=np.zeros(2, dtype=np.int32)),),
        synapses=(Dense(source="input", target="a", weight=np.array([[2, 0], [0, 2]])),),
        readout=Readout(population="a"),
        steps=3,
    )


@pytest.fixture
def marker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark all processes that this test starts; none may be left at its end."""
    value = f"spikeproof-netx-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("SPIKEPROOF_TEST_MARKER", value)
    yield value
    deadline = time.monotonic() + 10
    while left := _marked(value):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _marked(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if marker.encode() in environ and state != "Z":
                found.append(int(entry.name))
    return found


INPUTS = np.ones((3, 2, 2), dtype=np.int32)


def test_target_runs_in_chunks(need_netx: Path, simple: Program) -> None:
    inputs = np.random.default_rng(0).integers(0, 2, (3, 20, 2)).astype(np.int32)
    trace = NetxTarget().compile(simple).run(inputs)
    np.testing.assert_array_equal(trace.output, inputs.sum(0))
    assert trace.rasters == {}


def test_no_environment_tells_how_to_get_it(simple: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path))
    with pytest.raises(TargetError, match=r"target 'netx': unavailable.*lava install --netx"):
        NetxTarget().compile(simple)
    assert environment.status("netx").installed is False


def test_refusal_names_the_target(simple: Program) -> None:
    loop = Dense(source="a", target="a", weight=np.array([[2, 0], [0, 2]]), delay=1)
    made = simple.model_copy(update={"synapses": (*simple.synapses, loop)})
    with pytest.raises(UnsupportedError, match=r"target 'netx': .*'a' -> 'a': is recurrent"):
        NetxTarget(python=Path(sys.executable)).compile(made)


def test_failed_installation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "python"
    broken.write_text(
        '#!/bin/sh\ncase "$*" in *version_info*) echo True;; *) echo "no space left" >&2; exit 1;; esac\n'
    )
    broken.chmod(0o755)
    with pytest.raises(TargetError, match=r"target 'netx'.*no space left"):
        environment.install(str(broken), "netx")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("marker")
def test_worker_that_dies(simple: Program, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nsleep 300 &\necho 'out of memory' >&2; exit 7\n")
    python.chmod(0o755)
    with pytest.raises(TargetError, match=r"target 'netx': the worker died with status 7.*out of memory"):
        NetxTarget(python=python).compile(simple).run(INPUTS)


@pytest.mark.usefixtures("need_netx", "marker")
def test_worker_is_ended_by_its_time_limit(simple: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CHUNK", 20_000)
    with pytest.raises(TargetError, match=r"target 'netx': the worker did not finish within"):
        # A sample takes a worker well over 10 us: 20,000 of them cannot be done by the limit on any machine.
        NetxTarget(run_limit=0.2).compile(simple).run(np.ones((3, 20_000, 2), dtype=np.int32))


@pytest.mark.usefixtures("need_netx", "marker")
def test_killed_parent_leaves_no_worker(simple: Program, tmp_path: Path, marker: str) -> None:
    """SIGKILL gives the parent no chance to clean up; the worker notices by itself."""
    write_program(tmp_path / "program", simple)
    script = (
        "import numpy as np, pathlib\n"
        "from spikeproof.export.program import read_program\n"
        "from spikeproof.hw_targets.lava.netx import NetxTarget\n"
        f"program = read_program(pathlib.Path({str(tmp_path / 'program')!r}))\n"
        "NetxTarget().compile(program).run(np.ones((3, 1000, 2), dtype=np.int32))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while len([pid for pid in _marked(marker) if pid != parent.pid]) < 4:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
