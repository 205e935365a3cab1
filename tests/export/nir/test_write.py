import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import snntorch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import read_nir, to_nir, write_nir
from spikeproof.toolkit.errors import FileError, UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network, weight_steps

Exact = Callable[..., SpikingNetwork]
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module", params=["max", "avg"])
def network(request: pytest.FixtureRequest, exact: Exact) -> SpikingNetwork:
    return exact(request.param)


@pytest.fixture
def written(exact: Exact, tmp_path: Path) -> Path:
    write_nir(tmp_path / "network.nir", exact(), SHAPE)
    return tmp_path / "network.nir"


def test_nodes_come_back_in_order_with_equal_arrays(network: SpikingNetwork, tmp_path: Path) -> None:
    meant, grids = to_nir(network, SHAPE)
    sidecar = write_nir(tmp_path / "network.nir", network, SHAPE)
    graph, found = read_nir(tmp_path / "network.nir")
    assert found == sidecar
    assert found.grids == grids
    for (name, node), (other, expected) in zip(
        flatten(graph, "g").nodes.items(), flatten(meant, "g").nodes.items(), strict=True
    ):
        assert (name, type(node)) == (other, type(expected))
        for key, value in vars(expected).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(node, key), value)


def test_another_reader_finds_the_same_graph(network: SpikingNetwork, tmp_path: Path) -> None:
    write_nir(tmp_path / "network.nir", network, SHAPE)
    graph = nir.read(tmp_path / "network.nir", type_check=False)
    pools = ["pool1_sum", "pool1"] if isinstance(network.layers.pool1, nn.MaxPool2d) else ["pool1"]
    layers = ["conv2", "lif2", "flatten", "linear", "lif3"]
    assert list(flatten(graph, "g").nodes) == ["input", "conv1", "lif1", *pools, *layers, "output"]


def test_the_side_car_holds_what_the_format_cannot(network: SpikingNetwork, tmp_path: Path) -> None:
    sidecar = write_nir(tmp_path / "network.nir", network, SHAPE)
    stored = json.loads((tmp_path / "network.json").read_text())
    assert stored["sha256"] == hashlib.sha256((tmp_path / "network.nir").read_bytes()).hexdigest()
    assert (sidecar.steps, sidecar.gain, sidecar.levels) == (4, 10.0, 255)
    assert {name: grid.step for name, grid in sidecar.grids.items()} == weight_steps(network)
    assert {grid.bits for grid in sidecar.grids.values()} == {4}


def test_lif_nodes_have_the_physical_parameters_of_the_discrete_neuron(network: SpikingNetwork) -> None:
    graph, _ = to_nir(network, SHAPE)
    for name, beta, threshold in (("lif1", 0.5, 0.75), ("lif2", 0.75, 1.0), ("lif3", 0.0, 1.0)):
        node = graph.nodes[name]
        np.testing.assert_allclose(1 - 1e-4 / node.tau, beta, atol=1e-12)
        np.testing.assert_allclose(node.r * 1e-4 / node.tau, 1)
        assert np.unique(node.v_threshold) == threshold
        assert not node.v_leak.any()
        assert not node.v_reset.any()


def spiking(**layers: nn.Module) -> SpikingNetwork:
    full = OrderedDict(conv=nn.Conv2d(1, 2, 1), lif=LIF(0.5, 1.0, 2.0), **layers)
    return quantized_network(SpikingNetwork(full, 3, 10.0), 8)


def test_a_soft_reset_is_refused_by_the_layers_name() -> None:
    network = spiking()
    network.layers.lif.neuron = snntorch.Leaky(beta=0.5, reset_mechanism="subtract")
    with pytest.raises(UnsupportedError, match="layer 'lif': reset 'subtract' does not exist on Loihi"):
        to_nir(network, SHAPE)


def test_a_beta_for_each_neuron_is_refused() -> None:
    network = spiking()
    network.layers.lif.neuron = snntorch.Leaky(beta=np.array([0.5, 0.6]), reset_mechanism="zero")
    with pytest.raises(UnsupportedError, match="layer 'lif': beta and threshold must be one number a layer"):
        to_nir(network, SHAPE)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (
            {"again": nn.Conv2d(2, 2, 1), "pool": nn.MaxPool2d(2), "l": LIF(0.5, 1, 2)},
            "layer 'pool': max pooling is an OR",
        ),
        pytest.param(
            {"avg": nn.AvgPool2d(2), "pool": nn.MaxPool2d(2), "again": nn.Conv2d(2, 2, 1), "l": LIF(0.5, 1, 2)},
            "layer 'pool': max pooling is an OR",
        ),
        ({"pool": nn.MaxPool2d(3, ceil_mode=True)}, "layer 'pool': max pooling with ceil_mode"),
        ({"pool": nn.MaxPool2d(2, dilation=2)}, "layer 'pool': .*dilation"),
        ({"pool": nn.AvgPool2d(2, padding=1, count_include_pad=False)}, "layer 'pool': .*leaves out the padding"),
        ({"pool": nn.AvgPool2d(3, ceil_mode=True)}, "layer 'pool': average pooling"),
        ({"pool": nn.AvgPool2d(2, divisor_override=3)}, "layer 'pool': average pooling"),
        ({"late": nn.Conv2d(2, 2, 1)}, "the last layer must be LIF"),
        pytest.param({"pool": nn.AvgPool2d(2)}, "the last layer must be LIF"),
    ],
)
def test_layers_without_an_exact_form_are_refused_by_name(layers: dict[str, nn.Module], why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        to_nir(spiking(**layers), SHAPE)


@pytest.mark.parametrize("name", ["lif 1", "a/b", "output", "ä"])
def test_a_layers_name_that_would_not_survive_other_formats_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"layer '{name}'"):
        to_nir(spiking(**{"next": nn.Conv2d(2, 2, 1), name: LIF(0.5, 1.0, 2.0)}), SHAPE)


