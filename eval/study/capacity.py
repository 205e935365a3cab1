"""Cells of the study of capacity: a network and its attacks, then what the attacks of all networks do to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ...toolkit.attacks.blind import Noise
from ...toolkit.attacks.gradient import PGD
from ...toolkit.checkpoint import to_arrays, to_tensors
from ...toolkit.config import Recipe
from ...toolkit.data import DATASETS, Images, Labels
from ...toolkit.data.graph import Graph, GraphSource, Indices
from ...toolkit.errors import InputError
from ...toolkit.files import read_arrays, read_json, write_arrays
from ...toolkit.graphs import flips
from ...toolkit.graphs.gcn import GCN, OnGraph, accuracy, train_gcn
from ...toolkit.graphs.whole import WholeGraph
from ...toolkit.named import make
from ...toolkit.progress import quiet_libraries
from ..measure.forms import Forms
from ..records.base import FORMS, FormName, share
from ..run import steps
from ..run.folder import Run
from .cap import measure
from .seen import Rates, compiled, seen, sensitive, surfaces

Kind = Literal["gcn", "spiking"]
Changed = dict[str, list[list[int]]]
"""Flips (2, budget) by attack, as JSON has them."""
FLIPPED = {"edges": Graph.with_edges_flipped, "features": Graph.with_features_flipped}
ATTACKED = "attacked.safetensors"
WEIGHTS = "gcn.safetensors"


def source_of(recipe: Recipe) -> GraphSource | None:
    """Return the graph that a recipe is about; None where it is about images."""
    kind = DATASETS.get(recipe.data.name)
    return make(kind, recipe.data) if issubclass(kind, GraphSource) else None


def attack(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train a network, deploy it if it spikes, and let it make its attacks; what is done is kept.

    Args:
        recipe: of the run in ``folder``, or of the spiking network that a GCN stands beside.
        plan: ``network``: "gcn" or "spiking"; ``width``; ``edges`` and ``features``: shares of what there is that are
            flipped; ``rounds``: gradients; ``epsilon``: of PGD.
        folder: an ordinary run folder, or that of a GCN's weights.

    Returns:
        ``flips``: of graphs, by attack; ``surfaces``: by form.
    """
    quiet_libraries()
    source, seed = source_of(recipe), recipe.train.seed
    if plan["network"] == "gcn":
        if source is None:
            raise InputError(f"recipe {recipe.name!r}: a GCN needs a graph, and {recipe.data.name!r} is none")
        graph = source.graph()
        network = train_gcn(graph, int(plan["width"]), seed)[0]
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / WEIGHTS, "gcn", to_arrays(dict(network.state_dict())), {})
        return {"flips": _flips(OnGraph(network), graph, plan), "surfaces": {}}
    run = Run.create(folder, recipe)
    for name, step in (("train", steps.train), ("quantize", steps.quantize), ("export", steps.export)):
        if not run.is_done(name):
            step(run)
    forms, data = run.forms(), run.data()
    epsilon = float(plan["epsilon"])
    result: dict[str, Any] = {"surfaces": surfaces(forms, data.test_images, data.test_labels, epsilon, seed)}
    if source is not None:
        return result | {"flips": _flips(WholeGraph(forms.quantized, source.slots), source.graph(), plan)}
    images, labels = data.test_images[: plan["samples"]], data.test_labels[: plan["samples"]]
    common: dict[str, Any] = {"epsilon": epsilon, "seed": seed, "batch": recipe.evaluate.batch}
    made = {
        "pgd": PGD(steps=10, **common)(forms.quantized, images, labels).images,
        "chance": Noise(kind="sign", **common)(forms.quantized, images, labels).images,
    }
    write_arrays(folder / ATTACKED, "attacked", made, {})
    return result | {"flips": {}}


def _flips(victim: flips.Victim, graph: Graph, plan: Mapping[str, Any]) -> Changed:
    rounds = int(plan["rounds"])
    edges = round(plan["edges"] * graph.edges.shape[1])
    features = round(plan["features"] * int((graph.features > 0).sum()))
    made = {
        "edges": flips.gradient_edges(victim, graph, edges, rounds),
        "features": flips.gradient_features(victim, graph, features, rounds),
    }
    return {name: each.tolist() for name, each in made.items()}


