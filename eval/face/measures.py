"""What is left of a network: the verbs that measure, each with a record that shows itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...export.chip import CHIPS
from ...export.chip.mapper import MAPPERS, Mapper
from ...export.program import Program
from ...toolkit.attacks.given import Bounds, Given, Output, Preprocessing
from ...toolkit.attacks.protocol import Protocol
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.coding import Coder
from ...toolkit.data import Dataset, Images
from ...toolkit.errors import InputError
from ...toolkit.files import digest
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import bars
from ...toolkit.task import Task
from ..agreement.targets import compare as run_targets
from ..cost.cells import Cell, column
from ..cost.measure import measure_cost
from ..cost.table import side_by_side
from ..explain.forms import explain_forms
from ..explain.sensitivity import LOSS
from ..fit import fit as place
from ..measure.forms import Deployed, Forms, evaluate
from ..records.base import Data, header
from ..records.comparison import Comparison
from ..records.cost import Cost
from ..records.evaluation import Condition
from ..records.explanation import Explanation
from ..records.fit import Fit
from ..records.quality import QualityUnderAttack
from ..records.robustness import FormResult, Robustness
from ..report.compare import render_compare
from ..report.explain import render_explanation
from ..report.fit import render_fit
from ..report.robustness import render_robustness
from ..report.under_attack import render_quality
from ..robustness.forms import measure_robustness
from ..robustness.protocol import measure as measure_module
from ..robustness.quality import measure_quality
from .samples import Samples, classifier, task_of, test_part
from .shown import Shown

NAME = "network"
"""What a network is called in records made from Python."""
BATCH = 250
"""Samples a run."""


def header_of(verb: str, data: Samples | None, program: Program | None, **options: Any) -> dict[str, Any]:
    """Return a record's header; ``options`` that were given are part of the command."""
    given = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
    subject = "program" if data is None else "forms, data"
    known = data if isinstance(data, Dataset) else None
    about = header(NAME, f"spikeproof.{verb}({subject}{given})", data=known, program=program)
    if data is not None and known is None:
        images, labels = test_part(data, None)
        about["data"] = Data(name="arrays", sha256=digest(images.tobytes() + labels.tobytes()), test=len(labels))
    return about


def robustness(
    subject: Forms | Deployed | nn.Module,
    data: Samples,
    protocol: str | Protocol = "standard",
    *,
    epsilon: float | None = None,
    samples: int | None = None,
    targets: Sequence[str] | None = None,
    threat: str | None = None,
    budget: int | None = None,
    shifts: Shifts | None = None,
    seed: int = 0,
    draws: int = 1,
    bounds: Bounds | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
) -> "Shown[Robustness] | Shown[QualityUnderAttack] | FormResult":
    """Attack under a protocol: a sample counts as robust only if it survives every attack; alarms say what to doubt.

    Args:
        subject: all forms of a network, a Program from elsewhere, or any PyTorch classifier.
        data: whose test images, or images and labels.
        protocol: "quick" (seconds), "standard" (a minute), "strong" (as strong as known), or one of your own.
        epsilon: L-infinity radius in pixels of [0, 1], 0.1 by default; of coded entries 6/255.
        samples: the first so many; all if None.
        targets: "torch" for the float and quantized network, "loihi" for the Program, others to judge worst cases.
        threat: "pixel", "encoded", "encoded-binary" or "timing": what is changed; None for the protocol's own.
        budget: edits of spikes a sample, for "encoded-binary"; spikes that move, for "timing".
        shifts: how far spikes move, for "timing"; by one step if None.
        seed: of every attack.
        draws: of a stochastic coder that attacks with gradients average.
        bounds: of a classifier alone: the smallest and the largest value of an input, (0, 1) if None; ``epsilon`` is in
            its units, that of a protocol of your own in [0, 1].
        preprocessing: of a classifier alone: (mean, std) that its inputs are normalised by, numbers or one a channel.
        output: of a classifier alone: from what it returns to logits; see :class:`...toolkit.attacks.given.Given`.

    Returns:
        The record; of a classifier alone, its outcomes, worst case and alarms. Where the task of the data has no
        classes, the record of what is left of its quality.

    Raises:
        InputError: an option does not fit the network.
    """
    if not isinstance(subject, Forms | Deployed):
        others = {"targets": targets, "budget": budget, "shifts": shifts, "threat": threat}
        wrong = [name for name, value in others.items() if value is not None]
        if wrong or draws != 1:
            raise InputError(f"robustness of a classifier alone: {', '.join(wrong) or 'draws'} needs all forms")
        if not task_of(data).classed:
            raise InputError(
                f"robustness of a module alone: is about classes, and the task of these data is {task_of(data).name}; "
                "sp.attack(module, data, 'pgd', epsilon=...) gives its quality under an attack, and "
                "sp.robustness(sp.deploy(network, data), data) that of all forms of a network of sp.build_network"
            )
        victim, images, labels = classifier(subject, data, samples, bounds, preprocessing, output)
        if isinstance(victim, Given):
            epsilon = victim.radius(epsilon)
        with bars(keep=False) as track:
            found = measure_module(
                victim, images, labels, protocol=protocol, epsilon=epsilon, seed=seed, name=NAME, track=track
            )
        return found[NAME]
    if bounds is not None or preprocessing is not None or output is not None:
        raise InputError("bounds, preprocessing, output: belong to a classifier alone; these forms take [0, 1]")
    images, labels = test_part(data, samples)
    if not task_of(data).classed:
        if draws != 1:
            raise InputError(f"draws: not for the task {task_of(data).name}; leave it out")
        chosen: dict[str, Any] = {"protocol": protocol, "epsilon": epsilon, "threat": threat, "seed": seed}
        chosen |= {"budget": budget, "shifts": shifts}
        about = header_of("robustness", data, subject.program, samples=samples, targets=targets, **chosen)
        return _quality(subject, images, labels, task_of(data), about, names=targets, **chosen)
    options: dict[str, Any] = {"protocol": protocol, "epsilon": epsilon, "targets": targets, "threat": threat}
    options |= {"budget": budget, "shifts": shifts, "seed": seed, "draws": draws}
    about = header_of("robustness", data, subject.program, samples=samples, **options)
    with bars(keep=False) as track:
        record, _ = measure_robustness(subject, images, labels, about, **options, track=track)
    rows = [_robust(form) for form in record.forms]
    title = f"robustness, protocol {record.protocol}, {record.samples} samples, {record.threat_model}: {record.summary}"
    return Shown(record, title, tuple(rows), lambda: render_robustness(record))


