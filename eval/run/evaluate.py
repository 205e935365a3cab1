"""The step ``evaluate``: every form of a run under every condition of its recipe; of a Program from elsewhere, it."""

from typing import Any

from ...export.formats.onnx import read_onnx
from ...export.program import Program
from ...export.program.describe import describe
from ...hw_targets.family import family_of
from ...hw_targets.target import get_target
from ...toolkit.coding import Events, make_coder
from ...toolkit.config import Recipe
from ...toolkit.data import Dataset
from ...toolkit.errors import InputError
from ...toolkit.files import read_json
from ...toolkit.progress import Track, silent
from ...toolkit.task.regression import Upscaling
from ..measure.forms import DRAWS, Deployed, gradient_sparsity, weight_gradients
from ..measure.forms import evaluate as measure_forms
from ..measure.gradients import clean_gradients
from ..measure.qualities import baseline_of
from ..measure.trail import read_trail
from ..records.base import command_line, header
from ..records.comparison import Comparison
from ..records.comparison import read as read_comparison
from ..records.evaluation import Evaluation, MeasuredForm
from ..records.imported import read_imported
from ..robustness.threat import HALF, Spikes
from .folder import Run
from .pages import write_compare_page, write_run_report
from .results import Recorded
from .simulate import agree, require_equal
from .steps import GRADIENT_SAMPLES, TRAIL, attacked


def _of_spikes(facts: dict[str, Any]) -> bool:
    """Return whether an attack has a budget of spikes, not a radius in pixels."""
    return not {"budget", "largest"}.isdisjoint(facts["settings"])


def _warnings(recipe: Recipe, data: Dataset, attacks: dict[str, Any], others: list[str]) -> list[str]:
    edited = [label for label, facts in attacks.items() if _of_spikes(facts)]
    found = [
        "Attacks are FGSM and PGD on the float network with its own surrogate, transferred to every other form: "
        "an upper bound on robustness, not a reliable estimate."
    ] * (len(edited) < len(attacks))
    if edited:
        found.append(
            f"{', '.join(edited)}: made on the float network and transferred to every other form, an upper bound on "
            "robustness; what they change are spikes, which the chip receives as they are."
        )
    attacks = {label: facts for label, facts in attacks.items() if label not in edited}
    if isinstance(data.task, Upscaling) and data.task.pictures:
        found.append(
            f"Samples are parts of {len(data.task.pictures)} pictures, each attacked by itself: where parts overlap, "
            "attackers change the same pixel differently, as no single picture could be: no bound in either direction."
        )
    coder = make_coder(recipe.coding)
    if coder.stochastic:
        found.append(
            f"The {coder.name} coder draws its spikes: every form is shown the same draws (seed {DRAWS} plus the first "
            "sample of a batch); other draws give other figures, and attacks took one draw a gradient."
        )
    if isinstance(coder, Events) and attacks:
        weak = [label for label, facts in attacks.items() if facts["settings"]["epsilon"] < HALF]
        found.append(
            "Examples of attacks lie between 0 and 1: the chip receives them rounded to spikes."
            + (
                f" No change below 1/2 reaches it, so that {', '.join(weak)} cannot change the Program's input; "
                if weak
                else ""
            )
            + (f"attack spikes instead: 'spikeproof robustness RUN --threat {Spikes.name}'." if weak else "")
        )
    if others:
        found.append(
            f"Done by other code than the rest: {', '.join(others)}; by this code they may give other figures."
        )
    beyond = [
        label for label, facts in attacks.items() if facts["distance_on_grid"] > facts["settings"]["epsilon"] + 1e-6
    ]
    if beyond:
        farthest = max(attacks[label]["distance_on_grid"] for label in beyond)
        found.append(
            f"{', '.join(beyond)}: integer forms see the examples rounded to the chip's 8-bit input, where they reach "
            f"distance {farthest:.4f}, a little beyond epsilon."
        )
    return found


