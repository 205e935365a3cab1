import ctypes
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from ctypes import c_double, c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeproof.hw_targets.loihi import neurons
from spikeproof.toolkit.errors import SpikeproofError
from spikeproof.toolkit.kernels import native, norm
from spikeproof.toolkit.kernels.compiler import FLAGS, LEVELS, NotCompiled, compile_c, shipped
from spikeproof.toolkit.kernels.scan import integrate


@pytest.fixture
def without_reload() -> Iterator[None]:
    """What a test makes of the loops is forgotten after it."""
    native.status.cache_clear()
    yield
    native.status.cache_clear()


@pytest.mark.usefixtures("need_compiler")
def test_it_is_compiled_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    made = native.build(tmp_path)
    stamp = made.stat().st_mtime_ns
    assert native.build(tmp_path) == made
    assert made.stat().st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [made]


def test_a_library_that_cannot_be_compiled_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    with pytest.raises(NotCompiled, match="no C compiler"):
        native.build(tmp_path)
    monkeypatch.setattr(native, "compiler", lambda: sys.executable)
    with pytest.raises(NotCompiled, match=r"exit code 2: Unknown option"):
        native.build(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setattr(native, "compiler", lambda: "cc")
    with pytest.raises(NotCompiled, match="cannot be written"):
        native.build(tmp_path / "file")


@pytest.mark.usefixtures("need_compiler")
def test_what_the_compiler_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("int good(int x) { return x; }\nint bad(int x) { return y; }\n")
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv(native.VARIABLE, "1")
    status = native.load(broken, {})
    assert status.library is None
    assert "broken.c:2" in status.missing
    assert status.row()["compiled"] == "no"
    assert "same bits" in status.row()["costs"]
    monkeypatch.delenv(native.REQUIRE_VARIABLE, raising=False)
    assert status.use() is None
    monkeypatch.setenv(native.REQUIRE_VARIABLE, "1")
    with pytest.raises(SpikeproofError, match=r"(?s)SPIKEPROOF_REQUIRE_NATIVE=1.*broken\.c:2"):
        status.use()
    broken.write_text("int good(int x) { return x; }\n")
    absent = native.load(broken, {"absent": (None, ())})
    assert absent.library is None
    assert "absent" in absent.missing


@pytest.mark.usefixtures("need_compiler", "without_reload")
def test_a_library_of_the_wheel_is_taken_and_one_that_cannot_be_loaded_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "training.c"
    source.write_bytes(native.SOURCE.read_bytes())
    monkeypatch.setattr(native, "SOURCE", source)
    monkeypatch.setattr(native, "build", lambda *_: pytest.fail("compiled, though the wheel has it"))
    monkeypatch.setenv(native.VARIABLE, "1")
    compile_c(str(native.compiler()), source, shipped(source, "any"), ())
    status = native.status()
    assert (status.origin, status.missing) == ("wheel (any)", "")
    assert status.row()["from"] == "wheel (any)"
    other = tmp_path / "other.c"
    shipped(other, "any").write_bytes(b"nonsense")
    assert "cannot be loaded" in native.load(other, {}).missing


@pytest.mark.usefixtures("need_compiler")
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_a_wheel_gives_the_bits_of_this_machines(
    level: str, tmp_path: Path, need_loops: Callable[[native.Status], None]
) -> None:
    need_loops(norm.status())
    if level != "any" and not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip(f"this CPU has no {level}")
    for source, functions, wrong in (
        (native.SOURCE, native.FUNCTIONS, lambda library: "" if native._rounds_as_pytorch(library) else "lif_forward"),
        (norm.SOURCE, norm.FUNCTIONS, norm._wrong),
        (neurons.SOURCE, neurons.FUNCTIONS, lambda _: ""),
    ):
        into = tmp_path / f"{source.stem}.so"
        compile_c(str(native.compiler()), source, into, LEVELS[level])
        assert wrong(native.typed(ctypes.CDLL(str(into)), functions)) == ""


@pytest.mark.usefixtures("need_compiler")
def test_a_library_that_fuses_multiply_and_add_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [flag for flag in FLAGS if flag != "-ffp-contract=off"]
    for module in (native, "spikeproof.toolkit.kernels.compiler"):
        name = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{name}.FLAGS", (*flags, "-ffp-contract=fast"))
    wrong = native.typed(ctypes.CDLL(str(native.build(tmp_path))), native.FUNCTIONS)
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no fused multiply-add")
    assert not native._rounds_as_pytorch(wrong)


TYPES = {"int64_t": c_int64, "float": c_float, "double": c_double, "int": c_int, "void": None}


@pytest.mark.parametrize("module", [native, norm, neurons], ids=lambda module: module.SOURCE.name)
def test_the_types_are_those_of_the_c_file(module: Any) -> None:
    declared = {}
    text = re.sub(r"/\*.*?\*/|^#.*?(?<!\\)$", "", module.SOURCE.read_text(), flags=re.DOTALL | re.MULTILINE)
    for result, name, arguments in re.findall(r"^(void|int) (\w+)\(([^)]*)\) \{", text, flags=re.MULTILINE):
        types = []
        for argument in arguments.split(","):
            kind = argument.replace("const", "").split()
            pointer = ctypes.POINTER(neurons.Cell) if kind[:2] == ["struct", "cell"] else c_void_p
            types.append(pointer if "*" in argument else TYPES[kind[0]])
        declared[name] = (TYPES[result], tuple(types))
    assert declared == dict(module.FUNCTIONS)


@pytest.mark.parametrize(("value", "there"), [("0", False), ("1", True)])
def test_the_variable_switches_it_off(value: str, there: bool, request: pytest.FixtureRequest) -> None:
    if there:
        request.getfixturevalue("need_compiler")
    code = "from spikeproof.toolkit.kernels import native; print(native.library() is not None)"
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
