"""Graphs: neighbourhoods as samples against dense NumPy, flips, and files that are read and never unpickled."""

import pickle
import struct
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.data import load_data, planetoid
from spikeproof.toolkit.data.digits_graph import DigitsGraph
from spikeproof.toolkit.data.graph import Graph
from spikeproof.toolkit.errors import FileError, InputError, RecipeError


def dense(graph: Graph) -> np.ndarray:
    """Return A + I, entry by entry."""
    matrix = np.eye(graph.nodes)
    for low, high in graph.edges.T:
        matrix[low, high] = matrix[high, low] = 1
    return matrix


@pytest.fixture
def graph() -> Graph:
    """A graph of 9 nodes whose node 0 has 5 neighbours and whose node 8 has none."""
    rng = np.random.default_rng(0)
    edges = np.array([[0, 0, 0, 0, 0, 1, 3, 6], [1, 2, 3, 4, 5, 2, 4, 7]])
    index = np.arange(9)
    features = (rng.random((9, 6)) < 0.4).astype(np.float32)
    return Graph(features, edges, index % 3, index[:3], index[3:5], index[5:], 3)


def test_means_are_those_of_a_node_and_its_neighbours(graph: Graph) -> None:
    matrix = dense(graph)
    assert np.array_equal(graph.adjacency().toarray(), matrix)
    np.testing.assert_allclose(graph.means(), matrix @ graph.features / matrix.sum(1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("slots", [2, 4, 9])
def test_a_sample_holds_itself_then_its_neighbours_then_nothing(graph: Graph, slots: int) -> None:
    means, matrix = graph.means(), dense(graph) - np.eye(9)
    for node, sample in enumerate(graph.samples(np.arange(9), slots)):
        inside = [node, *np.flatnonzero(matrix[node])][:slots]
        assert sample.shape == (6, slots, 1)
        assert np.array_equal(sample[:, : len(inside), 0].T, means[inside])
        assert not sample[:, len(inside) :].any()


def test_an_edge_flipped_twice_is_as_it_was(graph: Graph) -> None:
    pairs = np.array([[0, 8, 7], [1, 2, 6]])
    flipped = graph.with_edges_flipped(pairs)
    expected = dense(graph)
    for low, high in ((0, 1), (2, 8), (6, 7)):
        expected[low, high] = expected[high, low] = 1 - expected[low, high]
    assert np.array_equal(dense(flipped), expected)
    assert np.array_equal(dense(flipped.with_edges_flipped(pairs)), dense(graph))
    with pytest.raises(InputError, match="loop"):
        graph.with_edges_flipped(np.array([[1], [1]]))
    with pytest.raises(InputError, match="twice"):
        graph.with_edges_flipped(np.array([[1, 2], [2, 1]]))


def test_features_are_flipped_where_it_is_said(graph: Graph) -> None:
    flipped = graph.with_features_flipped(np.array([[3, 4], [0, 5]]))
    changed = np.argwhere(flipped.features != graph.features)
    assert changed.tolist() == [[3, 0], [4, 5]]
    np.testing.assert_array_equal(flipped.features[3, 0], 1 - graph.features[3, 0])


def test_the_digits_are_joined_to_those_nearest() -> None:
    graph = DigitsGraph(noise=0.2).graph()
    matrix = dense(graph)
    assert (graph.nodes, len(graph.train), len(graph.test)) == (1797, 100, 500)
    assert np.bincount(graph.labels[graph.train]).tolist() == [10] * 10
    assert not set(graph.train) & set(graph.test)
    for node in (0, 77, 1796):
        distance = np.linalg.norm(graph.features - graph.features[node], axis=1)
        distance[node] = np.inf
        assert matrix[node, np.argsort(distance)[:8]].all()


def test_a_recipe_names_a_graph_and_its_slots() -> None:
    data = load_data(parse_recipe({"data": {"name": "digits-graph", "slots": 5, "test_samples": 7}}, "x").data)
    assert data.train_images.shape == (100, 64, 5, 1)
    assert data.test_images.shape == (7, 64, 5, 1)
    assert data.provenance == "8-neighbour graph of noisy scikit-learn digits, 100 train, 7 of 500 test"
    with pytest.raises(RecipeError, match="slots"):
        parse_recipe({"data": {"name": "digits-graph", "slots": 1}}, "x")


def listed(content: dict[int, list[int]]) -> bytes:
    return pickle.dumps(defaultdict(list, content), protocol=2)


def test_a_table_of_lists_is_read_without_unpickling_it() -> None:
    table = {0: [628], 1: [], 300: [1, 70_000, 2, 2], 2: list(range(1200))}
    assert planetoid.lists_of(listed(table), Path("graph")) == table
    many = {key: [key + 1, key] for key in range(2500)}
    assert planetoid.lists_of(listed(many), Path("graph")) == many


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cposix\nsystem\nU\x02ls\x85R.",
        pickle.dumps({1: "a"}, protocol=2),
        b"\x80\x02}(K\x01K\x02e.",
        b"\x80\x02e.",
        b"nothing",
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(FileError, match="graph"):
        planetoid.lists_of(content, Path("graph"))


def array_of(values: np.ndarray, *before: int) -> bytes:
    """Return numbers and raw bytes with the opcodes that Python 2 wrote them with."""
    raw = values.astype("<i4").tobytes()
    return b"".join(b"M" + struct.pack("<H", number) for number in before) + b"T" + struct.pack("<i", len(raw)) + raw


def matrix_of(rows: np.ndarray) -> bytes:
    indptr = np.concatenate([[0], np.cumsum((rows != 0).sum(1))])
    parts = [array_of(indptr, *rows.shape), array_of(np.nonzero(rows)[1]), array_of(np.ones(3))]
    return b"\x80\x02" + b"".join(parts) + b"."


def test_citeseer_is_put_together_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the published form, small: 506 known nodes, then 3 tested out of order, one number left out."""
    rng = np.random.default_rng(1)
    known, tested = (rng.random((506, 9)) < 0.3), (rng.random((3, 9)) < 0.5)
    classes, other = rng.integers(0, 6, 506), np.array([5, 0, 2])
    neighbours = {node: [node + 1] if node < 509 else [0, 509] for node in range(510)}
    files = {
        "x": matrix_of(known[:6]),
        "tx": matrix_of(tested),
        "allx": matrix_of(known),
        "y": b"\x80\x02" + array_of(np.eye(6)[classes[:6]]) + b".",
        "ty": b"\x80\x02" + array_of(np.eye(6)[other]) + b".",
        "ally": b"\x80\x02" + array_of(np.eye(6)[classes]) + b".",
        "graph": listed(neighbours),
        "test.index": b"509\n506\n508\n",
    }
    for name, content in files.items():
        (tmp_path / f"ind.citeseer.{name}").write_bytes(content)
    with pytest.raises(FileError, match="published"):
        planetoid.Citeseer(str(tmp_path)).graph()
    import hashlib

    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(planetoid, "CITESEER", sums)
    graph = planetoid.Citeseer(str(tmp_path)).graph()
    assert np.array_equal(graph.features[:506], known)
    assert np.array_equal(graph.features[[509, 506, 508]], tested)
    assert not graph.features[507].any()
    assert graph.labels[[509, 506, 508]].tolist() == other.tolist()
    assert np.array_equal(graph.labels[:506], classes)
    assert graph.test.tolist() == [506, 508, 509]
    assert graph.train.tolist() == list(range(6))
    assert len(graph.validation) == 500
    ring = {(node, node + 1) for node in range(509)} | {(0, 509)}
    assert {tuple(pair) for pair in graph.edges.T.tolist()} == ring


def test_an_order_of_edges_changes_nothing(graph: Graph) -> None:
    turned = replace(graph, edges=graph.edges[::-1, ::-1])
    assert np.array_equal(turned.samples(np.arange(9), 4), graph.samples(np.arange(9), 4))
