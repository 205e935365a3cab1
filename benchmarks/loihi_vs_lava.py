"""How much faster ``loihi`` is than ``lava`` on the same Program: python benchmarks/loihi_vs_lava.py.

Lava's time an image is the slope between a short and a long run, so that starting Python and compiling the network
do not count against it; the time with them is printed too. Writes benchmarks/loihi_vs_lava.json under --out.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import given_out

from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.export.program import read_program
from spikeproof.hw_targets.lava import client
from spikeproof.hw_targets.lava.client import LavaTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import DataSettings, load_recipe
from spikeproof.toolkit.data import load_data

OUT = given_out.USUAL / "benchmarks"
SHORT, LONG, BATCH, REPEATS = 16, 64, 500, 7


def seconds(compiled, inputs) -> tuple[float, object]:  # type: ignore[no-untyped-def]
    begun = time.perf_counter()
    trace = compiled.run(inputs)
    return time.perf_counter() - begun, trace


def main() -> None:
    recipe = load_recipe("digits")
    data = load_data(DataSettings())
    with TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", recipe)
        for step in (steps.train, steps.quantize, steps.export):
            step(run)
        program = read_program(run.path("program.safetensors"))
    inputs = direct_integers(data.test_images[:BATCH], program.steps)
    client.CHUNK = LONG  # one worker process a measurement
    lava, loihi = LavaTarget().compile(program), LoihiTarget().compile(program)
    short, _ = seconds(lava, inputs[:, :SHORT])
    long, slow = seconds(lava, inputs[:, :LONG])
    same, fast = [], []
    for _ in range(REPEATS):
        taken, trace = seconds(loihi, inputs[:, :LONG])
        same.append(taken / LONG)
        fast.append(seconds(loihi, inputs)[0] / BATCH)
    assert (trace.output == slow.output).all(), "the two must compute the same"
    lava_image, loihi_image, batch_image = (
        (long - short) / (LONG - SHORT),
        statistics.median(same),
        statistics.median(fast),
    )
    result = {
        "what": "seconds an image, digits recipe, max pooling",
        "steps": program.steps,
        "lava_seconds_per_image": lava_image,
        "lava_seconds_per_image_with_start": long / LONG,
        f"loihi_seconds_per_image_batch_{LONG}": loihi_image,
        f"loihi_seconds_per_image_batch_{BATCH}": batch_image,
        f"times_faster_batch_{LONG}": lava_image / loihi_image,
        f"times_faster_batch_{BATCH}": lava_image / batch_image,
    }
    about = header("loihi_vs_lava", "python benchmarks/loihi_vs_lava.py", data=data, program=program, recipe=recipe)
    write_record(OUT / "loihi_vs_lava.json", Benchmark(**about, **result))
    print(f"lava: {1000 * lava_image:.1f} ms an image ({1000 * long / LONG:.1f} ms with its start), one at a time")
    for batch, taken in ((LONG, loihi_image), (BATCH, batch_image)):
        print(f"loihi: {1000 * taken:.3f} ms an image in a batch of {batch}: {lava_image / taken:.0f} times faster")


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    main()
