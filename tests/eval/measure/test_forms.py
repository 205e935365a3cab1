from collections.abc import Callable

import numpy as np
import pytest
import torch

from spikeproof.eval.measure.forms import Forms, evaluate, gradient_sparsity
from spikeproof.eval.measure.zeros import ZeroGradientShare
from spikeproof.eval.records.evaluation import MeasuredForm
from spikeproof.export.lowering.lower import lower, lower_graph
from spikeproof.export.lowering.meaning import Deployment
from spikeproof.export.nir.dynamics import ORIGINS
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import SideCar, to_nir
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.torch import TorchTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network


@pytest.fixture(scope="module")
def forms(random_network: Callable[..., SpikingNetwork]) -> Forms:
    network = random_network("max")
    quantized = quantized_network(network, 8)
    graph, grids = to_nir(quantized, (1, 8, 8))
    sidecar = SideCar(sha256="", time_step=1e-4, steps=quantized.steps, gain=1.0, grids=grids)
    return Forms(network, quantized, lower(graph, sidecar))


@pytest.fixture(scope="module")
def conditions(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"clean": images, "dark": images / 2}


@pytest.fixture(scope="module")
def measured(
    forms: Forms, conditions: dict[str, np.ndarray], labels: np.ndarray
) -> dict[tuple[str, str], MeasuredForm]:
    found = evaluate(forms, conditions, labels, {"loihi": 99, "onnx": 7}, batch=5)
    return {(form.form, form.target): form for form in found}


def classes(network: SpikingNetwork, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(images)).argmax(1).numpy()


def test_every_form_is_measured_on_its_share_of_the_samples(measured: dict[tuple[str, str], MeasuredForm]) -> None:
    assert {key: form.samples for key, form in measured.items()} == {
        ("float", "torch"): 12,
        ("quantized", "torch"): 12,
        ("program", "loihi"): 12,
        ("program", "onnx"): 7,
    }


@pytest.mark.parametrize("condition", ["clean", "dark"])
def test_accuracy_is_that_of_an_own_run(
    measured: dict[tuple[str, str], MeasuredForm],
    forms: Forms,
    conditions: dict[str, np.ndarray],
    labels: np.ndarray,
    condition: str,
) -> None:
    images = conditions[condition]
    run = LoihiTarget().compile(forms.program).run(direct_integers(images, forms.program.steps))
    answers = {
        ("float", "torch"): classes(forms.network, images),
        ("quantized", "torch"): classes(forms.quantized, images),
        ("program", "loihi"): run.output.argmax(1),
        ("program", "onnx"): run.output.argmax(1)[:7],
    }
    for key, answer in answers.items():
        found = measured[key].conditions[condition]
        count = len(answer)
        assert found.accuracy.correct == (answer == labels[:count]).sum(), key
        assert found.accuracy.samples == count
        assert found.same_as_float == (answer == answers["float", "torch"][:count]).mean(), key


def test_rates_and_operations_are_those_of_an_own_run(
    measured: dict[tuple[str, str], MeasuredForm], forms: Forms, conditions: dict[str, np.ndarray]
) -> None:
    messages = direct_integers(conditions["clean"], forms.program.steps)
    trace = LoihiTarget().compile(forms.program).run(messages, rasters=True)
    found = measured["program", "loihi"].conditions["clean"]
    for name, raster in trace.rasters.items():
        assert found.spike_rates[name] == pytest.approx(raster.spikes.mean())
    dense = trace.rasters["pool1"].spikes.sum() * 10 / 12
    assert found.operations["pool1 -> lif2"] == pytest.approx(dense)


def test_overflow_is_told_where_a_target_exposes_it(
    measured: dict[tuple[str, str], MeasuredForm], forms: Forms
) -> None:
    assert measured["float", "torch"].overflow is None
    assert measured["program", "onnx"].overflow is None
    quiet = {"wraps": 0, "saturations": 0, "swallowed": 0}
    names = [population.name for population in forms.program.populations]
    assert measured["program", "loihi"].overflow == dict.fromkeys(names, quiet)


def test_the_deployed_forms_agree_with_each_other(measured: dict[tuple[str, str], MeasuredForm], forms: Forms) -> None:
    seven = evaluate(
        forms, {"clean": np.zeros((7, 1, 8, 8), np.float32)}, np.zeros(7, int), {"loihi": 7, "onnx": 7}, batch=3
    )
    one, two = (form.conditions for form in seven if form.form == "program")
    assert one == two


def test_gradient_sparsity_does_not_depend_on_the_batches(forms: Forms, images: np.ndarray, labels: np.ndarray) -> None:
    metric = ZeroGradientShare(forms.network)
    metric.update(images, labels)
    found = gradient_sparsity(forms.network, images, labels, batch=5)
    assert found["hidden"] == metric.hidden()
    assert found["layers"]["lif1"] == {
        "input": metric.compute()["lif1"].input,
        "output": metric.compute()["lif1"].output,
    }


def test_messages_of_graded_units_are_counted_in_every_form() -> None:
    """Pools that overlap become graded units, and sums of their messages and spikes, too."""
    model = ModelSettings(kind="sew", channels=[2, 3], blocks=[1, 1], stem="imagenet", pool="avg", neuron="if")
    network = build_network(Recipe(model=model, coding=CodingSettings(steps=3)), (1, 8, 8), 4).eval()
    quantized = quantized_network(network, 8)
    nodes, grids = to_nir(quantized, (1, 8, 8))
    program = lower_graph(flatten(nodes, "graph"), Deployment(3, 8, ORIGINS["spikeproof"], grids))
    assert len(program.graded) == 2
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)).astype(np.float32) / np.float32(255)
    torch_counts = TorchTarget(graded=program.graded).compile(quantized).run(images).spike_counts
    chip_counts = LoihiTarget().compile(program).run(direct_integers(images, 3)).spike_counts
    for name in program.graded:
        assert torch_counts[name].sum() > 0
        # Thresholds are rounded, so a spike, and a message it decides on, may differ.
        assert abs(int(torch_counts[name].sum()) - int(chip_counts[name].sum())) < 0.1 * chip_counts[name].sum()
    forms = evaluate(
        Forms(network, quantized, program), {"clean": images}, np.zeros(6, np.int64), {"loihi": 6}, batch=6
    )
    assert {tuple(form.conditions["clean"].operations) for form in forms} == {
        tuple(f"{s.source} -> {s.target}" for s in program.synapses)
    }
