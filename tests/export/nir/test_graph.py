"""Graphs made flat: names, order, loops and shapes. Shapes are those of the PyTorch layers themselves."""

import itertools
from typing import Any

import networkx
import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spikeproof.export.nir.graph import Graph, flatten
from spikeproof.export.nir.nodes import geometry
from spikeproof.toolkit.errors import UnsupportedError


def entry(*shape: int) -> nir.Input:
    return nir.Input({"input": np.array(shape)})


def leave(*shape: int) -> nir.Output:
    return nir.Output({"output": np.array(shape)})


def lif(*shape: int) -> nir.LIF:
    return nir.LIF(*(np.full(shape, value) for value in (1e-3, 1.0, 0.0, 1.0, 0.0)))


def made(nodes: dict[str, Any], edges: str) -> nir.NIRGraph:
    return nir.NIRGraph(nodes, [tuple(edge.split(">")) for edge in edges.split()], type_check=False)


def letters(edges: str) -> nir.NIRGraph:
    """Make a graph on signals of shape (2,): i input, o output, capitals spike, small letters are linear."""
    names = sorted(set(edges) - set("> "))
    kinds = {"i": entry(2), "o": leave(2)}
    nodes = {name: kinds.get(name, lif(2) if name.isupper() else nir.Linear(np.eye(2))) for name in names}
    return made(nodes, edges)


def chain(shape: tuple[int, ...], *nodes: Any) -> Graph:
    names = {"input": entry(*shape), **{f"n{i}": node for i, node in enumerate(nodes)}, "output": leave(1)}
    return flatten(made(names, " ".join(f"{a}>{b}" for a, b in itertools.pairwise(names))), "g")


def check_order(graph: Graph) -> None:
    place = {name: index for index, name in enumerate(graph.nodes)}
    for start, end in graph.edges:
        assert (place[start] < place[end]) == ((start, end) not in graph.feedback), (start, end)


@pytest.mark.parametrize(
    ("edges", "order", "feedback"),
    [
        ("i>a a>B B>o", "iaBo", ""),
        ("i>a i>b a>C b>C C>o", "iabCo", ""),
        ("i>B B>w w>B B>o", "iBwo", "w>B"),  # a recurrent layer
        ("i>B B>B B>o", "iBo", "B>B"),
        ("i>a a>B B>w w>a B>o", "iaBwo", "w>a"),  # the loop closes before the weights
        ("i>a a>B B>w w>a i>B B>o", "iaBwo", "w>a"),  # and a shortcut into it changes nothing
        ("i>a a>B B>c c>D D>w w>B i>c D>o", "iaBcDwo", "w>B"),
        ("i>A A>b b>C C>d d>A C>w w>C C>o", "iAbCdwo", "d>A w>C"),  # a loop in a loop
        # C needs nothing of Z once the inner loop is cut, but comes after it, as what it sends back is a step late.
        ("i>Z i>A A>B Z>D D>B B>D B>C C>Z C>o D>o", "iABZCDo", "C>Z D>B"),
    ],
)
def test_loops_are_cut_where_they_close_and_the_rest_runs_in_order(edges: str, order: str, feedback: str) -> None:
    graph = flatten(letters(edges), "g")
    assert "".join(graph.nodes) == order
    assert graph.feedback == {tuple(edge.split(">")) for edge in feedback.split()}
    assert sorted(graph.edges) == sorted(tuple(edge.split(">")) for edge in edges.split())
    check_order(graph)


def test_order_does_not_depend_on_the_order_in_the_file() -> None:
    graph = letters("i>a i>b a>C b>C C>w w>C C>o")
    turned = nir.NIRGraph(dict(reversed(graph.nodes.items())), graph.edges[::-1], type_check=False)
    one, two = flatten(graph, "g"), flatten(turned, "g")
    assert (list(one.nodes), one.edges, one.feedback) == (list(two.nodes), two.edges, two.feedback)


def test_neighbours_are_listed_in_order() -> None:
    graph = flatten(letters("i>b i>a a>C b>C C>w w>C C>o"), "g")
    assert graph.before("C") == ["a", "b", "w"]
    assert graph.after("C") == ["w", "o"]
    assert graph.after("o") == []


@settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=20))
def test_any_set_of_edges_is_ordered_or_refused_as_networkx_judges(pairs: set[tuple[int, int]]) -> None:
    text = " ".join(f"{'iABcdEFo'[a]}>{'iABcdEFo'[b]}" for a, b in sorted(pairs))
    reference = networkx.DiGraph([tuple(edge.split(">")) for edge in text.split()])
    reference.add_nodes_from("io")
    graph = letters(text + " i>A A>o")
    reference.add_edges_from([("i", "A"), ("A", "o")])
    if len(set(graph.edges)) < len(graph.edges):
        return
    on_the_way = (networkx.descendants(reference, "i") & networkx.ancestors(reference, "o")) | {"i", "o"}
    silent = [loop for loop in networkx.simple_cycles(reference) if not any(name.isupper() for name in loop)]
    bad = on_the_way != set(reference) or silent or reference.in_degree("i") or reference.out_degree("o")
    try:
        flat = flatten(graph, "g")
    except UnsupportedError:
        assert bad
        return
    assert not bad
    check_order(flat)
    assert networkx.is_directed_acyclic_graph(networkx.DiGraph([e for e in flat.edges if e not in flat.feedback]))
    assert bool(flat.feedback) == (not networkx.is_directed_acyclic_graph(reference))


def test_sub_graphs_are_opened_and_their_inputs_and_outputs_disappear() -> None:
    deep = made({"input": entry(2), "fc": nir.Linear(np.eye(2)), "output": leave(2)}, "input>fc fc>output")
    layer = made(
        {"input": entry(2), "lif": lif(2), "w_rec": deep, "output": leave(2)},
        "input>lif lif>w_rec w_rec>lif lif>output",
    )
    graph = flatten(
        made(
            {"in": entry(3), "fc": nir.Linear(np.ones((2, 3))), "rec": layer, "out": leave(2)},
            "in>fc fc>rec rec>out",
        ),
        "g",
    )
    assert list(graph.nodes) == ["in", "fc", "rec.lif", "rec.w_rec.fc", "out"]
    assert graph.feedback == {("rec.w_rec.fc", "rec.lif")}
    assert graph.before("rec.lif") == ["fc", "rec.w_rec.fc"]
    assert graph.after("rec.lif") == ["rec.w_rec.fc", "out"]


def test_a_sub_graph_may_feed_itself_from_outside() -> None:
    layer = made({"input": entry(2), "lif": lif(2), "output": leave(2)}, "input>lif lif>output")
    graph = made(
        {"i": entry(2), "s": layer, "w": nir.Linear(np.eye(2)), "o": leave(2)},
        "i>s s>w w>s s>o",
    )
    assert flatten(graph, "g").feedback == {("w", "s.lif")}


