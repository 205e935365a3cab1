"""The steps of a run: each reads files of the run folder, does one thing, and writes files atomically."""

import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from ...export.chip import chips
from ...export.formats import netx
from ...export.formats.onnx import read_onnx, write_onnx
from ...export.formats.qcdq import check_qcdq, write_qcdq
from ...export.lowering.lower import lower
from ...export.nir.roundtrip import check_round_trip
from ...export.nir.write import read_nir, write_nir
from ...export.program import Program, read_program, write_program
from ...hw_targets.target import get_target
from ...toolkit.attacks.base import THREAT_MODEL, predict
from ...toolkit.attacks.gradient import make_attack
from ...toolkit.checkpoint import load_network, save_network
from ...toolkit.coding import Events, make_coder
from ...toolkit.config import Recipe
from ...toolkit.data import Dataset, Images, load_data
from ...toolkit.errors import FileError, InputError, UnsupportedError
from ...toolkit.files import digest, read_arrays, read_json, write_arrays, write_json
from ...toolkit.models import build_network
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import load_quantized, quantized_network, save_quantized
from ...toolkit.train import train_network
from ..measure.forms import DRAWS, Forms, evaluate, gradient_sparsity, weight_gradients
from ..measure.gradients import attack_gradients, clean_gradients
from ..measure.trail import TrailKeeper, read_trail
from ..records.base import command_line, header
from ..records.comparison import read as read_comparison
from ..records.evaluation import Evaluation
from .folder import Run
from .pages import write_compare_page, write_run_report
from .simulate import compare_targets

Result = dict[str, Any]
ROUND_TRIP_SAMPLES = 64
GRADIENT_SAMPLES = 100
"""Test images on which gradients are looked at layer by layer."""
TRAIL = "trail.json"
QCDQ = "network-qcdq.onnx"


def _attack_file(label: str) -> str:
    return f"attack-{label.replace('@', '-')}.safetensors"


def _identity(recipe: Recipe, data: Dataset, what: str) -> str:
    return digest(f"{what} {recipe.model_dump_json()} {data.sha256}".encode())


def train(run: Run, track: Track = silent) -> Result:
    """Train the recipe's network: model.safetensors, training.json."""
    recipe = run.recipe()
    data = load_data(recipe.data, recipe.coding.steps)
    source = f"coding.name = {recipe.coding.name!r}, data set {data.name!r}"
    coder = make_coder(recipe.coding)
    coder.check(data.train_images[:1], source)
    if isinstance(coder, Events) and not all(np.isin(x, (0, 1)).all() for x in (data.train_images, data.test_images)):
        raise InputError(f"{source}: values other than 0 and 1; bin the events to one a pixel and step")
    network = build_network(recipe, data.shape, data.classes)
    identity = _identity(recipe, data, "train")
    keeper = None
    if recipe.train.trail:
        keeper = TrailKeeper(
            run.path(TRAIL),
            identity,
            network,
            make_attack(recipe.attacks[-1], recipe.evaluate.batch),
            data.test_images,
            data.test_labels,
            every=recipe.train.trail,
            epochs=recipe.train.epochs,
            batch=recipe.evaluate.batch,
        )
    history = train_network(
        network,
        data.train_images,
        data.train_labels,
        recipe.train,
        epochs=recipe.train.epochs,
        rate=recipe.train.rate,
        defences=recipe.defences,
        state=run.path("training-state.safetensors"),
        identity=identity,
        track=track,
        after_epoch=keeper,
    )
    correct = predict(network, data.test_images, recipe.evaluate.batch) == data.test_labels
    save_network(run.path("model.safetensors"), network, recipe, data.shape, data.classes)
    write_json(run.path("training.json"), [vars(epoch) for epoch in history])
    run.finished("train", [TRAIL] if keeper else [])
    return {
        "step": "train",
        "epochs": len(history),
        "loss": history[-1].loss,
        "test_accuracy": float(correct.mean()),
        "samples": len(correct),
    }


def attack(run: Run, track: Track = silent) -> Result:
    """Attack the float network on the test images: one file an attack, and attacks.json."""
    network, recipe = load_network(run.path("model.safetensors"))
    run.require("train")
    data = load_data(recipe.data, recipe.coding.steps)
    found: dict[str, Any] = {}
    for settings in recipe.attacks:
        maker = make_attack(settings, recipe.evaluate.batch)
        made = maker(network, data.test_images, data.test_labels, track=track)
        few = slice(GRADIENT_SAMPLES)
        write_arrays(
            run.path(_attack_file(settings.label)),
            "attack",
            {"images": made.images, "robust": made.robust.astype(np.uint8)},
            {"label": settings.label, "data": data.sha256},
        )
        found[settings.label] = {
            "settings": settings.model_dump(mode="json"),
            "threat_model": f"{THREAT_MODEL} ({network.coder})",
            "made_on": "float network",
            "distance": made.distance,
            "distance_on_grid": float(np.abs(network.coder.on_grid(made.images) - data.test_images).max()),
            "float_accuracy": float(made.robust.mean()),
            "gradients": attack_gradients(maker, network, data.test_images[few], data.test_labels[few], track=track),
        }
    write_json(run.path("attacks.json"), found)
    run.finished("attack", [_attack_file(settings.label) for settings in recipe.attacks])
    return {"step": "attack", "samples": len(data.test_labels), "attacks": found}