def _quality(
    subject: Forms | Deployed, images: Images, targets: NDArray[Any], task: Task, about: dict[str, Any], **options: Any
) -> Shown[QualityUnderAttack]:
    with bars(keep=False) as track:
        record, _ = measure_quality(subject, images, targets, task, about, **options, track=track)
    what = f"{record.forms[0].clean.name}, {record.forms[0].clean.unit}"
    rows = [
        {
            "form": form.form,
            "target": form.target,
            f"clean {what}": form.clean.value,
            "worst case": form.worst.value,
            "largest loss of a sample": form.loss,
            "attacks": len(form.attacks),
            "notes": "; ".join(form.notes) or "none",
        }
        for form in record.forms
    ]
    return Shown(record, record.summary, tuple(rows), lambda: render_quality(record))


def _robust(form: FormResult) -> dict[str, Any]:
    alarms = [alarm.code for alarm in form.alarms if alarm.severity == "alarm"]
    return {
        "form": form.form,
        "target": form.target,
        "clean, %": 100 * form.clean.value,
        "worst case, %": 100 * form.worst.value,
        "95 % interval": f"{100 * form.worst.low:.1f} to {100 * form.worst.high:.1f}",
        "attacks": len(form.attacks),
        "alarms": ", ".join(sorted(alarms)) or "none",
    }


def explain(
    forms: Forms | Deployed,
    data: Samples,
    *,
    samples: int | None = None,
    lava: bool | None = None,
    layers: bool = True,
    loss: float = LOSS,
) -> Shown[Explanation]:
    """Say where spikes differ from float to the Program, what causes it, and what to do.

    Args:
        forms: float network, quantized network, and the Program that should be theirs; a Program from elsewhere alone
            is set beside its own integers in real numbers.
        data: whose test images, or images and labels.
        samples: the first so many; all if None.
        lava: whether Lava is run; None: where it is installed.
        layers: whether each layer is quantized alone, as :func:`.sensitivity.sensitivity` does.
        loss: points of accuracy that a layer may cost alone.

    Raises:
        UnsupportedError: the Program has other populations than the network.
    """
    images, labels = test_part(data, samples)
    given: dict[str, Any] = {"layers": None if layers else False, "loss": None if loss == LOSS else loss}
    about = header_of("explain", data, forms.program, samples=samples, lava=lava, **given)
    with bars() as track:
        record, overlays = explain_forms(
            forms, images, labels, about, task=task_of(data), lava=lava, loss=loss if layers else None, track=track
        )
    accuracy = {stage.name: stage.accuracy.value for stage in record.stages}
    rows = [
        {
            "from": pair.before,
            "to": pair.after,
            "accuracy, %": 100 * accuracy[pair.after],
            "spikes that differ": pair.effect.different,
            "of": pair.effect.compared,
            "classes changed": pair.effect.paired.classes_changed,
        }
        for pair in record.pairs
    ]
    said = [*record.verdict, *(record.layers.verdict if record.layers is not None else ())]
    return Shown(record, " ".join(said), tuple(rows), lambda: render_explanation(record, overlays))


