"""Measuring a NIR graph of any origin: run as its origin meant it, lowered to integers, and run on every target."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ...export.lint import TRIAL_LIMIT, check
from ...export.lowering.lower import Deployment, Lowered, lower_parts
from ...export.nir.dynamics import Settings, settings_of
from ...export.nir.execute import run_graph
from ...export.nir.graph import Graph, flatten
from ...export.nir.nodes import SPIKING
from ...export.nir.read import read_graph
from ...export.program import Program
from ...hw_targets.target import CompiledProgram, Raster, get_target
from ...toolkit.errors import FileError, InputError, UnsupportedError
from ...toolkit.files import digest, read_bytes
from ...toolkit.progress import Track, silent
from ..measure.metrics import Accuracy
from ..records.base import Data, ProgramId, Share, command_line, header
from ..records.comparison import Bits
from ..records.foreign import Foreign, ForeignFile, OnTarget, SpikesOf
from .reference import Reference
from .samples import Samples
from .targets import difference

BUDGET = 2**24
"""Values of all nodes and steps in one batch: bounds the memory that rasters take."""
BATCH = 256


@dataclass(frozen=True)
class Told:
    """What the user knows of a file beyond the file itself, see :func:`.execute.settings_of`."""

    origin: str | None = None
    dt: float | None = None
    reset: str | None = None
    one_spike: bool = False
    unscaled: bool = False
    as_hard: bool = False
    """Deploy what the chip has not, another reset, as its own: to 0. Other spikes are accepted, and counted."""
    start: str | None = None
    output: str | None = None

    def settings(self) -> Settings:
        """Return how the origin computes."""
        how = {"one_spike": self.one_spike, "unscaled": self.unscaled}
        return settings_of(self.origin or "nir", self.dt, self.reset, start=self.start, **how)

    def deployed(self) -> Settings:
        """Return how the Program computes."""
        return replace(self.settings(), reset="zero") if self.as_hard else self.settings()


def load_graph(path: Path, told: Told) -> tuple[Graph, list[str]]:
    """Return a file's graph, and the linter's warnings, after checking that nothing of importance is unknown.

    Raises:
        FileError: it cannot be read.
        UnsupportedError: it cannot be deployed, or needs to be told more; the first reason and the way to the others.
    """
    known = {name: value for name, value in asdict(told).items() if name != "as_hard"}
    report = check(path, **known, trial=False)
    accepted = ("soft-reset",) if told.as_hard else ()
    errors = [found for found in report.findings if found.severity == "error" and found.code not in accepted]
    if errors:
        first = errors[0]
        where = f"node {first.node!r}: " if first.node else ""
        more = f" ({len(errors) - 1} more: 'spikeproof nir check')" if len(errors) > 1 else ""
        kind = FileError if first.code == "file" else UnsupportedError
        raise kind(f"{path}: {where}{first.message}{more}")
    graph = flatten(read_graph(path), str(path), told.output)
    size = sum(prod(shape) for shape in graph.shapes.values())
    if size > TRIAL_LIMIT:
        raise UnsupportedError(f"{path}: its nodes send {size} values a step; more than {TRIAL_LIMIT} are not deployed")
    warnings = [f.message if f.node is None else f"node {f.node!r}: {f.message}" for f in report.findings]
    return graph, [text for text, f in zip(warnings, report.findings, strict=True) if f.severity == "warning"]


def lowered(graph: Graph, deployment: Deployment, source: str) -> Lowered:
    """Return the graph's Program and what became of its nodes; ``source`` names the file in messages.

    Raises:
        UnsupportedError: it has no exact form.
    """
    try:
        return lower_parts(graph, deployment)
    except UnsupportedError as error:
        raise UnsupportedError(f"{source}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnsupportedError(f"{source}: does not fit a Program: {where}: {first['msg']}") from error


class _Counter:
    """A share of samples, counted batch by batch."""

    def __init__(self) -> None:
        self.accuracy = Accuracy()

    def add(self, found: NDArray[np.int64], expected: NDArray[np.int64] | None) -> None:
        if expected is not None:
            self.accuracy.update(found, expected)

    def value(self) -> Share | None:
        return self.accuracy.compute() if self.accuracy.samples else None


class _Against:
    """Differences of one target from the reference, added up over batches."""

    def __init__(self) -> None:
        self.compared = self.different = 0
        self.first: tuple[str, str, tuple[int, ...]] | None = None

    def add(self, found: list[Bits], start: int) -> None:
        for bits in found:
            self.compared += bits.compared
            self.different += bits.different
            if bits.first and self.first is None:
                step, sample, *neuron = bits.first
                self.first = bits.quantity, bits.population, (step, start + sample, *neuron)


def _classes(output: NDArray[Any], kind: Literal["spike_count", "first_spike", "membrane"]) -> NDArray[np.int64]:
    """Return the classes of the origin's output (time, samples, ...); ties go to the lowest."""
    found = output[-1] if kind == "membrane" else output.sum(0)
    return np.asarray(found.reshape(len(found), -1).argmax(1), dtype=np.int64)


