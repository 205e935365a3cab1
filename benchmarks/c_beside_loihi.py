"""What target ``c`` takes and needs, beside ``loihi`` at batch 1: python benchmarks/c_beside_loihi.py.

Four networks on digits, trained briefly. C's time an image is the slope between all test images, ten times, and one of
them, so that starting the process does not count; with the start it is told, too. In each round both run, one after the
other, on one thread, and a ratio is that of their times of a processor in one round, which a busy machine disturbs
least. All outputs must be equal. Where Debian's gcc-arm-none-eabi and qemu-system-arm are installed, sizes for a
Cortex-M4 and the instructions of an image on an emulated one are measured. Writes benchmarks/c_beside_loihi.json under
--out (runs/benchmarks).
"""

import resource
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import given_out
import numpy as np
from numpy.typing import NDArray

from spikeproof.eval.measure.metrics import SynapticOperations
from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.export.c import sizes, to_c
from spikeproof.export.c.layout import message_type
from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.export.program import Program
from spikeproof.hw_targets.c import cortex_m
from spikeproof.hw_targets.c.build import compiled_sizes
from spikeproof.hw_targets.c.target import CTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Compiled
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import DataSettings, ModelSettings, TrainSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.models import conv_network, delayed_network, recurrent_network, sew_network
from spikeproof.toolkit.quantize import quantized_network
from spikeproof.toolkit.train import seeded, train_network

OUT = given_out.USUAL / "benchmarks"
NETWORKS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "digits, two convolutions, max pooling": (conv_network, {"pool": "max"}, 6),
    "SEW-ResNet": (sew_network, {"channels": [8, 16]}, 15),
    "recurrent": (recurrent_network, {"channels": [4]}, 6),
    "delayed": (delayed_network, {"channels": [8]}, 6),
}
"""How it is built, its settings, and epochs."""
STEPS, ROUNDS, TIMES, ALONE, BOARD, SEED = 4, 7, 10, 40, 4, 1
"""Steps, rounds, how many times all images for ``c`` a round, images of ``loihi``, images on the board, seed."""


def program_of(name: str, data: Any) -> tuple[Program, int]:
    """Return a trained network's Program, and the test images that it classifies rightly."""
    make, options, epochs = NETWORKS[name]
    with seeded(SEED):
        network = make(ModelSettings(**options), STEPS, data.shape, data.classes)
    train_network(network, data.train_images, data.train_labels, TrainSettings(seed=SEED), epochs=epochs, rate=4e-3)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        write_nir(path, quantized_network(network, 8), data.shape)
        program = lower(*read_nir(path))
    trace = LoihiTarget().compile(program).run(direct_integers(data.test_images, STEPS))
    return program, int((trace.classes == data.test_labels).sum())


def seconds(compiled: Compiled, inputs: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return what a run takes: by the clock, and of a processor, of processes that it starts too."""

    def now() -> NDArray[np.float64]:
        own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        busy = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
        return np.array([time.perf_counter(), busy])

    begun = now()
    compiled.run(inputs)
    return now() - begun


def measured(program: Program, inputs: NDArray[np.int32]) -> dict[str, Any]:
    """Return times, ratios, sizes and operations of one Program."""
    c, loihi = CTarget().compile(program), LoihiTarget().compile(program)
    expected, found = loihi.run(inputs), c.run(inputs)
    assert np.array_equal(expected.output, found.output), "the two must compute the same"
    assert all(np.array_equal(counts, found.spike_counts[name]) for name, counts in expected.spike_counts.items())
    samples = inputs.shape[1]
    many = np.tile(inputs, (1, TIMES, *[1] * (inputs.ndim - 2)))
    each, start, alone = [], [], []
    for _ in range(ROUNDS):
        start.append(np.median([seconds(c, inputs[:, :1]) for _ in range(3)], 0))
        each.append((seconds(c, many) - start[-1]) / (many.shape[1] - 1))
        alone.append(np.median([seconds(loihi, inputs[:, at : at + 1]) for at in range(ALONE)], 0))
    ratios = [float(theirs[1] / ours[1]) for theirs, ours in zip(alone, each, strict=True)]
    assert min(ratios) > 0, "the run with many images must take longer than the one with one; give TIMES more"
    (c_clock, c_busy), (start_clock, _), (loihi_clock, loihi_busy) = (
        (1000 * np.median(found, 0)).tolist() for found in (each, start, alone)
    )
    metric = SynapticOperations(program)
    metric.update(expected, inputs)
    text, needs = to_c(program), sizes(program)
    row: dict[str, Any] = {
        "c_milliseconds_an_image": c_clock,
        "c_cpu_milliseconds_an_image": c_busy,
        "c_milliseconds_alone_with_start": start_clock,
        "loihi_milliseconds_batch_1": loihi_clock,
        "loihi_cpu_milliseconds_batch_1": loihi_busy,
        "times_faster": statistics.median(ratios),
        "times_faster_rounds": ratios,
        "constant_bytes": needs.constants,
        "state_bytes": needs.state,
        "compiled": [asdict(one) for one in compiled_sizes(text)],
        "updates_a_step": sum(int(np.prod(part.shape)) for part in program.populations),
        "additions_a_step": sum(metric.operations.values()) / samples / program.steps,
        "most_additions_a_step": sum(int(reached.sum()) for _, _, reached in metric.fan_outs),
    }
    missing = cortex_m.unavailable()
    if missing is not None:
        return row | {"cortex_m4": None, "without_cortex_m4": missing}
    few = inputs[:, :BOARD].swapaxes(0, 1).astype(message_type(program)).tobytes()
    board = cortex_m.run_on_cortex_m4(text, few)
    lines = [f"{row.argmax()} {' '.join(map(str, row.tolist()))}" for row in expected.output[:BOARD]]
    assert board.lines == lines, "the board must compute the same"
    return row | {"cortex_m4": {"images": BOARD, "instructions_an_image": board.instructions}}


def main() -> None:
    """Measure all networks, print them, and write the record."""
    data = load_data(DataSettings())
    inputs = direct_integers(data.test_images, STEPS)
    rows = []
    for name in NETWORKS:
        program, right = program_of(name, data)
        row = {"network": name, "program_sha256": program.sha256(), "right": right, "images": inputs.shape[1]}
        rows.append(row | measured(program, inputs))
        print(
            f"{name}: c {rows[-1]['c_milliseconds_an_image']:.3f} ms an image, loihi at batch 1 "
            f"{rows[-1]['loihi_milliseconds_batch_1']:.2f} ms: {rows[-1]['times_faster']:.0f} times faster"
        )
    result: dict[str, Any] = {"steps": STEPS, "rounds": ROUNDS, "networks": rows}
    about = header("c_beside_loihi", "python benchmarks/c_beside_loihi.py", data=data)
    write_record(OUT / "c_beside_loihi.json", Benchmark(**about, **result))


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    main()
