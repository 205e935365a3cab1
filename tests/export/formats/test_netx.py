"""The .net file: what is written, what is refused and why, and damage that is noticed without parsing it."""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from spikeproof.export.formats.netx import MARK, USER_BLOCK, check_net, netx_layers, unsupported, write_net
from spikeproof.export.formats.netx_weights import whole_matrix
from spikeproof.export.program import Convolution, Dense, Graded, Input, Population, Program, Readout, Sparse
from spikeproof.toolkit.errors import FileError, UnsupportedError


def population(name: str, shape: tuple[int, ...], bias: int = 0, **fields: Any) -> Population:
    return Population(
        **{"du": 4095, "dv": 100, "vth": 20, "bias_exponent": 6, **fields},
        name=name,
        shape=shape,
        bias=np.full(shape, bias),
    )


def dense(source: str, target: str, shape: tuple[int, int], value: int = 2, **fields: Any) -> Dense:
    weight = np.full(shape, value)
    weight.flat[0] = -2 if value > 0 else value
    return Dense(source=source, target=target, weight=weight, **fields)


def program(*parts: Any, shape: tuple[int, ...] = (3,), bits: int = 0, steps: int = 4) -> Program:
    populations = tuple(part for part in parts if isinstance(part, Population | Graded))
    synapses = tuple(part for part in parts if not isinstance(part, Population | Graded))
    readout = Readout(population=populations[-1].name)
    return Program(
        input=Input(shape=shape, message_bits=bits),
        populations=populations,
        synapses=synapses,
        readout=readout,
        steps=steps,
    )


CHAIN = program(
    population("a", (2, 3, 2), bias=5),
    population("b", (4,), bias=-3, vth=9, du=99, dv=0),
    Convolution(
        source="input", target="a", weight=np.arange(-8, 8, 2).reshape(2, 1, 2, 2), stride=(1, 2), padding=(0, 1)
    ),
    dense("a", "b", (4, 12)),
    shape=(1, 4, 3),
    bits=8,
)


def test_file_holds_what_the_importer_reads(tmp_path: Path) -> None:
    """Names as lava-dl's own exporter writes them; the importer takes 1 from iDecay and 6 as the bias exponent."""
    write_net(tmp_path / "a.net", CHAIN)
    with h5py.File(tmp_path / "a.net") as file:
        layers = file["layer"]
        assert [layers[str(i)]["type"][()] for i in range(len(layers))] == [b"input", b"conv", b"flatten", b"dense"]
        conv, last = layers["1"], layers["3"]
        assert list(conv["shape"]) == [2, 3, 2]
        np.testing.assert_array_equal(conv["weight"], CHAIN.synapses[0].weight)
        assert (list(conv["stride"]), list(conv["padding"]), list(conv["dilation"])) == ([1, 2], [0, 1], [1, 1])
        assert np.isscalar(conv["groups"][()])
        # Lava's order (width, height, channels): the importer does not turn biases around.
        assert conv["bias"].shape == (2, 3, 2)
        assert (conv["bias"][()] == 5).all()
        np.testing.assert_array_equal(last["weight"], CHAIN.synapses[1].weight)
        neuron = {name: last["neuron"][name][()] for name in ("type", "iDecay", "vDecay", "vThMant")}
        assert neuron == {"type": b"CUBA", "iDecay": 100, "vDecay": 0, "vThMant": 9}
        assert (last["bias"][()] == -3).all()
    check_net(tmp_path / "a.net", CHAIN)


def test_equal_programs_give_equal_files(tmp_path: Path) -> None:
    write_net(tmp_path / "a.net", CHAIN)
    write_net(tmp_path / "b.net", CHAIN)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()


def test_biases_go_to_exponent_6() -> None:
    one = population("a", (2,), bias=64 * 7, bias_exponent=0)
    other = population("a", (2,), bias=-9, bias_exponent=7)
    for given_, expected in ((one, 7), (other, -18)):
        layer = netx_layers(program(given_, dense("input", "a", (2, 3)))).layers[1]
        assert layer.bias is not None
        assert layer.bias.tolist() == [expected] * 2


