"""Target ``c``: where it is unavailable, what goes wrong in its process, and what is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.agreement.targets import difference
from spikeproof.eval.support import constructs
from spikeproof.export.c import to_c
from spikeproof.export.c.layout import message_type
from spikeproof.export.program import Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.c import build as building
from spikeproof.hw_targets.c import cortex_m, target
from spikeproof.hw_targets.c.build import build, compiled_sizes
from spikeproof.hw_targets.c.target import CTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import TargetError
from spikeproof.toolkit.kernels import native

PROGRAM = constructs.PROGRAMS["OR pooling of spikes"]()
QUICK = ("-O0",)
UNDEFINED = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need_compiler: str) -> Path:
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def some_input(program: Any, batch: int) -> np.ndarray:
    shape = (program.steps, batch, *program.input.shape)
    return np.random.default_rng(3).integers(0, program.input.peak + 1, shape).astype(np.int32)


def test_without_a_compiler_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "compiler", lambda: None)
    with pytest.raises(TargetError, match=r"target 'c': unavailable: no C compiler.*install one, for example gcc"):
        CTarget().compile(PROGRAM)


def edge_program(du: int) -> Program:
    """Neurons that get the input itself, its negative, and odd weights times it by every exponent, each alone."""
    shape, count = (8,), np.arange(8)
    wide = {"shape": (8, 8), "rows": count, "columns": count, "bits": 9}
    weights = {f"e{e + 8}": (7 - 4 * count, e) for e in range(-8, 8)} | {
        "plus": (count * 0 + 1, 0),
        "minus": (count * 0 - 1, 0),
    }
    populations = tuple(
        Population(name=name, shape=shape, du=du, dv=100, vth=2**17 - 1, bias=np.zeros(8, int)) for name in weights
    )
    synapses = tuple(
        Sparse(source="input", target=name, weight=weight, exponent=exponent, **wide)
        for name, (weight, exponent) in weights.items()
    )
    return Program(
        input=Input(shape=shape, message_bits=24),
        populations=populations,
        synapses=synapses,
        readout=Readout(kind="membrane", population="minus"),
        steps=3,
    )


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("du", [-1, 0, 4095])
def test_the_edges_of_currents_and_every_exponent(du: int) -> None:
    """Input times 64 is 2^23 and its neighbours, where currents wrap; odd weights show every rounding."""
    program = edge_program(du)
    edges = np.array([2**17 - 1, 2**17, 2**17 + 1, 2**18, 1, 3, 2**24 - 1, 2**23], np.int32)
    inputs = np.zeros((3, 2, 8), np.int32)
    inputs[0, 0], inputs[2, 0], inputs[:, 1] = edges, edges[::-1], np.random.default_rng(0).integers(0, 99, (3, 8))
    expected = LoihiTarget().compile(program).run(inputs, rasters=True)
    found = CTarget(flags=UNDEFINED).compile(program).run(inputs, rasters=True)
    assert [bits for bits in difference("c", expected, found) if bits.different] == []
    # The edge that is peculiar: -2^23 becomes 2^23, which stays.
    assert expected.rasters["minus"].u is not None
    assert expected.rasters["minus"].u[0, 0, 1] == 2**23


@pytest.mark.usefixtures("cache")
def test_a_batch_in_parts_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = some_input(PROGRAM, 7)
    expected = LoihiTarget().compile(PROGRAM).run(inputs, rasters=True)
    monkeypatch.setattr(target, "AT_ONCE", 1000)
    compiled = CTarget(flags=QUICK).compile(PROGRAM)
    seen: list[int] = []

    def track(items: Any, what: str, total: int) -> Any:
        assert what == "run on c"
        seen.append(total)
        return items

    for rasters in (False, True):
        found = compiled.run(inputs, rasters=rasters, track=track)
        np.testing.assert_array_equal(found.output, expected.output)
        for name, counts in expected.spike_counts.items():
            np.testing.assert_array_equal(found.spike_counts[name], counts)
            if rasters:
                np.testing.assert_array_equal(found.rasters[name].v, expected.rasters[name].v)
    assert min(seen) > 1


def test_programs_are_kept_whole_and_only_the_newest(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = to_c(PROGRAM)
    made = build(text, QUICK)
    written = made.stat().st_ino
    assert build(text, QUICK).stat().st_ino == written
    assert build(text, ("-O1",)) != made
    assert {path.name.split("-")[0] for path in cache.iterdir()} == {"program"}
    monkeypatch.setattr(building, "KEPT", 1)
    last = build(text + "/* another */\n", QUICK)
    assert list(cache.iterdir()) == [last]


def test_a_program_that_was_driven_out_of_the_cache_is_compiled_again(cache: Path) -> None:
    inputs = some_input(PROGRAM, 2)
    compiled = CTarget(flags=QUICK).compile(PROGRAM)
    output = compiled.run(inputs).output
    (made,) = cache.iterdir()
    made.unlink()
    np.testing.assert_array_equal(compiled.run(inputs).output, output)
    assert list(cache.iterdir()) == [made]


@pytest.mark.usefixtures("cache")
def test_a_warning_is_an_error_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "to_c", lambda *_, **__: "int main(void) { int unused; return 0; }\n")
    with pytest.raises(TargetError, match=r"(?s)target 'c': .*unused"):
        CTarget(flags=QUICK).compile(PROGRAM).run(some_input(PROGRAM, 1))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("main", "message"),
    [
        ("for (;;) { }", r"3 samples took more than 1 s"),
        ("return 3;", "ended with status 3: no word"),
        ("return 0;", "wrote 0 numbers, expected"),
        ('fprintf(stderr, "lost\\n"); return 1;', "ended with status 1: lost"),
    ],
)
def test_what_goes_wrong_in_its_process_is_told(monkeypatch: pytest.MonkeyPatch, main: str, message: str) -> None:
    text = f"#include <stdio.h>\nint main(void) {{ fflush(stdout); {main} }}\n"
    monkeypatch.setattr(target, "to_c", lambda *_, **__: text)
    compiled = CTarget(flags=QUICK, seconds=1).compile(PROGRAM)
    with pytest.raises(TargetError, match=f"target 'c': .*{message}"):
        compiled.run(some_input(PROGRAM, 3))


def test_undefined_behaviour_ends_the_process(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the sanitizer that the conformance tests run under does stop a sum beyond 32 bits."""
    text = "#include <stdint.h>\nint main(int n, char **v) { (void)v; int32_t x = INT32_MAX; return x + n > 0; }\n"
    monkeypatch.setattr(target, "to_c", lambda *_, **__: text)
    with pytest.raises(TargetError, match="signed integer overflow"):
        CTarget(flags=UNDEFINED).compile(PROGRAM).run(some_input(PROGRAM, 1))