def _warnings_of_forms(program: Program, data: Dataset, forms: list[MeasuredForm]) -> list[str]:
    """Return what a reader must know of what was measured on clean images."""
    found = []
    if len(data.test_labels) < 300:
        found.append(f"Only {len(data.test_labels)} test samples: intervals are wide, do not quote.")
    # A membrane that is read need not fire.
    read = program.readout.population if program.readout.kind == "membrane" else None
    for form in forms:
        rates = form.conditions["clean"].spike_rates
        silent = [name for name, rate in rates.items() if not rate and name != read]
        if silent:
            found.append(f"{form.form}, {form.target}: no neuron fires on clean images in {', '.join(silent)}.")
        if form.overflow and any(events["wraps"] + events["saturations"] for events in form.overflow.values()):
            found.append(f"{form.target}: currents wrapped or voltages saturated on clean images; see overflow.")
        if form.samples < len(data.test_labels):
            found.append(f"{form.target}: measured on the first {form.samples} samples only.")
    return found


def evaluate(
    run: Run, targets: list[str] | None = None, device: str = "cpu", track: Track = silent
) -> Recorded[Evaluation]:
    """Measure every form under every condition: record.json and report.html.

    Of a Program from elsewhere, which has no float network, only clean images are measured, on the Program; its targets
    are compared bit for bit if that is not on record.

    Args:
        run: with all its steps done.
        targets: of the Program; the recipe's by default, of a Program from elsewhere all of those that can run it.
        device: torch device of the float and the quantized network.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
        DisagreementError: targets that were compared here differ; the record is written before.
        InputError: a device for a Program from elsewhere, which has no float network.
    """
    if run.imported:
        if device != "cpu":
            raise InputError(f"--device {device}: is of a float network, which this run has not; leave it out")
        return _of_program(run, targets, track)
    for step in ("train", "attack"):
        run.require(step)
    recipe, forms, data = run.recipe(), run.forms(), run.data()
    network, quantized, program = forms.network, forms.quantized, forms.program
    family = family_of(recipe.export.chip)
    if family.nir:
        read_onnx(run.path("network.onnx"), program)
    conditions = {"clean": data.test_images, **attacked(run, recipe, data)}
    names = family.targets(recipe.evaluate.targets) if targets is None else targets
    counts = {
        name: recipe.evaluate.lava_samples if target.slow else len(data.test_labels)
        for name in names
        if (target := get_target(name)).form == "program"
    }
    measured = measure_forms(
        forms,
        conditions,
        data.test_labels,
        counts,
        batch=recipe.evaluate.batch,
        task=data.task,
        device=device,
        track=track,
    )
    options: dict[str, Any] = {"batch": recipe.evaluate.batch, "task": data.task}
    gradients = {
        name: gradient_sparsity(net.to("cpu"), data.test_images, data.test_labels, **options, track=track)
        for name, net in (("float", network), ("quantized", quantized))
    }
    few = slice(GRADIENT_SAMPLES)
    for name, net in (("float", network), ("quantized", quantized)):
        gradients[name]["clean"] = clean_gradients(net, data.test_images[few], data.test_labels[few], **options)
    gradients["float"]["weights"] = weight_gradients(
        network, data.test_images[few], data.test_labels[few], task=data.task, track=track
    )
    attacks = read_json(run.path("attacks.json"))
    compared = read_comparison(run.path("compare.json")) if run.is_done("compare") else None
    typed = command_line("evaluate", "DIR", targets=targets, device=None if device == "cpu" else device)
    others = run.by_other_code("train", "attack", "quantize", "export")
    foreign = [name for name in recipe.evaluate.targets if name not in family.targets(recipe.evaluate.targets)]
    left_out = f"Targets {', '.join(foreign)} were left out: they do not compute profile {program.profile!r}."
    record = Evaluation(
        **header(recipe.name, typed, data=data, program=program, recipe=recipe),
        populations=describe(program),
        threat_model="; ".join(dict.fromkeys(facts["threat_model"] for facts in attacks.values())),
        attacks=attacks,
        training=read_json(run.path("training.json")),
        round_trip=read_json(run.path("export.json"))["round_trip"] if family.nir else {},
        gradients=gradients,
        forms=measured,
        comparison=compared,
        baseline=baseline_of(data),
        trail=read_trail(run.path(TRAIL)) if recipe.train.trail else None,
        warnings=[
            *_warnings(recipe, data, attacks, others),
            *_warnings_of_forms(program, data, measured),
            *[left_out] * bool(foreign),
        ],
    )
    return _written(run, record)