def transfer(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what the attacks of all networks, and as much change by chance, do to one of them.

    Args:
        recipe: of the network.
        plan: as of :func:`attack`, and ``made``: the key of the network's own cell; ``sources``: those of all, by name.
        folder: beside which the cells of :func:`attack` are.

    Returns:
        ``forms``: accuracy and share of sensitive neurons by form and condition.
    """
    quiet_libraries()
    own, sources = folder.parent / plan["made"], {name: folder.parent / key for name, key in plan["sources"]}
    source = source_of(recipe)
    if source is None:
        return {"forms": _forms(Run.open(own).forms(), _attacked_images(Run.open(own), own, sources, plan))}
    graph = source.graph()
    graphs = {"clean": graph} | _attacked_graphs(graph, own, sources, recipe.train.seed)
    if plan["network"] == "gcn":
        network = GCN(graph.features.shape[1], int(plan["width"]), graph.classes)
        network.load_state_dict(to_tensors(read_arrays(own / WEIGHTS, "gcn")[0]))
        right = {name: accuracy(OnGraph(network).logits(each), graph) for name, each in graphs.items()}
        found = {name: {"accuracy": share(each).model_dump(), "sensitive": None} for name, each in right.items()}
        return {"forms": {"float": found}}
    return {"forms": _on_graphs(Run.open(own).forms(), graphs, source.slots)}


def _on_graphs(forms: Forms, graphs: Mapping[str, Graph], slots: int) -> dict[FormName, dict[str, Any]]:
    """Return accuracy and sensitive neurons of every form on every graph; the first is the clean one.

    The networks in PyTorch see the whole graph at once, the Program each test node's sample. Only neurons of the node
    itself are looked at: who stands in the other slots may change.
    """
    program = compiled(forms)
    victims: dict[FormName, WholeGraph] = {
        "float": WholeGraph(forms.network, slots),
        "quantized": WholeGraph(forms.quantized, slots),
    }
    clean: dict[FormName, Rates] = {}
    found: dict[FormName, dict[str, Any]] = {form: {} for form in FORMS}
    for name, graph in graphs.items():
        labels, test = graph.labels[graph.test], graph.test
        for form in FORMS:
            if form == "program":
                classes, rates = seen(forms, form, graph.samples(test, slots), program=program)
                rates = {layer: each[:, :, 0] for layer, each in rates.items()}
            else:
                classes = victims[form].logits(graph).argmax(1).numpy()[test]
                rates = {"hidden": victims[form].rates(graph).double().numpy()[test]}
            _note(found[form], name, classes == labels, clean.setdefault(form, rates), rates)
    return found


def _note(found: dict[str, Any], name: str, right: NDArray[np.bool_], before: Rates, after: Rates) -> None:
    moved = None if name == "clean" else sensitive(before, after)
    found[name] = {"accuracy": share(right).model_dump(), "sensitive": moved}


def _attacked_graphs(graph: Graph, own: Path, sources: Mapping[str, Path], seed: int) -> dict[str, Graph]:
    """Return the graph as every source leaves it, and as chance does, by condition."""
    found = {}
    for name, place in sources.items():
        for kind, flip in FLIPPED.items():
            found[f"{kind} from {name}"] = flip(graph, _kept_flips(place)[kind])
    mine = _kept_flips(own)
    found["edges by chance"] = graph.with_edges_flipped(flips.random_edges(graph, mine["edges"], seed))
    found["features by chance"] = graph.with_features_flipped(flips.random_features(graph, mine["features"], seed))
    return found


def _kept_flips(cell: Path) -> dict[str, Indices]:
    kept = read_json(cell.with_name(f"{cell.name}.json"))["result"]["flips"]
    return {name: np.array(each, dtype=np.int64) for name, each in kept.items()}


def _attacked_images(run: Run, own: Path, sources: Mapping[str, Path], plan: Mapping[str, Any]) -> Any:
    data = run.data()
    labels = data.test_labels[: plan["samples"]]
    yield "clean", data.test_images[: plan["samples"]], labels
    for name, place in sources.items():
        yield f"pgd from {name}", read_arrays(place / ATTACKED, "attacked")[0]["pgd"], labels
    yield "pgd by chance", read_arrays(own / ATTACKED, "attacked")[0]["chance"], labels


def _forms(forms: Forms, conditions: Any) -> dict[FormName, dict[str, Any]]:
    """Return accuracy and sensitive neurons of every form under every condition; the first is the clean one.

    Args:
        forms: of one network.
        conditions: name, images and labels of each.
    """
    program = compiled(forms)
    clean: dict[FormName, Rates] = {}
    found: dict[FormName, dict[str, Any]] = {form: {} for form in FORMS}
    for name, images, labels in conditions:
        for form in FORMS:
            classes, rates = seen(forms, form, cast(Images, images), program=program)
            _note(found[form], name, classes == cast(Labels, labels), clean.setdefault(form, rates), rates)
    return found


def train(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train a GCN in one way, and measure it, see :func:`.cap.measure`."""
    source = source_of(recipe)
    if source is None:
        raise InputError(f"recipe {recipe.name!r}: CAP is studied on graphs here, and {recipe.data.name!r} is none")
    return measure(source.graph(), recipe.train.seed, plan)