def fit(
    program: Program,
    chip: str = "loihi1",
    *,
    mapper: str = "partition",
    messages: NDArray[np.int32] | None = None,
) -> Shown[Fit]:
    """Place a Program on a chip: whether it fits, where it lies, and what each core holds.

    Args:
        program: from :func:`.networks.lower` or a file.
        chip: whose limits (``spikeproof list chip``).
        mapper: "greedy" fills the mesh in order, "partition" puts cores that talk near each other.
        messages: input (time, batch, ...) on which split and whole Program must agree; none is run without.

    Raises:
        InputError: there is no such chip or mapper.
        DisagreementError: split and whole Program differ.
    """
    CHIPS.get(chip)
    if mapper not in MAPPERS:
        raise InputError(f"mapper {mapper!r}: unknown; choose {' or '.join(MAPPERS)}")
    known: Mapper = mapper
    if messages is None:
        messages = np.zeros((program.steps, 0, *program.input.shape), dtype=np.int32)
    record = place(program, chip, known, messages, header_of("fit", None, program, chip=chip, mapper=mapper))
    rows = [
        {
            "population": layer.population,
            "neurons": int(np.prod(layer.shape)),
            **{key.replace("_", " "): layer.demand[key] for key in (record.limits.main[-1],)},
            "cores": len(layer.cores),
        }
        for layer in record.layers
    ]
    because = "; ".join(record.reasons or record.warnings)
    title = f"{record.limits.title}: {record.verdict}" + (f" ({because})" if because else "")
    return Shown(record, title, tuple(rows), lambda: render_fit(NAME, [record]))


def compare(
    forms: Forms,
    data: Samples,
    *,
    attacked: Mapping[str, Images] | None = None,
    robustness: Shown[Robustness] | Shown[QualityUnderAttack] | None = None,
    worst_energy: float | None = None,
    samples: int | None = None,
) -> Shown[Cost]:
    """Put float, quantized and deployed side by side: robustness, sparsity, latency, energy, memory.

    Args:
        forms: float network, quantized network and Program.
        data: whose test images, or images and labels.
        attacked: adversarial images of the same samples, by name: what an attack costs.
        robustness: of the same forms, for its rows.
        worst_energy: epsilon of an energy attack, L-infinity in pixels of [0, 1]; None: none.
        samples: the first so many; all if None.
    """
    images, labels = test_part(data, samples)
    conditions = {"clean": images} | {name: part[:samples] for name, part in (attacked or {}).items()}
    with bars() as track:
        about = header_of("compare", data, forms.program, worst_energy=worst_energy, samples=samples)
        options: dict[str, Any] = {"batch": BATCH, "task": task_of(data), "track": track}
        record = measure_cost(about, forms, conditions, labels, **options, epsilon=worst_energy)
        measured = evaluate(forms, conditions, labels, {"loihi": len(labels)}, **options)
    found = side_by_side(None, None if robustness is None else robustness.record, record, NAME)
    accuracies = {column(one.form, one.target): one.conditions for one in measured}
    rows: list[dict[str, Any]] = [
        _judged(condition, {name: conditions.get(condition) for name, conditions in accuracies.items()}, found.columns)
        for condition in conditions
    ]
    rows += [
        {"quantity": row.name, "images": row.condition, "unit": row.unit}
        | {name: _cell(row.cells.get(name)) for name in found.columns}
        for row in found.rows
        if not row.part and row.group != "accuracy"
    ]
    title = "float, quantized and deployed side by side"
    return Shown(record, title, tuple(rows), lambda: render_compare(found, record, None, {}))


def _judged(condition: str, found: Mapping[str, Condition | None], columns: Sequence[str]) -> dict[str, Any]:
    """Return the row of what answers are judged by: accuracy as a share, or the task's quality; None without labels."""
    known = {name: each for name, each in found.items() if each is not None and each.known}
    quality = next((each.quality for each in known.values() if each.quality is not None), None)
    name, unit = ("accuracy", "share") if quality is None else (quality.name, quality.unit)
    values = {name: each.judged.value if each.accuracy is None else each.accuracy.value for name, each in known.items()}
    return {"quantity": name, "images": condition, "unit": unit} | {name: values.get(name) for name in columns}


def _cell(cell: Cell | None) -> float | str | None:
    """Return a cell's value, or its two ends in words; None where there is neither."""
    if cell is None or cell.value is not None:
        return None if cell is None else cell.value
    return None if cell.low is None else f"{cell.low:.3g} to {cell.high:.3g}"


def agree(
    program: Program,
    inputs: NDArray[Any],
    targets: Sequence[str] = ("loihi", "onnx"),
    *,
    coder: Coder | SpikingNetwork | None = None,
) -> Comparison:
    """Run a Program on several targets and compare every spike, and currents and voltages where exposed.

    Args:
        program: from :func:`.networks.lower` or a file.
        inputs: integer messages (time, batch, ...); with ``coder``, images (batch, ...) in [0, 1].
        targets: names; the first is the reference.
        coder: makes messages of images; a network's, or the network.

    Returns:
        The record; ``equal`` says whether not one value differs.
    """
    if coder is not None:
        inputs = (coder.coder if isinstance(coder, SpikingNetwork) else coder).integers(np.asarray(inputs))
    with bars() as track:
        found = run_targets(program, np.asarray(inputs), list(targets), track=track)
    return Comparison(**header_of("agree", None, program, targets=tuple(targets)), **dict(found))
