"""Steps that look at an exported run: simulate, compare targets, compare profiles."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program, read_program
from ...hw_targets.target import Trace, get_target
from ...toolkit.data import Images, check_labels, read_npz
from ...toolkit.errors import DisagreementError, InputError
from ...toolkit.files import write_arrays
from ...toolkit.progress import Track, silent
from ...toolkit.task import CLASSES, Task
from ...toolkit.train import seeded
from ..agreement.profiles import compare_profiles
from ..agreement.targets import compare
from ..measure.forms import DRAWS
from ..records.base import MeanQuality, command_line, header, mean_of, write_record
from ..records.comparison import Compared, Comparison
from .folder import Run
from .results import Agreed, Profiled, Simulated


def _images(run: Run, images: Path | None, samples: int | None) -> tuple[Images, NDArray[Any] | None]:
    """Return the user's images (labels, or targets, if the file has them), or the run's test images."""
    if images is None:
        data = run.data()
        x, y = data.test_images, data.test_labels
        return x[:samples], y[:samples]
    program = read_program(run.path("program.safetensors"))
    raw, *given = read_npz(images, ("x",), ("y",))
    channels, height, width = program.input.shape
    coder = run.coder()
    checked = coder.check(raw, f"{images}: x", coder.image_shape((channels, height, width)))
    classes = int(np.prod(program.shape_of(program.readout.population)))
    task = _task(run)
    known = [
        check_labels(array, f"{images}: y", len(checked), classes, real="this run's network has classes; leave y out")
        if task.classed
        else task.check(array, f"{images}: y", len(checked))
        for array in given
    ]
    return checked[:samples], known[0][:samples] if known else None


def _task(run: Run) -> Task:
    """Return what the run's outputs are for; those of a Program from elsewhere are classes."""
    return CLASSES if run.classed() else run.data().task


def _quality(run: Run, program: Program, trace: Trace, targets: NDArray[Any] | None) -> MeanQuality | None:
    """Return how good answers are that are no classes; None where they are classes, or nothing is known of them."""
    task = _task(run)
    if task.classed or targets is None:
        return None
    gain = run.recipe().model.gain
    return mean_of(task.scores(trace.output * (gain / program.largest_output), targets), task.quality)


def _messages(run: Run, images: Images) -> NDArray[np.int32]:
    """Return what the chip receives; a stochastic coder draws the same every time."""
    with seeded(DRAWS):
        return run.coder().integers(images)


def chip_input(run: Run, samples: int | None) -> NDArray[np.int32]:
    """Return the first ``samples`` test samples, or all, as the chip receives them, (time, batch, ...)."""
    return _messages(run, _images(run, None, samples)[0])


def simulate(
    run: Run, target: str, images: Path | None, samples: int | None, rasters: bool, track: Track = silent
) -> Simulated:
    """Run the Program on one target: trace-TARGET.safetensors, and what it did in numbers."""
    program = read_program(run.path("program.safetensors"))
    x, labels = _images(run, images, samples)
    found = get_target(target)
    if found.form != "program":
        raise InputError(f"target {target!r}: runs the float network, not the Program; choose another --target")
    trace = found.compile(program).run(_messages(run, x), rasters=rasters, track=track)
    arrays: dict[str, NDArray[Any]] = {"output": trace.output}
    arrays |= {f"counts/{name}": counts for name, counts in trace.spike_counts.items()}
    for name, raster in trace.rasters.items():
        arrays[f"spikes/{name}"] = raster.spikes
        if raster.u is not None and raster.v is not None:
            arrays |= {f"u/{name}": raster.u, f"v/{name}": raster.v}
    out = run.path(f"trace-{target}.safetensors")
    write_arrays(out, "trace", arrays, {"target": target, "program": program.sha256(), "samples": len(x)})
    classed = _task(run).classed
    quiet = program.readout.population if program.readout.kind == "membrane" else None
    neurons = {population.name: int(np.prod(population.shape)) for population in program.populations}
    return Simulated(
        target=target,
        samples=len(x),
        accuracy=float((trace.classes == labels).mean()) if classed and labels is not None else None,
        classes=trace.classes.tolist() if classed else [],
        spike_rates={
            name: float(counts.sum() / (len(x) * neurons[name] * program.steps))
            for name, counts in trace.spike_counts.items()
        },
        silent=[name for name, counts in trace.spike_counts.items() if not counts.any() and name != quiet],
        overflow=None if trace.overflow is None else {name: asdict(e) for name, e in trace.overflow.items()},
        file=str(out),
        quality=_quality(run, program, trace, labels),
    )


def agree(run: Run, targets: list[str], samples: int = 64, track: Track = silent) -> Agreed:
    """Run the Program on several targets and compare every spike, and u and v where exposed; compare.json.

    Args:
        run: exported.
        targets: names; the first is the reference.
        samples: the first so many test images.
        track: progress.
    """
    program = read_program(run.path("program.safetensors"))
    run.require("export")
    x, _ = _images(run, None, samples)
    found = compare(program, _messages(run, x), targets, track=track)
    recipe = run.recipe()
    typed = command_line("agree", "DIR", targets=targets, samples=samples)
    about = header(recipe.name, typed, data=run.data(), program=program, recipe=run.recipe_on_record())
    record = Comparison(**about, **dict(found))
    write_record(run.path("compare.json"), record)
    run.finished("compare")
    return Agreed(record)


def require_equal(comparison: Compared) -> None:
    """Check that no value differs.

    Raises:
        DisagreementError: one does; says where the first one is.
    """
    if comparison.equal:
        return
    bits = next(bits for bits in comparison.values if bits.different)
    step, sample, *neuron = bits.first or ()
    raise DisagreementError(
        f"{bits.target} differs from {comparison.reference}: {comparison.different} values, first {bits.quantity} of "
        f"population {bits.population!r} at step {step}, sample {sample}, neuron {tuple(neuron)}"
    )


def profiles(run: Run, samples: int, track: Track = silent) -> Profiled:
    """Run the Program under every profile of integer arithmetic and say what changes: no file."""
    program = read_program(run.path("program.safetensors"))
    run.require("export")
    x, labels = _images(run, None, samples)
    known = labels if _task(run).classed else None
    found = compare_profiles(program, _messages(run, x), known, track=track)
    changes = [one.profile for one in found if one.classes_changed]
    return Profiled(len(x), "lava", bool(changes), found)