@pytest.mark.parametrize(
    ("edges", "why"),
    [
        ("i>A A>o i>A", "edge 'i' -> 'A' exists twice"),
        ("i>A A>o b>A", "node 'b': the input does not reach it"),
        ("i>A A>o A>b", "node 'b': does not reach the output"),
        ("i>A A>o B>B", r"node 'B': the input does not reach it"),
        ("i>A A>o o>A", "edge 'o' -> 'A': nothing goes into the input or out of the output"),
        ("i>A A>o A>i", "edge 'A' -> 'i': nothing goes"),
        ("i>a a>b b>a b>C C>o", "loop without a spiking node.*: a, b"),
        ("i>a a>a a>C C>o", "loop without a spiking node.*: a"),
        ("A>o", "0 Input nodes, expected one"),
        ("i>A", "0 Output nodes, expected one"),
    ],
)
def test_structures_that_cannot_run_are_refused(edges: str, why: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^g: .*{why}"):
        flatten(letters(edges), "g")


def nested(depth: int) -> nir.NIRGraph:
    graph = made({"input": entry(2), "lif": lif(2), "output": leave(2)}, "input>lif lif>output")
    for _ in range(depth):
        graph = made({"input": entry(2), "g": graph, "output": leave(2)}, "input>g g>output")
    return graph


class Strange(nir.NIRNode):  # type: ignore[misc]
    def __init__(self) -> None:
        self.input_type = self.output_type = {}


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (made({"o": leave(2)}, ""), "0 Input nodes, expected one"),
        (made({"i": entry(2), "o": leave(2)}, "i>o i>x"), "edge 'i' -> 'x': there is no node 'x'"),
        (made({"i": entry(2), "s": Strange(), "o": leave(2)}, "i>s s>o"), "node 's': Strange is not a node of NIR"),
        (made({"i": entry(2), "b\n": lif(2), "o": leave(2)}, "i>o"), r"node 'b\\n': a name must be"),
        (made({"i": entry(2), "": lif(2), "o": leave(2)}, "i>o"), "node '': a name must be"),
        (made({"i": nir.Input({"input": None}), "o": leave(2)}, "i>o"), "node 'i': declares no shape"),
        (made({"i": entry(0), "o": leave(2)}, "i>o"), r"node 'i': shape \[0\]"),
        (made({"i": entry(2**14, 2**14), "o": leave(2)}, "i>o"), "node 'i': .* impossibly large"),
        (made({"i": entry(2), "s.l": lif(2), "s": nested(0), "o": leave(2)}, "i>s"), r"s'|does not reach|reach it"),
        (
            made({"i": entry(2), "s.lif": lif(2), "s": nested(0), "o": leave(2)}, "i>s i>s.lif s>o s.lif>o"),
            r"node 's\.lif': exists twice once sub-graphs are opened",
        ),
        (nested(20), "more than 16 graphs within one another"),
        (made({f"n{i}": lif(2) for i in range(1025)}, ""), "more than 1024 nodes"),
        (
            made({"i": entry(2), "s": made({"input": entry(2)}, ""), "o": leave(2)}, "i>s s>o"),
            "graph 's': 0 Output nodes",
        ),
    ],
)
def test_graphs_that_make_no_sense_are_refused(graph: nir.NIRGraph, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        flatten(graph, "g")


def test_the_work_that_a_file_asks_for_is_bounded() -> None:
    size = 66
    names = [f"n{i}" for i in range(size)]
    nodes = {"i": entry(2), "o": leave(2), **{name: lif(2) for name in names}}
    full = [f"{a}>{b}" for a in names[:60] for b in names[:60]]
    with pytest.raises(UnsupportedError, match="loops are nested more than 32 deep"):
        flatten(made({n: nodes[n] for n in ["i", "o", *names[:60]]}, " ".join([*full, "i>n0", "n0>o"])), "g")
    with pytest.raises(UnsupportedError, match="more than 4096 edges"):
        flatten(made(nodes, " ".join(f"{a}>{b}" for a in names for b in names)), "g")


def torch_conv(**options: Any) -> tuple[nn.Module, Any]:
    kind, node = (nn.Conv1d, nir.Conv1d) if options.pop("one", False) else (nn.Conv2d, nir.Conv2d)
    layer = kind(4, 6, **options)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return layer, node(None, weight, layer.stride, layer.padding, layer.dilation, layer.groups, bias)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 5)},
        {"kernel_size": (5, 1), "stride": (2, 3), "padding": (1, 2)},
        {"kernel_size": 3, "dilation": (2, 1)},
        {"kernel_size": 3, "groups": 2},
        {"kernel_size": (3, 4), "padding": "same", "dilation": (1, 3)},
        {"kernel_size": (3, 4), "padding": "valid"},
        {"kernel_size": 4, "one": True, "stride": 2, "padding": 1},
        {"kernel_size": 4, "one": True, "padding": "same"},
    ],
)
def test_convolutions_have_the_shape_that_torch_gives(options: dict[str, Any]) -> None:
    shape = (4, 11) if options.get("one") else (4, 11, 13)
    layer, node = torch_conv(**options)
    assert chain(shape, node).shapes["n0"] == tuple(layer(torch.zeros(1, *shape)).shape[1:])


@pytest.mark.parametrize(
    "form", [int, np.int64, np.array, lambda value: np.array([value]), lambda value: (value, value)]
)
def test_sizes_may_be_written_in_any_form(form: Any) -> None:
    weight = np.ones((2, 1, 3, 3))
    node = nir.Conv2d(None, weight, form(2), form(1), form(1), 1, None)
    assert chain((1, 9, 9), node).shapes["n0"] == (2, 5, 5)
    assert geometry("n", node).padding == ((1, 1), (1, 1))
    pool = nir.SumPool2d(form(3), form(2), form(1))
    assert chain((1, 9, 9), pool).shapes["n0"] == tuple(nn.AvgPool2d(3, 2, 1)(torch.zeros(1, 9, 9)).shape)


@pytest.mark.parametrize(("start", "end"), [(0, -1), (1, -1), (0, 1), (-2, -1), (1, 1)])
def test_flatten_counts_dimensions_without_the_batch(start: int, end: int) -> None:
    expected = torch.zeros(2, 3, 4).flatten(start, end).shape
    node = nir.Flatten({"input": None}, start, end)
    assert chain((2, 3, 4), node).shapes["n0"] == tuple(expected)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4), (2, 1, 1), (1, 1, 1)])
def test_one_number_or_one_a_channel_stands_for_all_neurons(shape: tuple[int, ...]) -> None:
    assert chain((2, 3, 4), lif(*shape)).shapes["n0"] == (2, 3, 4)


