"""The C file by itself: what it looks like, that it can be used as a library, and what it refuses."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.support import constructs
from spikeproof.export.c import sizes, to_c, unsupported
from spikeproof.export.c.layout import nodes, width_of, wires
from spikeproof.export.c.write import safe
from spikeproof.export.program import Convolution, Dense, Graded, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import UnsupportedError

LIBRARY = """
#include "network.c"
#include <stdio.h>
int main(void) {
    static snn_message inputs[SNN_STEPS * SNN_INPUTS];
    int32_t outputs[SNN_OUTPUTS];
    while (fread(inputs, sizeof inputs, 1, stdin) == 1) {
        snn_run(inputs, outputs);
        for (int32_t i = 0; i < SNN_OUTPUTS; i++) printf("%ld %ld ", (long)outputs[i], (long)snn_outputs()[i]);
        printf("%ld\\n", (long)snn_class());
    }
    return 0;
}
"""


def compiled(folder: Path, compiler: str, text: str, *flags: str) -> Path:
    (folder / "network.c").write_text(text, encoding="ascii")
    given = ["-std=c99", "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror", *flags]
    subprocess.run([compiler, *given, "-o", str(folder / "network"), str(folder / "network.c")], check=True)
    return folder / "network"


def some_input(program: Program, batch: int, seed: int = 0) -> np.ndarray:
    shape = (program.steps, batch, *program.input.shape)
    return np.random.default_rng(seed).integers(0, program.input.peak + 1, shape).astype(np.int32)


def dense(shape: tuple[int, ...], **options: Any) -> Dense:
    weight = np.arange(np.prod(shape)).reshape(shape) * 34 % 200 - 60
    return Dense(source="input", target="a", weight=weight, **options)


def one(*synapses: Any, size: int = 3, bits: int = 0, steps: int = 4, **options: Any) -> Program:
    fields: dict[str, Any] = {"du": 4095, "dv": 300, "vth": 40, "bias": np.zeros(size, int)} | options
    return Program(
        input=Input(shape=(2, 2, 3), message_bits=bits),
        populations=(Population(name="a", shape=(size,), **fields),),
        synapses=synapses or (dense((size, 12)),),
        readout=Readout(population="a"),
        steps=steps,
    )


@pytest.mark.parametrize("bits", [0, 8, 12, 24])
@pytest.mark.parametrize("readout", ["spike_count", "first_spike", "membrane"])
def test_main_prints_and_a_library_gives_what_loihi_gives(
    need_compiler: str, tmp_path: Path, bits: int, readout: str
) -> None:
    program = one(dense((3, 12), exponent=-(bits // 3)), bits=bits, vth=2**17 - 1 if readout == "membrane" else 40)
    program = Program(**{**dict(program), "readout": Readout(kind=readout, population="a")})
    inputs = some_input(program, 5)
    trace = LoihiTarget().compile(program).run(inputs)
    assert trace.output.any()
    messages = {0: np.uint8, 8: np.uint8, 12: np.uint16, 24: np.int32}[bits]
    sent = inputs.swapaxes(0, 1).astype(messages).tobytes()
    made = compiled(tmp_path, need_compiler, to_c(program))
    printed = subprocess.run([made], input=sent, capture_output=True, check=True).stdout.decode()
    lines = [f"{int(row.argmax())} {' '.join(map(str, row.tolist()))}" for row in trace.output]
    assert printed.splitlines() == lines
    (tmp_path / "samples.bin").write_bytes(sent)
    again = subprocess.run([made, tmp_path / "samples.bin"], capture_output=True, check=True).stdout.decode()
    assert again == printed
    (tmp_path / "use.c").write_text(LIBRARY)
    step = [need_compiler, "-std=c99", "-DSNN_NO_MAIN", "-o", str(tmp_path / "use"), str(tmp_path / "use.c")]
    subprocess.run(step, check=True)
    printed = subprocess.run([tmp_path / "use"], input=sent, capture_output=True, check=True).stdout.decode()
    twice = [f"{' '.join(f'{n} {n}' for n in row.tolist())} {int(row.argmax())}" for row in trace.output]
    assert printed.splitlines() == twice


def test_a_file_that_ends_within_a_sample_or_is_not_there_is_told(need_compiler: str, tmp_path: Path) -> None:
    made = compiled(tmp_path, need_compiler, to_c(one()))
    done = subprocess.run([made], input=b"\1" * 47, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"the input ends within a sample\n")
    assert subprocess.run([made], input=b"", capture_output=True, check=True).stdout == b""
    assert subprocess.run([made, tmp_path / "absent"], capture_output=True, check=False).returncode == 1


EVIL = ["*/ int x; /*", "a\nb", "??/", '"%s\\', "é", "x" * 100, "// \\"]


@pytest.mark.parametrize("name", EVIL)
def test_no_name_leaves_its_comment(need_compiler: str, tmp_path: Path, name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9 _.,:()-]*", safe(name))
    text = to_c(one(), name)
    assert text.isascii()
    assert text.splitlines()[0].startswith("/* The Program of network ")
    assert "*/" not in text.splitlines()[0]
    compiled(tmp_path, need_compiler, text)


@pytest.mark.parametrize("name", ["a-b.c_D", "-", "...", "_-_"])
def test_names_of_populations_are_no_identifiers(need_compiler: str, tmp_path: Path, name: str) -> None:
    program = one()
    parts = dict(program) | {
        "populations": (program.populations[0].model_copy(update={"name": name}),),
        "synapses": (program.synapses[0].model_copy(update={"target": name}),),
        "readout": Readout(population=name),
    }
    compiled(tmp_path, need_compiler, to_c(Program(**parts)))


def test_no_floats_no_heap_and_only_standard_headers() -> None:
    for make in constructs.PROGRAMS.values():
        text = re.sub(r"/\*.*?\*/", "", to_c(make()), flags=re.S)
        assert not re.search(r"\b(float|double|malloc|calloc|realloc|free|alloca|goto)\b", text)
        assert set(re.findall(r"#include <(.*)>", text)) <= {"limits.h", "stddef.h", "stdint.h", "stdio.h", "string.h"}


def test_sizes_are_those_of_the_tables_and_variables() -> None:
    """One byte a weight, three biases alike; a word of spikes for input and neurons, sums, v, outputs and the clock."""
    found = sizes(one())
    assert found.constants == 3 * 12 + 2
    assert found.state == 4 + 4 + 4 * 3 + 4 * 3 + 4 * 3 + 4
    wide = sizes(one(du=100))
    assert (wide.constants, wide.state) == (found.constants, found.state + 4 * 3)


def test_a_convolution_is_a_loop_over_its_kernel() -> None:
    """The same kernel on a larger image needs no more flash."""

    def program(side: int) -> Program:
        weight = np.arange(36).reshape(2, 2, 3, 3) * 2
        return Program(
            input=Input(shape=(2, side, side), message_bits=0),
            populations=(
                Population(name="a", shape=(2, side, side), du=4095, dv=0, vth=9, bias=np.zeros((2, side, side), int)),
            ),
            synapses=(Convolution(source="input", target="a", weight=weight, padding=(1, 1)),),
            readout=Readout(population="a"),
            steps=2,
        )

    assert sizes(program(8)).constants == sizes(program(64)).constants == 36 + 2 + 4 * 19


def test_the_sum_of_a_delayed_synapse_reads_old_messages_and_dead_synapses_are_left_out() -> None:
    at = nodes(one(dense((3, 12)), dense((3, 12), delay=2)))
    assert at["input"].history == 3
    beyond = one(dense((3, 12)), dense((3, 12), delay=4))
    assert len(wires(beyond, nodes(beyond))) == 1
    none = one(dense((3, 12)), dense((3, 12)).model_copy(update={"weight": np.zeros((3, 12), np.int32)}))
    assert len(wires(none, nodes(none))) == 1


@pytest.mark.parametrize(
    ("peak", "signed", "expected"),
    [
        (255, False, "uint8_t"),
        (256, False, "uint16_t"),
        (65536, False, "int32_t"),
        (127, True, "int8_t"),
        (128, True, "int16_t"),
        (2**15, True, "int32_t"),
    ],
)
def test_numbers_take_no_more_bytes_than_they_need(peak: int, signed: bool, expected: str) -> None:
    assert width_of(peak, signed) == expected


def test_sums_of_graded_units_beyond_32_bits_are_refused_by_name() -> None:
    weight = np.full((1, 2**14), -254)
    source = Input(shape=(2**14,), message_bits=1)
    program = Program(
        input=source,
        populations=(
            Graded(name="g", shape=(1,), vth=0, message_bits=3),
            Population(name="a", shape=(1,), du=4095, dv=0, vth=1, bias=np.zeros(1, int)),
        ),
        synapses=(
            *(Dense(source="input", target="g", weight=weight) for _ in range(517)),
            Dense(source="g", target="a", weight=np.full((1, 1), 2)),
        ),
        readout=Readout(population="a"),
        steps=1,
    )
    (reason,) = unsupported(program)
    assert reason.startswith("population 'g': sums up to 2151514112")
    with pytest.raises(UnsupportedError, match=r"C: population 'g'.*end fewer synapses"):
        to_c(program)
    assert unsupported(program.model_copy(update={"synapses": program.synapses[1:]})) == []