def measure(
    graph: Graph,
    made: Lowered,
    settings: Settings,
    samples: Samples,
    targets: list[str],
    *,
    reference: Reference | None = None,
    track: Track = silent,
) -> Foreign:
    """Run a graph as its origin meant it and its Program on targets, and compare every spike.

    Args:
        graph: from :func:`load_graph`.
        made: the graph's Program, from :func:`lowered`.
        settings: how the origin computes.
        samples: input.
        targets: names; the first that can run the Program is what the others are compared with.
        reference: the origin's own outputs.
        track: progress.

    Raises:
        InputError: a target runs no Programs.
        UnsupportedError: no target can run it.
        TargetError: a target is unavailable or failed.
    """
    program = made.program
    refused: dict[str, list[str]] = {}
    ready: dict[str, CompiledProgram] = {}
    for name in dict.fromkeys(targets):
        target = get_target(name)
        if target.form != "program":
            raise InputError(f"target {name!r}: runs no Programs; a foreign graph is run as its origin meant it anyway")
        reasons = target.refused(program)
        if reasons:
            refused[name] = reasons
        else:
            compiled = target.compile(program)
            assert isinstance(compiled, CompiledProgram)
            ready[name] = compiled
    if not ready:
        told = "; ".join(f"target {name!r}: {', '.join(reasons)}" for name, reasons in refused.items())
        raise UnsupportedError(f"no target can run the Program: {told or 'none was named'}")
    count = samples.real.shape[1]
    values = program.steps * sum(prod(shape) for shape in graph.shapes.values())
    batch = max(1, min(BATCH, BUDGET // values))
    leading = next(iter(ready))
    right = {name: _Counter() for name in ("float", *ready)}
    same, against = _Counter(), {name: _Against() for name in ready}
    sums = {node: np.zeros(4, dtype=np.int64) for node in made.parts}
    starts = range(0, count, batch)
    for start in track(starts, "run as meant and as integers", len(starts)):
        part = slice(start, start + batch)
        labels = None if samples.labels is None else samples.labels[part]
        messages = samples.messages(part)
        # Lines are planes 1 high for the chip, in the same order.
        messages = messages.reshape(*messages.shape[:2], *program.input.shape)
        x = torch.from_numpy(np.ascontiguousarray(samples.real[:, part]))
        sent = {name: signal.numpy() for name, signal in run_graph(graph, x, settings).items()}
        if reference is not None:
            reference.add(sent, start)
        meant = _classes(sent[list(graph.nodes)[-1]], program.readout.kind)
        right["float"].add(meant, labels)
        rasters: Mapping[str, Raster] = {}
        for name, compiled in ready.items():
            trace = compiled.run(messages, rasters=True)
            right[name].add(trace.classes, labels)
            if name == leading:
                first, rasters = trace, trace.rasters
                same.add(trace.classes, meant)
            else:
                against[name].add(difference(name, first, trace), start)
        for node, parts in made.parts.items():
            # Only those that spike are compared.
            if node not in sent or not isinstance(graph.nodes[node], SPIKING):
                continue
            fired = (sent[node] != 0).reshape(*x.shape[:2], -1)
            for piece in parts:
                integer = (rasters[piece.name].spikes != 0).reshape(*x.shape[:2], -1)
                real = fired if piece.members is None else fired[:, :, piece.members]
                sums[node] += [real.sum(), integer.sum(), real.size, (real != integer).sum()]
    agreed = same.value()
    assert agreed is not None
    against_first = [
        OnTarget(
            target=name,
            accuracy=right[name].value(),
            compared=one.compared,
            different=one.different,
            first=one.first,
        )
        for name, one in against.items()
    ]
    different = sum(one.different for one in against_first)
    return Foreign(
        samples=count,
        float_accuracy=right["float"].value(),
        same_class=agreed,
        spikes=tuple(
            SpikesOf(
                population=made.names[node],
                node=node,
                float_rate=float(f / n),
                program_rate=float(p / n),
                compared=int(n),
                different=int(d),
                share=int(d) / int(n),
            )
            for node, (f, p, n, d) in sums.items()
            if n
        ),
        targets=tuple(against_first),
        refused=refused,
        equal=not different,
        different=different,
        outputs=prod(program.shape_of(program.readout.population)),
        reference=() if reference is None else reference.found(),
    )


def bits_text(bits: int | Mapping[str, int] | None) -> list[str] | None:
    """Return bits as the option takes them."""
    if bits is None or isinstance(bits, int):
        return None if bits is None else [str(bits)]
    return [str(one) if name == "default" else f"{name}={one}" for name, one in bits.items()]


def record(
    file: Path,
    data: Path,
    told: Told,
    deployment: Deployment,
    samples: Samples,
    program: Program,
    found: Foreign,
    warnings: list[str],
    reference: Path | None = None,
) -> ForeignFile:
    """Return the record of a measurement.

    Args:
        file: the graph.
        data: the samples' file.
        told: what was known of the file.
        deployment: how it was lowered.
        samples: what was read from ``data``.
        program: that ran.
        found: what came out.
        warnings: the linter's, and what else a reader must know.
        reference: the file of the origin's own outputs.
    """
    settings = asdict(told.settings())
    settings["added"] = sorted(settings["added"])
    settings["deployed_reset"] = deployment.settings.reset
    typed = command_line(
        "nir",
        "evaluate",
        file.name,
        targets=[*(one.target for one in found.targets), *found.refused],
        data=data.name,
        steps=deployment.steps,
        bits=bits_text(deployment.bits),
        input_bits=deployment.input_bits,
        reference=None if reference is None else reference.name,
        samples=found.samples,
        **asdict(told),
    )
    about = header(file.name, typed) | {
        "data": Data(name=data.name, sha256=samples.sha256, test=found.samples),
        "program": ProgramId(sha256=program.sha256(), profile=program.profile),
    }
    return ForeignFile(
        **about,
        **dict(found),
        file=digest(read_bytes(file)),
        labels=samples.labels is not None,
        origin=told.origin,
        settings=settings,
        steps=deployment.steps,
        weight_bits=deployment.bits if isinstance(deployment.bits, int) else dict(deployment.bits),
        input_bits=deployment.input_bits,
        input_levels=deployment.levels,
        scale=samples.scale,
        warnings=warnings,
    )
