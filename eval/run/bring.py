"""The step ``import``: a run that begins with a Program from elsewhere, and has no float network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...export.formats.netx_read import Kind, NetFile, read_net
from ...export.program import Graded, Program, read_program, write_program
from ...hw_targets.lava.netx import compile_file
from ...hw_targets.target import get_target
from ...toolkit.data import read_npz
from ...toolkit.errors import DisagreementError, InputError
from ...toolkit.files import digest, read_bytes
from ...toolkit.progress import Track, silent
from ..agreement.samples import Samples, load_samples
from ..agreement.targets import difference
from ..records.base import command_line, data_of, header, share, write_record
from ..records.imported import Imported, OnImporter
from .folder import Run
from .samples import image_shape, read_samples, write_samples

BATCH = 256


@dataclass(frozen=True)
class Told:
    """What the user says of a ``.net`` file beyond the file, see :func:`.netx_read.read_net`."""

    steps: int | None = None
    input_bits: int | None = None
    input_range: tuple[float, float] | None = None
    readout: Kind | None = None
    together: bool = False


def import_program(
    file: Path,
    data: Path,
    out: Path,
    *,
    steps: int | None = None,
    input_bits: int | None = None,
    input_range: tuple[float, float] | None = None,
    readout: Kind | None = None,
    together: bool = False,
    samples: int | None = None,
    importer: int = 0,
    track: Track = silent,
) -> Imported:
    """Make a run folder of a Program from elsewhere and the samples that it is measured on.

    Args:
        file: a ``.net`` file of lava-dl, or a Program's own file (``.safetensors``).
        data: an ``.npz`` with x, images (samples, ...) in [0, 1] or spikes (time, samples, ...), and labels y, if any.
        out: the run folder; made if absent.
        steps: time steps a sample; None for what the file, or the length of spikes, says.
        input_bits: of a message, see :func:`.netx_read.read_net`; None: 8 for images into synapses.
        input_range: of values that bias-coded input is made of, see there.
        readout: how classes are read, see there.
        together: whether all layers start at once, see there.
        samples: the first so many.
        importer: so many of them are also run on lava-dl's importer, on the file itself.
        track: progress.

    Raises:
        FileError: a file cannot be read.
        InputError: samples do not fit, or the folder holds another run.
        UnsupportedError: the file holds something that has no exact form.
        DisagreementError: the importer computes something else.
    """
    told = Told(steps, input_bits, input_range, readout, together)
    run = _folder(out)
    if file.suffix == ".safetensors":
        if told != Told() or importer:
            raise InputError(f"{file}: a Program says its steps, input and read-out itself; leave out other options")
        net, program = None, read_program(file)
        given = _samples(data, program, None, samples)
    else:
        net, given = _net(file, data, told, samples)
        program = net.program
    images, coding = _images(data, program, given)
    program = _of_shape(program, images.shape[-3:])
    typed = command_line(
        "import",
        file.name,
        data=data.name,
        out="DIR",
        **vars(told) | {"input_range": None if input_range is None else " ".join(f"{end:g}" for end in input_range)},
        samples=samples,
        netx=importer or None,
    )
    record = _record(file, program, coding, len(images), net, header(file.stem, typed, program=program))
    messages = record.coder().integers(images)
    classes, counts = _answers(program, messages, track)
    labels = classes if given.labels is None else given.labels
    read = program.readout.population if program.readout.kind == "membrane" else None
    found = None if net is None or not importer else _on_importer(file, net, messages[:, :importer], track)
    record = record.model_copy(
        update={
            "accuracy": None if given.labels is None else share(classes == labels),
            "labels": "program" if given.labels is None else "file",
            # A membrane that is read need not fire.
            "silent": tuple(name for name, count in counts.items() if not count and name != read),
            "importer": found,
        }
    )
    write_program(run.path("program.safetensors"), program)
    write_samples(run.path("samples.npz"), images, labels)
    write_record(run.path("import.json"), record)
    known = read_samples(run.path("samples.npz"), run.path("import.json"))
    record = record.model_copy(update={"data": data_of(known)})
    write_record(run.path("import.json"), record)
    if found is not None and found.different:
        wrong = next(bits for bits in found.values if bits.first)
        raise DisagreementError(
            f"{file}: lava-dl's importer differs in {found.different} of {found.compared} values, first "
            f"{wrong.quantity} of population {wrong.population!r} at {wrong.first}; please report it"
        )
    run.finished("import")
    return record


def _net(file: Path, data: Path, told: Told, samples: int | None) -> tuple[NetFile, Samples]:
    """Return what a ``.net`` file holds, and the samples; these say what the file leaves open."""
    options: dict[str, Any] = {"readout": told.readout, "together": told.together}
    if told.input_range is not None:
        options["input_range"] = told.input_range
    # The shape of its input says what the samples are.
    first = read_net(file, steps=told.steps or 1, input_bits=told.input_bits, **options).program
    stepwise = _over_time(data, first)
    if None not in (stepwise, told.steps) and stepwise != told.steps:
        raise InputError(f"{data}: x: {stepwise} time steps, but --steps {told.steps}; leave it out")
    net = read_net(file, steps=told.steps or stepwise, input_bits=told.input_bits, **options)
    given = _samples(data, net.program, told.input_bits, samples)
    if net.program.input.message_bits == 0 and given.input_bits:
        net = read_net(file, steps=net.program.steps, input_bits=given.input_bits, **options)
    return net, given


def _folder(out: Path) -> Run:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give --out a folder")
    if (out / "recipe.json").exists():
        raise InputError(f"{out}: holds a run of a recipe; give another --out")
    return Run(out)


def _over_time(data: Path, program: Program) -> int | None:
    """Return the time steps of spikes (time, samples, ...); None for images (samples, ...)."""
    (x,) = read_npz(data, ("x",))
    shape = program.input.shape
    if x.ndim >= 2 and x.shape[2:] == shape and x.shape[1:] != shape:
        return len(x)
    for start in (1, 2):
        try:
            image_shape(x.shape[start:], shape, "")
        except InputError:
            continue
        return None if start == 1 else len(x)
    raise InputError(
        f"{data}: x: shape {x.shape}, but the Program's input is {shape}: expected images (samples, ...) or spikes "
        "(time, samples, ...) of that shape"
    )


def _samples(data: Path, program: Program, input_bits: int | None, samples: int | None) -> Samples:
    """Return the samples in an ``.npz`` file, of any shape a step that fits the input."""
    (x,) = read_npz(data, ("x",))
    over_time = _over_time(data, program) is not None
    return load_samples(
        data,
        x.shape[2 if over_time else 1 :],
        program.shape_of(program.readout.population),
        steps=program.steps,
        # Whatever the message, images are given in [0, 1].
        input_bits=input_bits if input_bits is not None or not program.input.message_bits else 8,
        samples=samples,
    )


def _images(data: Path, program: Program, given: Samples) -> tuple[NDArray[np.float32], Literal["direct", "events"]]:
    """Return images (samples, channels, height, width), or spikes (samples, time, ...), and what sends them."""
    shape = image_shape(given.real.shape[2:], program.input.shape, f"{data}: x")
    real = given.real.reshape(*given.real.shape[:2], *shape)
    if program.input.message_bits == 0:
        return np.ascontiguousarray(real.swapaxes(0, 1)), "events"
    if not (real == real[:1]).all():
        raise InputError(
            f"{data}: x: graded messages that change from step to step, for which there is no coder; run them from "
            "Python, spikeproof.run(program, messages)"
        )
    return np.ascontiguousarray(real[0]), "direct"


def _of_shape(program: Program, shape: tuple[int, ...]) -> Program:
    """Return the same Program with an input of another shape, in the same order of memory."""
    if program.input.shape == shape:
        return program
    populations = [
        type(part)(**{**dict(part), "shape": shape, "bias": part.bias.reshape(shape)})
        if not isinstance(part, Graded) and part.input_bias
        else part
        for part in program.populations
    ]
    return Program(
        input=program.input.model_copy(update={"shape": shape}),
        populations=tuple(populations),
        synapses=program.synapses,
        readout=program.readout,
        steps=program.steps,
        profile=program.profile,
    )


def _record(
    file: Path,
    program: Program,
    coding: Literal["direct", "events"],
    samples: int,
    net: NetFile | None,
    about: dict[str, Any],
) -> Imported:
    """Return the record before anything was run."""
    channels, height, width = program.input.shape
    return Imported(
        **about,
        source=file.name,
        file=digest(read_bytes(file)),
        kind="program" if net is None else "net",
        steps=program.steps,
        coding=coding,
        levels=program.input.full,
        shape=(channels, height, width),
        classes=int(np.prod(program.shape_of(program.readout.population))),
        readout=program.readout.kind,
        samples=samples,
        labels="file",
        accuracy=None,
        silent=(),
        importer=None,
        warnings=() if net is None else net.warnings,
    )


def _answers(program: Program, messages: NDArray[np.int32], track: Track) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return the classes of all samples, and how many messages each population sent."""
    compiled = get_target("loihi").compile(program)
    classes, counts = [], dict.fromkeys((part.name for part in program.populations), 0)
    starts = range(0, messages.shape[1], BATCH)
    for start in track(starts, "run the Program", len(starts)):
        trace = compiled.run(np.ascontiguousarray(messages[:, start : start + BATCH]))
        classes.append(trace.classes)
        for name, count in trace.spike_counts.items():
            counts[name] += int(count.sum())
    return np.concatenate(classes), counts


def _on_importer(file: Path, net: NetFile, messages: NDArray[np.int32], track: Track) -> OnImporter:
    """Run the file itself on lava-dl's importer, and what was read from it on ``loihi``."""
    program = net.loaded
    given = np.ascontiguousarray(messages.reshape(*messages.shape[:2], *program.input.shape))
    theirs = compile_file(file, net).run(given, rasters=True, track=track)
    ours = get_target("loihi").compile(program).run(given, rasters=True)
    return OnImporter(
        samples=given.shape[1],
        spikes=sum(int((raster.spikes != 0).sum()) for raster in ours.rasters.values()),
        values=tuple(difference("netx", ours, theirs)),
        unloadable=net.unloadable,
    )