def test_max_pooling_of_the_input_is_refused() -> None:
    layers = OrderedDict(pool=nn.MaxPool2d(2), conv=nn.Conv2d(1, 2, 1), lif=LIF(0.5, 1, 2))
    with pytest.raises(UnsupportedError, match="layer 'pool': max pooling is an OR"):
        to_nir(quantized_network(SpikingNetwork(layers, 3, 10.0), 8), SHAPE)


def test_a_refused_network_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        write_nir(tmp_path / "network.nir", spiking(late=nn.Conv2d(2, 2, 1)), SHAPE)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_not_what_the_side_car_describes_is_refused(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[len(content) // 2] ^= 1
    written.write_bytes(content)
    with pytest.raises(FileError, match=r"network\.nir: is not the file that network\.json describes"):
        read_nir(written)


def test_missing_files_are_named(written: Path) -> None:
    written.with_suffix(".json").rename(written.with_suffix(".bak"))
    with pytest.raises(FileError, match=r"network\.json: no such file"):
        read_nir(written)
    with pytest.raises(FileError, match=r"absent\.nir: no such file"):
        read_nir(written.with_name("absent.nir"))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda s: s.update(colour=1), "colour"),
        (lambda s: s.pop("steps"), "steps"),
        (lambda s: s.update(version=2), "version"),
        (lambda s: s.update(steps=0), "steps"),
        (lambda s: s.update(steps="4"), "steps"),
        (lambda s: s.update(coding="rate"), "coding"),
        (lambda s: s.update(reset="subtract"), "reset"),
        (lambda s: s.update(readout="potential"), "readout"),
        (lambda s: s.update(time_step=0), "time_step"),
        (lambda s: s.update(input_bits=0), "input_bits"),
        (lambda s: s["grids"]["conv1"].update(bits=9), r"grids\.conv1\.bits"),
        (lambda s: s["grids"]["conv1"].update(step=-1.0), r"grids\.conv1\.step"),
        (lambda s: s.update(sha256="0" * 64), "SHA-256 differs"),
    ],
)
def test_a_side_car_that_is_not_ours_is_refused_by_its_key(
    written: Path, change: Callable[[dict[str, Any]], Any], where: str
) -> None:
    beside = written.with_suffix(".json")
    values = json.loads(beside.read_text())
    change(values)
    beside.write_text(json.dumps(values))
    with pytest.raises(FileError, match=where):
        read_nir(written)


@pytest.mark.parametrize("content", ["", "[]", "3", "{", "null"])
def test_a_side_car_that_is_no_object_is_refused(written: Path, content: str) -> None:
    written.with_suffix(".json").write_text(content)
    with pytest.raises(FileError, match=r"network\.json"):
        read_nir(written)


def bind(path: Path) -> None:
    """Make the side-car vouch for whatever is in ``path``."""
    values = json.loads(path.with_suffix(".json").read_text())
    values["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(values))


@settings(max_examples=60)
@given(st.data())
def test_damaged_hdf5_is_refused_or_read_but_never_crashes(
    exact: Exact, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.nir"
    if not path.with_suffix(".whole").exists():
        write_nir(path, exact(), SHAPE)
        path.rename(path.with_suffix(".whole"))
    content = bytearray(path.with_suffix(".whole").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    bind(path)
    try:
        graph, _ = read_nir(path)
        flatten(graph, str(path))
    except (FileError, UnsupportedError) as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017


def test_hdf5_of_another_kind_is_refused(written: Path) -> None:
    with h5py.File(written, "w") as file:
        file["measurements"] = np.arange(3)
    bind(written)
    with pytest.raises(FileError, match=r"network\.nir"):
        read_nir(written)


def test_a_single_node_is_no_graph(written: Path) -> None:
    nir.write(str(written), nir.Linear(np.eye(2)))
    bind(written)
    with pytest.raises(FileError, match=r"network\.nir: .*Linear"):
        read_nir(written)
