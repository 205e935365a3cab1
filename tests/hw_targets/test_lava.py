"""The Lava worker: it dies, hangs, cannot start or loses its parent, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.lava import client, environment, leftovers
from spikeproof.hw_targets.lava.client import LavaTarget
from spikeproof.toolkit.errors import TargetError


@pytest.fixture
def program():
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(Population(name="a", shape=(2,), du=4095, dv=0, vth=1, bias=np.zeros(2, dtype=np.int32)),),
        synapses=(Dense(source="input", target="a", weight=np.array([[2, 0], [0, 2]])),),
        readout=Readout(population="a"),
        steps=3,
    )


INPUTS = np.ones((3, 2, 2), dtype=np.int32)


def fake(tmp_path, script):
    """Return an 'interpreter' that ignores the worker and does something else."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def descendants(marker):
    """Return the processes whose command line or environment holds ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if marker.encode() in text and state != "Z":
                found.append(int(entry.name))
    return found


def gone(marker, within=10.0):
    deadline = time.monotonic() + within
    while descendants(marker):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def marker(monkeypatch):
    value = f"spikeproof-test-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("SPIKEPROOF_TEST_MARKER", value)
    return value


def test_worker_that_dies(program, tmp_path, marker):
    python = fake(tmp_path, "sleep 300 &\necho 'out of memory' >&2; exit 7")
    with pytest.raises(TargetError, match=r"died with status 7.*out of memory"):
        LavaTarget(python=python).compile(program).run(INPUTS)
    assert gone(marker)


def test_worker_that_never_starts(program, tmp_path, marker):
    python = fake(tmp_path, "sleep 300 &\nsleep 300")
    begun = time.monotonic()
    with pytest.raises(TargetError, match=r"did not start within 1 s"):
        LavaTarget(python=python, start_limit=1).compile(program).run(INPUTS)
    assert time.monotonic() - begun < 30
    assert gone(marker)


def test_worker_that_hangs(program, tmp_path, marker):
    python = fake(tmp_path, 'touch "$2/ready-0"; sleep 300 &\nsleep 300')
    with pytest.raises(TargetError, match=r"did not finish within 1 s"):
        LavaTarget(python=python, run_limit=1).compile(program).run(INPUTS)
    assert gone(marker)


def test_worker_that_answers_nothing(program, tmp_path):
    with pytest.raises(TargetError, match="without an answer"):
        LavaTarget(python=fake(tmp_path, "exit 0")).compile(program).run(INPUTS)


def test_worker_that_answers_nonsense(program, tmp_path):
    python = fake(tmp_path, 'cp "$2/job-0/input.safetensors" "$2/job-0/trace.safetensors"')
    with pytest.raises(TargetError, match="answered nonsense"):
        LavaTarget(python=python).compile(program).run(INPUTS)


def test_interpreter_that_does_not_exist(program, tmp_path):
    with pytest.raises(TargetError, match="cannot start"):
        LavaTarget(python=tmp_path / "absent").compile(program).run(INPUTS)


def test_no_environment_tells_how_to_get_it(program, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path))
    monkeypatch.setenv("SPIKEPROOF_LAVA_PYTHON", sys.executable)
    with pytest.raises(TargetError, match=r"unavailable.*Python 3\.10"):
        LavaTarget().compile(program)
    assert environment.status().installed is False


def test_interpreter_of_another_version_is_refused(monkeypatch):
    with pytest.raises(TargetError, match=r"not an interpreter of Python 3\.10"):
        environment.find_python(sys.executable)


def test_failed_installation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path / "cache"))
    broken = fake(tmp_path, 'case "$*" in *version_info*) echo True;; *) echo "no space left" >&2; exit 1;; esac')
    with pytest.raises(TargetError, match="no space left"):
        environment.install(str(broken))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("need_lava")
def test_real_worker_is_ended_by_its_time_limit(program, marker):
    with pytest.raises(TargetError, match="did not finish within"):
        LavaTarget(run_limit=0.1).compile(program).run(np.ones((3, 100, 2), dtype=np.int32))
    assert gone(marker)


def left_of(pid):
    """Return the names of shared memory and job folders of a process."""
    places = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    return [path.name for place in places for path in place.glob(f"spikeproof-lava-{pid}-*")]


def nothing_left_of(pid, within=10.0):
    deadline = time.monotonic() + within
    while left_of(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.usefixtures("need_lava")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_parent_leaves_no_worker_and_no_memory(program, tmp_path, marker, how):
    """SIGTERM and SIGKILL give the parent no chance to clean up; the guardian of each worker does."""
    from spikeproof.export.program import write_program

    write_program(tmp_path / "program", program)
    script = (
        "import numpy as np, pathlib\n"
        "from spikeproof.export.program import read_program\n"
        "from spikeproof.hw_targets.lava.client import LavaTarget\n"
        f"program = read_program(pathlib.Path({str(tmp_path / 'program')!r}))\n"
        "inputs = np.ones((3, 1000, 2), dtype=np.int32)\n"
        "LavaTarget().compile(program).run(inputs)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    deadline = time.monotonic() + 60
    # The worker, and what Lava starts for the parts of the network.
    while len([pid for pid in descendants(marker) if pid != parent.pid]) < 5 or len(left_of(parent.pid)) < 10:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.1)
    parent.send_signal(how)
    parent.wait()
    assert gone(marker)
    assert nothing_left_of(parent.pid)


@pytest.mark.usefixtures("need_lava")
def test_a_killed_worker_leaves_no_memory(program, marker):
    kill = threading.Thread(target=_kill_one, args=(marker,))
    kill.start()
    with pytest.raises(TargetError, match="died with status -9"):
        LavaTarget(workers=1).compile(program).run(np.ones((3, 1000, 2), dtype=np.int32))
    kill.join()
    assert gone(marker)
    assert not left_of(os.getpid())


def _kill_one(marker):
    """Kill the worker, and nothing that it started, once it has shared memory."""
    deadline = time.monotonic() + 60
    while len(left_of(os.getpid())) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in descendants(marker):
        words = (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
        # Its parent is this process, and it leads its group.
        if int(words[1]) == os.getpid() and int(words[2]) == pid:
            os.kill(pid, signal.SIGKILL)


def test_what_is_left_of_processes_that_are_gone_is_swept(tmp_path, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    memory, folders = tmp_path / "shm", tmp_path / "tmp"
    for place in (memory, folders):
        place.mkdir()
    names = [f"spikeproof-lava-{pid}-abc" for pid in (child.pid, os.getpid())] + ["spikeproof-lava-x", "psm_1"]
    for name in names:
        (memory / f"{name}-0").touch()
        (folders / name).mkdir()
        (folders / name / "log-0").touch()
    monkeypatch.setattr(leftovers, "SEGMENTS", memory)
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    leftovers.sweep()
    assert sorted(path.name for path in folders.iterdir()) == sorted(names[1:])
    assert sorted(path.name for path in memory.iterdir()) == sorted(f"{name}-0" for name in names[1:])


@pytest.mark.usefixtures("need_lava")
def test_several_chunks_are_joined_in_order(program, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 2)
    inputs = np.array([[[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]]] * 3, dtype=np.int32)
    trace = LavaTarget().compile(program).run(inputs, rasters=True)
    np.testing.assert_array_equal(trace.output, inputs.sum(0))
    assert trace.rasters["a"].spikes.shape == (3, 5, 2)


@pytest.mark.usefixtures("need_lava")
def test_several_workers_share_the_chunks(program, monkeypatch, marker):
    monkeypatch.setattr(client, "CHUNK", 1)
    inputs = np.array([[[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]]] * 3, dtype=np.int32)
    trace = LavaTarget(workers=2).compile(program).run(inputs)
    np.testing.assert_array_equal(trace.output, inputs.sum(0))
    assert gone(marker)