def test_compiled_sizes_hold_the_tables(cache: Path) -> None:
    text = to_c(PROGRAM)
    found = compiled_sizes(text)
    if not found:
        pytest.skip("no 'size' here")
    assert found[0].compiler.endswith("-Os")
    # Tables of 178 bytes and more, variables of 344; linkers align them.
    assert all(one.flash > 178 and 344 <= one.ram < 2000 for one in found)


def test_on_an_emulated_cortex_m4(cache: Path) -> None:
    missing = cortex_m.unavailable()
    if missing is not None:
        pytest.skip(missing)
    for construct in ("OR pooling of spikes", "recurrent synapses", "sigma-delta neurons behind a convolution"):
        program = constructs.PROGRAMS[construct]()
        inputs = some_input(program, 3)
        expected = LoihiTarget().compile(program).run(inputs).output
        samples = inputs.swapaxes(0, 1).astype(message_type(program)).tobytes()
        board = cortex_m.run_on_cortex_m4(to_c(program), samples)
        assert board.lines == [f"{row.argmax()} {' '.join(map(str, row))}" for row in expected]
        assert 1000 < board.instructions < 10**6


def test_without_an_emulator_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cortex_m.shutil, "which", lambda name: None)
    with pytest.raises(TargetError, match="no arm-none-eabi-gcc and no qemu-system-arm; install Debian's gcc-arm"):
        cortex_m.run_on_cortex_m4(to_c(PROGRAM), b"")