def test_exponents_go_into_the_weights() -> None:
    synapses = [dense("input", "a", (2, 3), 16, exponent=3), dense("input", "a", (2, 3), -16, exponent=-1)]
    layer = netx_layers(program(population("a", (2,)), *synapses)).layers[1]
    assert layer.kind == "dense"
    np.testing.assert_array_equal(layer.weight, [[-24, 120, 120], [120, 120, 120]])


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_unroll_as_pytorch_computes_them(groups: int) -> None:
    rng = np.random.default_rng(groups)
    weight = rng.integers(-100, 100, (4, 4 // groups, 3, 2)) * 2
    conv = Convolution(
        source="input",
        target="a",
        weight=weight,
        stride=(2, 1),
        padding=(1, 2),
        dilation=(1, 2),
        groups=groups,
        exponent=1,
    )
    shape = conv.output_shape((4, 5, 6))
    matrix = whole_matrix(program(population("a", shape), conv, shape=(4, 5, 6)), conv)
    x = rng.integers(0, 2, (4, 5, 6))
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(x)[None].double(), torch.from_numpy(weight).double(), None, (2, 1), (1, 2), (1, 2), groups
    )
    np.testing.assert_array_equal(matrix @ x.ravel(), 2 * expected[0].flatten().numpy())


def test_a_residual_goes_through_relays() -> None:
    parts = [population("a", (2,)), population("b", (3,), vth=7), population("c", (2,))]
    synapses = [
        dense("input", "a", (2, 3)),
        dense("a", "b", (3, 2)),
        dense("b", "c", (2, 3)),
        dense("a", "c", (2, 2), 4, delay=1),
    ]
    _, _, middle, last = netx_layers(program(*parts, *synapses)).layers
    assert [(member.name, member.start, member.relay) for member in middle.members] == [("b", 0, False), ("a", 3, True)]
    assert middle.weight is not None
    np.testing.assert_array_equal(middle.weight[3:], 8 * np.eye(2))
    np.testing.assert_array_equal(last.weight, [[-2, 2, 2, -2, 4], [2, 2, 2, 4, 4]])


def test_loops_are_recurrent_weights() -> None:
    parts = [population("a", (2,)), population("b", (1,)), dense("input", "a", (2, 3)), dense("input", "b", (1, 3))]
    loops = [dense("a", "a", (2, 2), 4), dense("b", "a", (2, 1), 6)]
    layer = netx_layers(program(*parts, *loops)).layers[1]
    assert layer.kind == "dense_rec"
    np.testing.assert_array_equal(layer.loops, [[-2, 4, -2], [4, 4, 6], [0, 0, 0]])


def test_what_a_dense_layer_would_change_becomes_a_convolution() -> None:
    layers = netx_layers(
        program(
            population("a", (4,)),
            population("b", (2,), vth=900),
            dense("input", "a", (4, 3)),
            dense("a", "b", (2, 4), 254, exponent=4),
        )
    ).layers
    assert [(layer.kind, layer.shape) for layer in layers] == [
        ("input", (3, 1, 1)),
        ("conv", (4, 1, 1)),
        ("conv", (2, 1, 1)),
    ]
    assert layers[2].weight is not None
    assert layers[2].weight.max() == 254 * 16


A, B = population("a", (2,)), population("b", (3,))
FIRST, SECOND = dense("input", "a", (2, 3)), dense("a", "b", (3, 2))
REFUSED = {
    "floor": ([A, dense("input", "a", (2, 3), exponent=-2)], {}, "exponent -2 floors the sum.*multiples of 4"),
    "bias": ([population("a", (2,), bias=3, bias_exponent=4), FIRST], {}, "no multiples of 64"),
    "loop over two layers": ([A, B, FIRST, SECOND, dense("b", "a", (2, 3))], {}, "'b' -> 'a': is recurrent"),
    "delayed loop": ([A, FIRST, dense("a", "a", (2, 2), delay=1)], {}, "'a' -> 'a': is recurrent"),
    "loop behind a delay": (
        [A, dense("input", "a", (2, 3), delay=1), dense("a", "a", (2, 2))],
        {},
        "the importer would delay the loops too",
    ),
    "loop of large weights": (
        [A, FIRST, dense("a", "a", (2, 2), 254, exponent=1)],
        {},
        "weights -4 to 508 leave.*as a convolution: loops do not exist",
    ),
    "lag": (
        [A, B, FIRST, dense("a", "b", (3, 2), delay=1), dense("input", "b", (3, 3))],
        {},
        "'a' -> 'b': arrives 2 steps after its sample",
    ),
    "sums": ([A, dense("input", "a", (2, 3), 254, exponent=7)], {"bits": 24}, "leave 32 bits"),
    "graded": (
        [Graded(name="g", shape=(2,), vth=0, message_bits=8), A, dense("input", "g", (2, 3)), dense("g", "a", (2, 2))],
        {},
        "population 'g': netx has no graded units",
    ),
    "different neurons in one layer": (
        [population("a", (2,)), population("b", (3,), vth=21), FIRST, dense("input", "b", (3, 3))],
        {},
        "'a', 'b'.*differ in vth",
    ),
    "relay of graded messages": (
        [A, B, FIRST, SECOND, dense("input", "b", (3, 3), delay=1)],
        {"bits": 8},
        "'input': its graded messages go around 'a'",
    ),
    "relay in a layer with memory": (
        [population("a", (2,), du=9), B, FIRST, SECOND, dense("input", "b", (3, 3), delay=1)],
        {},
        "'input': goes around 'a', whose du 9",
    ),
    "large weights, delayed": (
        [A, dense("input", "a", (2, 3), 254, exponent=1, delay=1)],
        {},
        "as a dense layer: weights -4 to 508.*as a convolution: the importer ignores delays",
    ),
    "bias-coded exponent": (
        [population("a", (3,), bias_exponent=3, input_bias=True)],
        {},
        "bias-coded input needs bias exponent 6 or 7",
    ),
    "bias-coded biases": (
        [
            Population(
                name="a", shape=(3,), du=0, dv=0, vth=1, bias_exponent=6, input_bias=True, bias=np.array([1, 2, 3])
            )
        ],
        {},
        "one bias for all neurons",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    parts, fields, reason = REFUSED[case]
    made = program(*parts, **fields)  # type: ignore[misc]
    assert len(unsupported(made)) == 1
    with pytest.raises(UnsupportedError, match=reason):
        write_net(tmp_path / "a.net", made)
    assert list(tmp_path.iterdir()) == []


def test_every_reason_is_told() -> None:
    made = program(
        population("a", (2,), bias=1, bias_exponent=0),
        dense("input", "a", (2, 3), exponent=-3),
        Sparse(
            source="a",
            target="a",
            delay=2,
            shape=(2, 2),
            weight=np.array([2]),
            rows=np.array([0]),
            columns=np.array([1]),
        ),
    )
    assert len(unsupported(made)) == 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("net") / "a.net"
    write_net(path, CHAIN)
    return path, path.read_bytes()


def _damaged(data: st.DataObject, good: bytes, first: int) -> bytes:
    bad = bytearray(good)
    for place in data.draw(st.lists(st.integers(first, len(good) - 1), min_size=1, max_size=4)):
        bad[place] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(bad[: data.draw(st.just(len(good)) | st.integers(first, len(good) - 1))])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_noticed(written: tuple[Path, bytes], data: st.DataObject) -> None:
    path, good = written
    bad = _damaged(data, good, 0)
    path.write_bytes(bad)
    # Only the padding of the user block means nothing.
    mark = len(MARK) + 64
    if bad[:mark] == good[:mark] and bad[USER_BLOCK:] == good[USER_BLOCK:]:
        check_net(path, CHAIN)
    else:
        with pytest.raises(FileError, match=r"a\.net: (damaged|not a \.net file)"):
            check_net(path, CHAIN)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_with_a_forged_mark_never_crashes_the_parser(written: tuple[Path, bytes], data: st.DataObject) -> None:
    path, good = written
    bad = _damaged(data, good, USER_BLOCK)
    mark = hashlib.sha256(bad[USER_BLOCK:]).hexdigest().encode()
    path.write_bytes(bad[: len(MARK)] + mark + bad[len(MARK) + 64 :])
    try:
        check_net(path, CHAIN)
    except FileError as error:
        assert str(path) in str(error)  # noqa: PT017  (damage that HDF5 does not look at is no error)


def _forge(path: Path) -> None:
    data = path.read_bytes()
    mark = hashlib.sha256(data[USER_BLOCK:]).hexdigest().encode()
    path.write_bytes(data[: len(MARK)] + mark + data[len(MARK) + 64 :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["layer/1/weight"].__setitem__((0, 0, 0, 0), 6), "layer/1/weight differs from the Program"),
        (lambda file: file.__delitem__("layer/3/bias"), "layer/3/bias is missing or too much"),
        (lambda file: file.__setitem__("layer/9/type", b"pool"), "layer/9 is missing or too much"),
        (lambda file: file.move("layer/3/shape", "layer/3/delay"), "layer/3/delay is missing or too much"),
    ],
)
def test_another_content_is_named(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "a.net"
    write_net(path, CHAIN)
    with h5py.File(path, "r+") as file:
        change(file)
    _forge(path)
    with pytest.raises(FileError, match=message):
        check_net(path, CHAIN)


def test_a_huge_data_set_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    write_net(path, CHAIN)
    with h5py.File(path, "r+") as file:
        del file["layer/3/bias"]
        file.create_dataset("layer/3/bias", (2**40,), "i4", chunks=(1024,))
    _forge(path)
    with pytest.raises(FileError, match=r"layer/3/bias is int32 \(1099511627776,\), expected int32 \(4,\)"):
        check_net(path, CHAIN)


def test_another_program_and_no_file(tmp_path: Path) -> None:
    write_net(tmp_path / "a.net", CHAIN)
    with pytest.raises(FileError, match=r"missing or too much|differs|expected"):
        check_net(tmp_path / "a.net", program(A, FIRST))
    with pytest.raises(FileError, match="no such file"):
        check_net(tmp_path / "absent.net", CHAIN)