def _written(run: Run, record: Evaluation) -> Recorded[Evaluation]:
    write_run_report(run, record)
    write_compare_page(run)
    return Recorded("evaluate", record, str(run.path("record.json")), str(run.path("report.html")))


def _runnable(program: Program, names: list[str]) -> tuple[list[str], list[str]]:
    """Return the targets that can run a Program here, and why the others cannot."""
    able, notes = [], []
    for name in names:
        target = get_target(name)
        reasons = [why] if (why := target.unavailable()) else target.refused(program)
        if reasons:
            notes.append(f"Target {name} was left out: {reasons[0].rstrip('.')}.")
        else:
            able.append(name)
    return able, notes


def _agreement(run: Run, program: Program, names: list[str], samples: int, track: Track) -> tuple[Comparison, bool]:
    """Return how these targets agree, from the record or made now, and whether it was made now."""
    if run.is_done("compare"):
        known = read_comparison(run.path("compare.json"))
        ours = known.program is not None and known.program.sha256 == program.sha256()
        if ours and set(names) <= {known.reference, *known.targets}:
            return known, False
    return agree(run, names, samples, track).record, True


def _of_program(run: Run, targets: list[str] | None, track: Track) -> Recorded[Evaluation]:
    """Measure a Program from elsewhere: all that needs no float network."""
    run.require("import")
    given = read_imported(run.path("import.json"))
    forms, data, settings = run.deployed(), run.data(), run.recipe().evaluate
    assert isinstance(forms, Deployed)
    program = forms.program
    wanted = list(settings.targets) if targets is None else targets
    names, notes = _runnable(program, wanted) if targets is None else (wanted, [])
    counts = {}
    for name in names:
        target = get_target(name)
        if target.form != "program":
            raise InputError(f"target {name!r}: runs a float network, which this run has not; choose other --targets")
        counts[name] = min(settings.lava_samples, len(data.test_labels)) if target.slow else len(data.test_labels)
    measured = measure_forms(
        forms, {"clean": data.test_images}, data.test_labels, counts, batch=settings.batch, track=track
    )
    if given.labels == "program":
        notes.append("No labels: which answers are right is not known, so there is no accuracy.")
        measured = [_without_accuracy(form) for form in measured]
    compared, fresh = None, False
    if len(names) > 1:
        compared, fresh = _agreement(run, program, names, settings.lava_samples, track)
    typed = command_line("evaluate", "DIR", targets=targets)
    record = Evaluation(
        **header(given.name, typed, data=data, program=program),
        populations=describe(program),
        threat_model="no attack; 'spikeproof robustness' attacks a Program itself",
        attacks={},
        training=[],
        round_trip={},
        gradients={},
        forms=measured,
        comparison=compared,
        warnings=[
            f"{given.source} holds no float network. Not measured, since it is needed for that: the float and the "
            "quantized form and whether the Program answers as they do, attacks that are made on it, its gradients, "
            "its training. 'spikeproof robustness' attacks the Program itself.",
            *given.warnings,
            *notes,
            *_warnings_of_forms(program, data, measured),
        ],
    )
    done = _written(run, record)
    if compared is not None and fresh:
        require_equal(compared)
    return done


def _without_accuracy(form: MeasuredForm) -> MeasuredForm:
    conditions = {name: one.model_copy(update={"accuracy": None}) for name, one in form.conditions.items()}
    return form.model_copy(update={"conditions": conditions})
