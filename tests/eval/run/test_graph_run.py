"""The spiking graph network is an ordinary run: every command takes it, and targets agree bit for bit."""

import numpy as np
import pytest

from spikeproof.eval.run import steps
from spikeproof.eval.run.compare import compare
from spikeproof.eval.run.explain import explain
from spikeproof.eval.run.fit import fit
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.prove import prove
from spikeproof.eval.run.simulate import agree
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.attacks.victim import predict
from spikeproof.toolkit.config import load_recipe, parse_recipe
from spikeproof.toolkit.data.digits_graph import DigitsGraph
from spikeproof.toolkit.graphs.whole import WholeGraph


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    values = load_recipe("digits-graph").model_dump(mode="json")
    values["data"] |= {"slots": 16, "test_samples": 100}
    values["model"]["layers"][2]["options"]["kernel_size"] = [16, 1]
    values["model"]["layers"][0]["options"]["out_channels"] = 12
    values["model"]["layers"][4]["options"]["in_features"] = 12
    values["train"]["epochs"], values["quantize"]["epochs"] = 60, 2
    made = Run.create(tmp_path_factory.mktemp("graph") / "run", parse_recipe(values, "small"))
    steps.train(made)
    steps.quantize(made)
    steps.export(made)
    return made


def test_the_deployed_network_is_near_the_float_one(run: Run) -> None:
    forms, data = run.forms(), run.data()
    trace = get_target("loihi").compile(forms.program).run(forms.coder.integers(data.test_images))
    clean = float((predict(forms.network, data.test_images, 100) == data.test_labels).mean())
    assert clean > 0.6
    assert (trace.classes == data.test_labels).mean() == pytest.approx(clean, abs=0.03)


def test_targets_agree_bit_for_bit(run: Run) -> None:
    found = agree(run, ["loihi", "onnx", "twin"], samples=20).record
    assert found.equal
    assert found.different == 0


def test_lava_agrees_bit_for_bit(run: Run, need_lava: None) -> None:
    assert agree(run, ["loihi", "lava"], samples=1).record.equal


def test_it_is_explained_fitted_and_compared(run: Run) -> None:
    found = explain(run, samples=50, lava=False)
    assert found.stages[0].accuracy.samples == 50
    assert run.path("explain.html").exists()
    on_2, on_1 = fit(run, chip="loihi2"), fit(run, chip="loihi1")
    assert on_2.verdict != "refused"
    assert [layer.shape for layer in on_2.layers] == [[12, 16, 1], [10]]
    assert "graded" in on_1.reasons[0]
    groups = {row.group for row in compare(run, samples=50).table.rows}
    assert {"sparsity", "energy", "memory"} <= groups
    assert run.path("compare.html").exists()


def test_no_message_of_a_small_ball_changes_what_is_proved(run: Run) -> None:
    found = prove(run, epsilon=1 / 255, samples=4, limit=5.0, jobs=1)
    assert found.proved.samples == 4
    assert found.proved.value > 0


def test_every_form_is_one_function_of_the_whole_graph(run: Run) -> None:
    graph, forms, data = DigitsGraph(slots=16).graph(), run.forms(), run.data()
    nodes = graph.test[:100]
    for network in (forms.network, forms.quantized):
        expected = predict(network, data.test_images, 100)
        found = WholeGraph(network, 16).logits(graph).argmax(1).numpy()[nodes]
        # Sums of floats in another order may move a spike at its threshold.
        assert np.mean(found != expected) <= 0.02
