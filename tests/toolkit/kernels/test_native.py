import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from spikeproof.toolkit.kernels import native
from spikeproof.toolkit.kernels.scan import integrate

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C compiler here")


@needs_compiler
def test_it_is_compiled_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    made = native.build(tmp_path)
    assert made is not None
    stamp = made.stat().st_mtime_ns
    assert native.build(tmp_path) == made
    assert made.stat().st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [made]


def test_without_a_compiler_there_is_no_library_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    assert native.build(tmp_path) is None
    monkeypatch.setattr(native, "compiler", lambda: sys.executable)
    assert native.build(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert native.build(tmp_path / "file") is None


@needs_compiler
def test_a_library_that_fuses_multiply_and_add_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [flag for flag in native.FLAGS if flag != "-ffp-contract=off"]
    monkeypatch.setattr(native, "FLAGS", (*flags, "-ffp-contract=fast"))
    made = native.build(tmp_path)
    assert made is not None
    right = ctypes.CDLL(str(native.build(tmp_path)))
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no fused multiply-add")
    assert not native._rounds_as_pytorch(right)


@pytest.mark.parametrize(("value", "there"), [("0", False), ("1", True)])
def test_the_variable_switches_it_off(value: str, there: bool) -> None:
    if there and native.compiler() is None:
        pytest.skip("no C compiler here")
    code = "from spikeproof.toolkit import native; print(native.library() is not None)"
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, native.VARIABLE: value}, capture_output=True, text=True
    )
    assert found.stdout.strip() == str(there), found.stderr


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    current = torch.randn(6, 7, 9973, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    expected = integrate(current, 0.9, 1.0)
    try:
        torch.set_num_threads(threads)
        found = integrate(current, 0.9, 1.0)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.fixture(params=["threads of PyTorch", "own threads"])
def team(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "own threads":
        monkeypatch.setattr(native, "_team", lambda: None)
    elif native._team() is None:
        pytest.skip("this PyTorch has no libgomp")


@pytest.mark.usefixtures("team")
def test_every_neuron_is_run_once() -> None:
    seen = torch.zeros(200_003, dtype=torch.int64)
    both, threads = threading.Barrier(2), set()

    def run(first: ctypes.c_int64, last: ctypes.c_int64) -> None:
        seen[first.value : last.value] += 1
        both.wait(60)  # for another thread: one alone would never come back
        threads.add(threading.get_ident())

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for _ in range(3):
            native.spread(run, len(seen), 8)
    finally:
        torch.set_num_threads(before)
    assert bool((seen == 3).all())
    assert threading.get_ident() in threads
    assert len(threads) >= 2


@pytest.mark.usefixtures("team")
def test_a_thread_that_fails_is_heard() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for failing in range(3):

            def run(first: ctypes.c_int64, _: ctypes.c_int64, failing: int = failing) -> None:
                native.enough(first.value != failing * native.SHARE)

            with pytest.raises(MemoryError, match="no memory for a block"):
                native.spread(run, 3 * native.SHARE, 1)
        with pytest.raises(MemoryError):
            native.spread(lambda first, last: native.enough(0), 1, 1)
    finally:
        torch.set_num_threads(before)