def conv(weight: tuple[int, ...] = (2, 1, 3, 3), **changes: Any) -> nir.Conv2d:
    node = nir.Conv2d(None, np.ones(weight), 1, 0, 1, 1, np.zeros(weight[0]))
    for name, value in changes.items():
        setattr(node, name, value)
    return node


@pytest.mark.parametrize(
    ("shape", "node", "why"),
    [
        ((3,), nir.Linear(np.ones((2, 4))), r"weight \(2, 4\) on an input of shape \(3,\)$"),
        ((2,), nir.Linear(np.ones((2, 4))), r"weights look transposed: NIR's are \(outputs, inputs\)"),
        ((2, 3, 4), nir.Linear(np.ones((2, 4))), r"it takes \(inputs,\), or \(time, inputs\) row by row"),
        ((2, 9, 9), conv(), "its weights look transposed"),
        ((4,), nir.Linear(np.ones((2, 4, 4))), r"weight of shape \(2, 4, 4\), expected 2 dimensions"),
        ((4,), nir.Affine(np.ones((2, 4)), np.ones(3)), r"bias of shape \(3,\), expected \(2,\)"),
        ((4,), nir.Linear(np.array([["a"]])), "weight must be numbers"),
        ((4,), nir.Linear(np.ones((0, 4))), "weight must be numbers"),
        ((1, 9), conv(), r"weight \(2, 1, 3, 3\) in 1 groups on an input of shape \(1, 9\)"),
        ((3, 9, 9), conv(), r"weight \(2, 1, 3, 3\) in 1 groups on an input of shape \(3, 9, 9\)$"),
        ((3, 9, 9), conv(groups=3), "in 3 groups"),
        ((1, 2, 9), conv(), r"impossible shape \(2, 0, 7\)"),
        ((1, 9, 9), conv(bias=np.zeros(1)), r"bias of shape \(1,\)"),
        ((1, 9, 9), conv(stride=0), "stride must be at least 1"),
        ((1, 9, 9), conv(stride=1.5), "stride must be 1 or 2 whole numbers"),
        ((1, 9, 9), conv(stride=np.array([1, 2, 3])), "stride must be 1 or 2 whole numbers"),
        ((1, 9, 9), conv(padding=-1), "padding must be at least 0"),
        ((1, 9, 9), conv(padding=np.nan), "padding must be 1 or 2 whole numbers"),
        ((1, 9, 9), conv(padding="full"), "padding 'full', expected"),
        ((1, 9, 9), conv(padding=b"full"), "padding 'full', expected"),
        ((1, 9, 9), conv(padding="same", stride=2), "'same' is defined for stride 1 only"),
        ((1, 9, 9), conv(padding=2**40), "padding must be at least 0"),
        ((1, 9, 9), conv(padding=2**20), "impossible shape"),
        ((9, 9), nir.AvgPool2d(2, 2, 0), r"AvgPool2d on \(9, 9\), expected \(channels"),
        ((1, 9, 9), nir.AvgPool2d(2, 2, 2), "exceeds half the kernel"),
        ((1, 9, 9), nir.Flatten({"input": None}, 3, -1), r"start_dim 3 on an input of shape \(1, 9, 9\)"),
        ((1, 9, 9), nir.Flatten({"input": None}, 2, 1), "start_dim 2 comes after end_dim 1"),
        ((1, 9, 9), nir.Flatten({"input": None}, np.nan, 1), "start_dim nan"),
        ((2, 3), lif(3), r"tau of shape \(3,\), but its input has \(2, 3\)"),
        ((2, 3), nir.Threshold(np.array([np.nan])), "threshold holds NaN or infinity"),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_node(shape: tuple[int, ...], node: Any, why: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^g: node 'n0': .*{why}"):
        chain(shape, node)


@pytest.mark.parametrize(
    ("nodes", "edges", "why"),
    [
        ({"a": nir.Linear(np.ones((3, 2))), "B": lif(2)}, "i>a a>B i>B B>o", r"node 'B': inputs of different shapes"),
        ({"a": nir.Linear(np.ones((3, 2))), "B": lif(2)}, "i>B B>a a>B B>o", r"node 'B': 'a' feeds back \(3,\) where"),
    ],
)
def test_signals_that_cannot_be_added_are_refused(nodes: dict[str, Any], edges: str, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        flatten(made({"i": entry(2), **nodes, "o": leave(2)}, edges), "g")


def test_a_missing_reset_potential_means_zero() -> None:
    node = lif(2)
    node.v_reset = None
    assert chain((2,), node).shapes["n0"] == (2,)
