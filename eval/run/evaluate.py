"""The step ``evaluate``: every form of a run under every condition of its recipe."""

from typing import Any

from ...export.formats.onnx import read_onnx
from ...export.program.describe import describe
from ...hw_targets.target import get_target
from ...toolkit.coding import Events, make_coder
from ...toolkit.config import Recipe
from ...toolkit.data import Dataset
from ...toolkit.files import read_json
from ...toolkit.progress import Track, silent
from ...toolkit.task.regression import Upscaling
from ..measure.forms import DRAWS, gradient_sparsity, weight_gradients
from ..measure.forms import evaluate as measure_forms
from ..measure.gradients import clean_gradients
from ..measure.qualities import baseline_of
from ..measure.trail import read_trail
from ..records.base import command_line, header
from ..records.comparison import read as read_comparison
from ..records.evaluation import Evaluation
from ..robustness.threat import HALF, Spikes
from .folder import Run
from .pages import write_compare_page, write_run_report
from .results import Recorded
from .steps import GRADIENT_SAMPLES, TRAIL, attacked


def _warnings(
    recipe: Recipe,
    data: Dataset,
    record_forms: list[Any],
    attacks: dict[str, Any],
    others: list[str],
    quiet: str | None,
) -> list[str]:
    found = [
        "Attacks are FGSM and PGD on the float network with its own surrogate, transferred to every other form: "
        "an upper bound on robustness, not a reliable estimate."
    ]
    if isinstance(data.task, Upscaling) and data.task.pictures:
        found.append(
            f"Samples are parts of {len(data.task.pictures)} pictures, each attacked by itself: where parts overlap, "
            "attackers change the same pixel differently, so that pictures under attack are a lower bound of quality."
        )
    coder = make_coder(recipe.coding)
    if coder.stochastic:
        found.append(
            f"The {coder.name} coder draws its spikes: every form is shown the same draws (seed {DRAWS} plus the first "
            "sample of a batch); other draws give other figures, and attacks took one draw a gradient."
        )
    if isinstance(coder, Events):
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
    if len(data.test_labels) < 300:
        found.append(f"Only {len(data.test_labels)} test samples: intervals are wide, do not quote.")
    beyond = [
        label for label, facts in attacks.items() if facts["distance_on_grid"] > facts["settings"]["epsilon"] + 1e-6
    ]
    if beyond:
        farthest = max(attacks[label]["distance_on_grid"] for label in beyond)
        found.append(
            f"{', '.join(beyond)}: integer forms see the examples rounded to the chip's 8-bit input, where they reach "
            f"distance {farthest:.4f}, a little beyond epsilon."
        )
    for form in record_forms:
        rates = form.conditions["clean"].spike_rates
        silent = [name for name, rate in rates.items() if not rate and name != quiet]
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

    Args:
        run: with all its steps done.
        targets: of the Program; the recipe's by default.
        device: torch device of the float and the quantized network.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
    """
    run.needs_network("evaluate")
    for step in ("train", "attack"):
        run.require(step)
    recipe, forms, data = run.recipe(), run.forms(), run.data()
    network, quantized, program = forms.network, forms.quantized, forms.program
    read_onnx(run.path("network.onnx"), program)
    conditions = {"clean": data.test_images, **attacked(run, recipe, data)}
    names = list(recipe.evaluate.targets) if targets is None else targets
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
    quiet = program.readout.population if program.readout.kind == "membrane" else None
    others = run.by_other_code("train", "attack", "quantize", "export")
    record = Evaluation(
        **header(recipe.name, typed, data=data, program=program, recipe=recipe),
        populations=describe(program),
        threat_model="; ".join(dict.fromkeys(facts["threat_model"] for facts in attacks.values())),
        attacks=attacks,
        training=read_json(run.path("training.json")),
        round_trip=read_json(run.path("export.json"))["round_trip"],
        gradients=gradients,
        forms=measured,
        comparison=compared,
        baseline=baseline_of(data),
        trail=read_trail(run.path(TRAIL)) if recipe.train.trail else None,
        warnings=_warnings(recipe, data, measured, attacks, others, quiet),
    )
    write_run_report(run, record)
    write_compare_page(run)
    return Recorded("evaluate", record, str(run.path("record.json")), str(run.path("report.html")))