def attacked(run: Run, recipe: Recipe, data: Dataset) -> dict[str, Images]:
    """Return the images of every attack of the recipe, checked."""
    images = {}
    for settings in recipe.attacks:
        path = run.path(_attack_file(settings.label))
        arrays, header = read_arrays(path, "attack")
        if header.get("data") != data.sha256 or "images" not in arrays:
            raise FileError(f"{path}: made on other data; run 'spikeproof attack {run.folder}' again")
        images[settings.label] = make_coder(recipe.coding).check(arrays["images"], str(path), data.shape)
        if len(images[settings.label]) != len(data.test_labels):
            raise FileError(f"{path}: not as many images as the test set; run 'spikeproof attack {run.folder}' again")
    return images


def quantize(run: Run, track: Track = silent) -> Result:
    """Fold, quantize and fine-tune on Loihi's grid: quantized.safetensors."""
    network, recipe = load_network(run.path("model.safetensors"))
    run.require("train")
    data = load_data(recipe.data, recipe.coding.steps)
    quantized = quantized_network(network, recipe.quantize.bits)
    rounded = predict(quantized, data.test_images, recipe.evaluate.batch) == data.test_labels
    if recipe.quantize.epochs:
        train_network(
            quantized,
            data.train_images,
            data.train_labels,
            recipe.train,
            epochs=recipe.quantize.epochs,
            rate=recipe.quantize.rate,
            defences=recipe.defences,
            state=run.path("quantize-state.safetensors"),
            identity=_identity(recipe, data, "quantize") + digest(run.path("model.safetensors").read_bytes()),
            what="quantize",
            track=track,
        )
    tuned = predict(quantized, data.test_images, recipe.evaluate.batch) == data.test_labels
    save_quantized(run.path("quantized.safetensors"), quantized, recipe, data.shape, data.classes)
    run.finished("quantize")
    return {
        "step": "quantize",
        "bits": recipe.quantize.bits,
        "rounded_accuracy": float(rounded.mean()),
        "test_accuracy": float(tuned.mean()),
        "samples": len(tuned),
    }


def describe(program: Program) -> list[dict[str, Any]]:
    """Return one row a synapse, for people: the integers, and how far its sums are from overflowing."""
    rows = []
    for population in program.populations:
        own = {
            "population": population.name,
            "shape": list(population.shape),
            "vth": population.vth,
            "dv": getattr(population, "dv", None),
            "bias_exponent": getattr(population, "bias_exponent", None),
        }
        if getattr(population, "input_bias", False):
            coded = {"synapse": "bias", "bits": program.input.message_bits, "exponent": 0, "largest_sum": 0}
            rows.append(own | {"from": program.input.name} | coded)
        rows += [
            own
            | {
                "from": synapse.source,
                "synapse": synapse.kind,
                "bits": synapse.bits,
                "exponent": synapse.exponent,
                "largest_sum": program.bound(synapse),
            }
            for synapse in program.incoming(population.name)
        ]
    return rows


def _qcdq(run: Run, network: SpikingNetwork, data: Dataset) -> tuple[dict[str, Any] | None, list[str]]:
    """Write Brevitas' QCDQ form and return how it agrees with the network, and the reasons if there is none."""
    try:
        write_qcdq(run.path(QCDQ), network, data.shape)
    except UnsupportedError as error:
        run.path(QCDQ).unlink(missing_ok=True)
        return None, [str(error)]
    return asdict(check_qcdq(run.path(QCDQ), network, data.test_images[:ROUND_TRIP_SAMPLES])), []


def export(run: Run, track: Track = silent) -> Result:
    """Write NIR, check it by executing what was written, lower it, and write Program and ONNX (seconds: no bar)."""
    network, recipe = load_quantized(run.path("quantized.safetensors"))
    run.require("quantize")
    data = load_data(recipe.data, recipe.coding.steps)
    write_nir(run.path("network.nir"), network, data.shape)
    trip = check_round_trip(run.path("network.nir"), network, data.test_images[:ROUND_TRIP_SAMPLES])
    graph, sidecar = read_nir(run.path("network.nir"))
    how = recipe.export
    program = lower(graph, sidecar, str(run.path("network.nir")), relays=how.relays, bias_exponent=how.bias_exponent)
    reasons = chips.unsupported(program, how.chip)
    if reasons:
        raise UnsupportedError(f"export.chip = {how.chip!r}: " + "; ".join(reasons))
    write_program(run.path("program.safetensors"), program)
    write_onnx(run.path("network.onnx"), program)
    without_net = netx.unsupported(program)
    if without_net:
        run.path("network.net").unlink(missing_ok=True)
    else:
        netx.write_net(run.path("network.net"), program)
    qcdq, without_qcdq = _qcdq(run, network, data)
    result = {
        "step": "export",
        "program_sha256": program.sha256(),
        "round_trip": asdict(trip),
        "without_net": without_net,
        "qcdq": qcdq,
        "without_qcdq": without_qcdq,
        "populations": describe(program),
    }
    write_json(run.path("export.json"), result)
    others = {"network.net": without_net, QCDQ: without_qcdq}
    run.finished("export", [name for name, reasons in others.items() if not reasons])
    return result


