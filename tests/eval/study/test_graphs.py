"""The study of capacity: small ones on a graph and on images, taken up again; transfer rates and tables by hand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.records.base import Data, header
from spikeproof.eval.records.graphs import GraphStudy, read
from spikeproof.eval.study import capacity, graphs_page
from spikeproof.eval.study.cap import defence, measure
from spikeproof.eval.study.graphs import recipe_of, study
from spikeproof.eval.study.seen import GRID, sensitive
from spikeproof.toolkit.config import Recipe, load_recipe, parse_recipe
from spikeproof.toolkit.errors import InputError, RecipeError
from spikeproof.toolkit.progress import silent

PLAN = {"edges": 0.03, "features": 0.005, "rounds": 2, "epsilon": 0.1, "samples": 40}
CAP = {"width": 8, "rho": 0.1, "epsilon": 0.125, "warmup": 150}


def small(name: str, **others: Any) -> Recipe:
    values = load_recipe(name).model_dump(mode="json")
    values["train"]["epochs"], values["quantize"]["epochs"] = 15, 0
    for section, keys in others.items():
        values[section] |= keys
    return parse_recipe(values, name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[GraphStudy, Path]:
    out = tmp_path_factory.mktemp("graphs")
    return study(small("digits-graph"), [4, 8], [1], PLAN, {}, "spikeproof study graphs", out, None, silent), out


def test_every_network_meets_the_attacks_of_every_other(made: tuple[GraphStudy, Path]) -> None:
    found, out = made
    assert found == read(out / "graphs.json")
    names = ["gcn-4", "gcn-8", "spiking-4", "spiking-8"]
    assert found.names == names
    assert found.attacks == ["edges", "features"]
    expected = {"clean", *(f"{attack} from {name}" for attack in found.attacks for name in names)}
    assert set(found.conditions) == expected | {"edges by chance", "features by chance"}
    for network in found.networks:
        assert set(network.forms) == ({"float"} if "gcn" in network.name else {"float", "quantized", "program"})
        for form in network.forms.values():
            assert form["clean"].accuracy.samples == 500
            for attack in found.attacks:
                own, chance = (form[f"{attack} {by}"].accuracy.value for by in (f"from {network.name}", "by chance"))
                assert own <= chance - 0.01


def test_the_deployed_network_is_what_its_quantized_form_is(made: tuple[GraphStudy, Path]) -> None:
    for network in made[0].networks[2:]:
        for condition, seen in network.forms["quantized"].items():
            # But for sums of floats at a threshold.
            assert network.forms["program"][condition].accuracy.value == pytest.approx(seen.accuracy.value, abs=0.01)
        for rows in network.surfaces.values():
            surface = np.array(rows)
            assert surface.shape == (len(GRID), len(GRID))
            assert surface[len(GRID) // 2, len(GRID) // 2] > 0
            assert np.abs(surface).max() <= 1


def test_the_diagonal_of_transfer_is_one(made: tuple[GraphStudy, Path]) -> None:
    for attack in made[0].attacks:
        for form in ("float", "program"):
            rates = made[0].transfer(attack, form)  # type: ignore[arg-type]
            assert [rates[name, name] for name in made[0].names] == [1.0] * 4


def test_a_study_is_taken_up_again(made: tuple[GraphStudy, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found, out = made

    def never(*_: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr("spikeproof.eval.study.graphs.attack", never)
    monkeypatch.setattr("spikeproof.eval.study.graphs.transfer", never)
    again = study(small("digits-graph"), [4, 8], [1], PLAN, {}, "spikeproof study graphs", out, None, silent)
    assert again.networks == found.networks


def test_the_page_holds_tables_and_surfaces(made: tuple[GraphStudy, Path]) -> None:
    page = (made[1] / "graphs.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 4
    assert "spiking-8" in page
    assert graphs_page.render(made[0]) == page
    assert graphs_page.markdown(graphs_page.accuracies(made[0])).count("\n") == 2 + 2 + 2 * 3


def test_images_meet_pgd(tmp_path: Path) -> None:
    base = small("fast", data={"train_samples": 300, "test_samples": 40})
    found = study(base, [4, 8], [1], PLAN, {}, "spikeproof study graphs", tmp_path, None, silent)
    assert found.names == ["spiking-4", "spiking-8"]
    assert found.conditions == ["clean", "pgd from spiking-4", "pgd from spiking-8", "pgd by chance"]
    for network in found.networks:
        seen = network.forms["program"]
        assert seen["clean"].sensitive is None
        assert seen[f"pgd from {network.name}"].accuracy.value < seen["pgd by chance"].accuracy.value
        assert 0 < (seen[f"pgd from {network.name}"].sensitive or 0) < 1


def seen(correct: int, moved: float | None = None) -> dict[str, Any]:
    share = {"value": correct / 100, "low": 0.0, "high": 1.0, "correct": correct, "samples": 100}
    return {"accuracy": share, "sensitive": moved}


def network(name: str, seed: int, clean: int, a: int, b: int, moved: Iterable[float] = (0.1, 0.2)) -> dict[str, Any]:
    first, second = moved
    conditions = {
        "clean": seen(clean),
        "edges from a": seen(a, first),
        "edges from b": seen(b, second),
        "edges by chance": seen(clean, 0.0),
    }
    forms = {"float": conditions} | ({} if name == "a" else {"program": conditions})
    return {"name": name, "seed": seed, "key": "0", "forms": forms}


def record(*networks: dict[str, Any]) -> GraphStudy:
    head = header("x", "spikeproof study graphs") | {"data": Data(name="x", provenance="x", sha256="0"), "recipe": {}}
    return GraphStudy.model_validate(
        head | {"plan": {"seeds": [1, 2]}, "threat_model": "edges", "networks": list(networks)}
    )


def test_transfer_is_the_mean_of_ratios() -> None:
    """ATR(a -> b) of two seeds: (80 - 70) / (90 - 50) = 1/4 and (80 - 75) / (90 - 80) = 1/2."""
    found = record(
        network("a", 1, 90, 50, 85),
        network("a", 2, 90, 80, 90),
        network("b", 1, 80, 70, 60),
        network("b", 2, 80, 75, 40),
    )
    rates = found.transfer("edges", "program")  # a has no Program: its float form stands for it
    assert rates["a", "b"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert rates["b", "a"] == pytest.approx((5 / 20 + 0) / 2)
    assert (rates["a", "a"], rates["b", "b"]) == (1, 1)
    assert found.accuracies("b", "program", "edges from b") == [60, 40]
    assert found.accuracies("a", "program", "clean") == []
    assert found.sensitive("b", "float", "edges from a") == [10, 10]
    head, rows = graphs_page.accuracies(found)
    assert head == ["network", "form", "clean", "edges", "edges by chance"]
    assert rows[-1] == ["b", "Program", "80.0 ± 0.0", "50.0 ± 14.1", "80.0 ± 0.0"]


def test_an_attack_that_hurts_nobody_has_no_rate() -> None:
    found = record(network("a", 1, 90, 90, 85), network("b", 1, 80, 70, 60))
    rates = found.transfer("edges", "float")
    assert rates["a", "b"] is None
    assert rates["a", "a"] is None
    assert rates["b", "a"] == pytest.approx(0.25)
    assert "\u2013" in graphs_page.markdown(graphs_page.transfers(found)[0][1])


def test_neurons_are_sensitive_beyond_a_quarter() -> None:
    before = {"a": np.array([[0.0, 0.5], [1.0, 0.5]]), "b": np.zeros((2, 1))}
    after = {"a": np.array([[0.25, 0.8], [0.0, 0.5]]), "b": np.array([[0.0], [0.26]])}
    assert sensitive(before, after) == 3 / 6


def test_widths_are_those_of_the_recipe() -> None:
    wide = recipe_of(load_recipe("cora"), 64, 5)
    assert wide.train.seed == 5
    assert wide.model.layers[0].options["out_channels"] == wide.model.layers[4].options["in_features"] == 64
    assert recipe_of(load_recipe("digits"), 4, 5).model.channels == [4, 8]
    values = load_recipe("cora").model_dump(mode="json")
    values["model"]["layers"].insert(0, values["model"]["layers"][0] | {"name": "more"})
    with pytest.raises(InputError, match="one convolution"):
        recipe_of(parse_recipe(values, "x"), 4, 5)
    with pytest.raises(RecipeError, match="channels"):
        recipe_of(load_recipe("digits"), 0, 5)


def test_a_gcn_needs_a_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a graph"):
        capacity.attack(load_recipe("digits"), PLAN | {"network": "gcn", "width": 4}, tmp_path)
    with pytest.raises(InputError, match="is none"):
        capacity.train(load_recipe("digits"), CAP | {"training": "cap"}, tmp_path)


def test_ways_of_training_are_measured_alike() -> None:
    source = capacity.source_of(load_recipe("digits-graph"))
    assert source is not None
    graph = source.graph()
    assert (defence("plain", graph, CAP).rho, defence("weight", graph, CAP).epsilon) == (0, 0)
    assert defence("cap", graph, CAP).epsilon == pytest.approx(0.125 * np.linalg.norm(graph.features, axis=1).mean())
    early = CAP | {"warmup": 50}
    plain, cap = (measure(graph, 0, early | {"training": name}) for name in ("plain", "cap"))
    assert plain["train_loss"] < plain["test_loss"]
    assert min(plain["feature_sharpness"], plain["weight_sharpness"]) > 0
    assert cap["feature_sharpness"] < 0.95 * plain["feature_sharpness"]