def _warnings(
    recipe: Recipe, data: Dataset, record_forms: list[Any], attacks: dict[str, Any], others: list[str]
) -> list[str]:
    found = [
        "Attacks are FGSM and PGD on the float network with its own surrogate, transferred to every other form: "
        "an upper bound on robustness, not a reliable estimate."
    ]
    coder = make_coder(recipe.coding)
    if coder.stochastic:
        found.append(
            f"The {coder.name} coder draws its spikes: every form is shown the same draws (seed {DRAWS} plus the first "
            "sample of a batch); other draws give other figures, and attacks took one draw a gradient."
        )
    if isinstance(coder, Events):
        found.append("Examples of attacks lie between 0 and 1: the chip receives them rounded to spikes.")
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
        if form.overflow and any(events["wraps"] + events["saturations"] for events in form.overflow.values()):
            found.append(f"{form.target}: currents wrapped or voltages saturated on clean images; see overflow.")
        if form.samples < len(data.test_labels):
            found.append(f"{form.target}: measured on the first {form.samples} samples only.")
    return found


def evaluate_run(run: Run, targets: list[str] | None, device: str, track: Track = silent) -> Result:
    """Measure every form under every condition: record.json and report.html."""
    network, recipe = load_network(run.path("model.safetensors"))
    quantized, _ = load_quantized(run.path("quantized.safetensors"))
    program = read_program(run.path("program.safetensors"))
    read_onnx(run.path("network.onnx"), program)
    for step in ("train", "attack", "quantize", "export"):
        run.require(step)
    data = load_data(recipe.data, recipe.coding.steps)
    conditions = {"clean": data.test_images, **attacked(run, recipe, data)}
    names = list(recipe.evaluate.targets) if targets is None else targets
    counts = {
        name: recipe.evaluate.lava_samples if target.slow else len(data.test_labels)
        for name in names
        if (target := get_target(name)).form == "program"
    }
    forms = evaluate(
        Forms(network, quantized, program),
        conditions,
        data.test_labels,
        counts,
        batch=recipe.evaluate.batch,
        device=device,
        track=track,
    )
    gradients = {
        name: gradient_sparsity(
            net.to("cpu"), data.test_images, data.test_labels, batch=recipe.evaluate.batch, track=track
        )
        for name, net in (("float", network), ("quantized", quantized))
    }
    few = slice(GRADIENT_SAMPLES)
    for name, net in (("float", network), ("quantized", quantized)):
        gradients[name]["clean"] = clean_gradients(
            net, data.test_images[few], data.test_labels[few], batch=recipe.evaluate.batch
        )
    gradients["float"]["weights"] = weight_gradients(network, data.test_images[few], data.test_labels[few], track=track)
    attacks = read_json(run.path("attacks.json"))
    compared = read_comparison(run.path("compare.json")) if run.is_done("compare") else None
    typed = command_line("evaluate", "DIR", targets=targets, device=None if device == "cpu" else device)
    record = Evaluation(
        **header(recipe.name, typed, data=data, program=program, recipe=recipe),
        populations=describe(program),
        threat_model=f"{THREAT_MODEL} ({network.coder})",
        attacks=attacks,
        training=read_json(run.path("training.json")),
        round_trip=read_json(run.path("export.json"))["round_trip"],
        gradients=gradients,
        forms=forms,
        comparison=compared,
        trail=read_trail(run.path(TRAIL)) if recipe.train.trail else None,
        warnings=_warnings(recipe, data, forms, attacks, run.by_other_code("train", "attack", "quantize", "export")),
    )
    write_run_report(run, record)
    write_compare_page(run)
    return {
        "step": "evaluate",
        **record.model_dump(mode="json"),
        "record": str(run.path("record.json")),
        "report": str(run.path("report.html")),
    }


def run_all(
    run: Run, targets: list[str], samples: int, report: Callable[[Result], None], track: Track = silent
) -> Result:
    """Run every step that is not done yet, on these targets, and return the last one's result."""
    simple = {"train": train, "attack": attack, "quantize": quantize, "export": export}
    for name, step in simple.items():
        if not run.is_done(name):
            report(step(run, track))
    if len(targets) > 1:
        report(compare_targets(run, targets, samples, True, track))
    result = evaluate_run(run, targets, "cpu", track)
    report(result)
    return result


def quiet_libraries() -> None:
    """Keep other packages' warnings off the terminal: they are about their own future, not about the user's run."""
    warnings.filterwarnings("ignore", module=r"(?!spikeproof).*")
