from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import pytest
import torch

from spikeproof.export.nir.roundtrip import check_round_trip, run_nir
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.toolkit.errors import DisagreementError, UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network

Make = Callable[..., SpikingNetwork]
SHAPE = (1, 8, 8)


def spikes_of(network: SpikingNetwork, images: np.ndarray) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        network.spikes(torch.from_numpy(images), lambda name, signal: found.update({name: signal}))
    return {name: found[name] for name in network.populations()}


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_fires_the_very_same_spikes(
    exact: Make, binary_images: np.ndarray, tmp_path: Path, pool: str, seed: int
) -> None:
    network = exact(pool, seed)
    write_nir(tmp_path / "n.nir", network, SHAPE)
    found = run_nir(*read_nir(tmp_path / "n.nir"), binary_images)
    expected = spikes_of(network, binary_images)
    assert found.keys() == expected.keys()
    for name, raster in expected.items():
        assert torch.equal(found[name], raster), name
        assert 0 < raster.mean() < 1, name


def test_the_check_counts_what_it_compared(exact: Make, binary_images: np.ndarray, tmp_path: Path) -> None:
    network = exact()
    write_nir(tmp_path / "n.nir", network, SHAPE)
    trip = check_round_trip(tmp_path / "n.nir", network, binary_images)
    rasters = spikes_of(network, binary_images).values()
    assert (trip.samples, trip.different) == (20, 0)
    assert trip.compared == sum(raster.numel() for raster in rasters)
    assert trip.spikes == sum(int(raster.sum()) for raster in rasters)


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_a_network_with_real_weights_survives(
    random_network: Make, images: np.ndarray, tmp_path: Path, pool: str
) -> None:
    network = quantized_network(random_network(pool), 8)
    write_nir(tmp_path / "n.nir", network, SHAPE)
    assert check_round_trip(tmp_path / "n.nir", network, images).spikes > 0


@pytest.mark.parametrize("layer", ["conv2", "linear"])
def test_a_file_of_another_network_is_found_out(
    exact: Make, binary_images: np.ndarray, tmp_path: Path, layer: str
) -> None:
    write_nir(tmp_path / "n.nir", exact(), SHAPE)
    other = exact()
    getattr(other.layers, layer).bias.data += 1
    following = {"conv2": "lif2", "linear": "lif3"}[layer]
    with pytest.raises(
        DisagreementError, match=rf"n\.nir: read back, \d+ of \d+ spikes differ .*first in '{following}'"
    ):
        check_round_trip(tmp_path / "n.nir", other, binary_images)


def test_a_node_that_cannot_be_executed_is_named(exact: Make, binary_images: np.ndarray, tmp_path: Path) -> None:
    write_nir(tmp_path / "n.nir", exact(), SHAPE)
    graph, sidecar = read_nir(tmp_path / "n.nir")
    graph.nodes["lif1"].tau[0] = 0
    with pytest.raises(UnsupportedError, match=r"^n\.nir: node 'lif1': tau must be above 0, is 0"):
        run_nir(graph, sidecar, binary_images, "n.nir")


def test_a_graph_that_does_not_fit_together_is_refused(exact: Make, binary_images: np.ndarray, tmp_path: Path) -> None:
    write_nir(tmp_path / "n.nir", exact(), SHAPE)
    graph, sidecar = read_nir(tmp_path / "n.nir")
    graph.nodes["linear"] = nir.Linear(np.ones((5, 15)))
    with pytest.raises(
        UnsupportedError, match=r"^n\.nir: node 'linear': weight \(5, 15\) on an input of shape \(16,\)"
    ):
        run_nir(graph, sidecar, binary_images, "n.nir")


def test_a_wrong_leak_or_reset_is_found_out(exact: Make, binary_images: np.ndarray, tmp_path: Path) -> None:
    network = exact()
    write_nir(tmp_path / "n.nir", network, SHAPE)
    graph, sidecar = read_nir(tmp_path / "n.nir")
    expected = spikes_of(network, binary_images)
    for field, factor in (("tau", 2.0), ("v_threshold", 1.5)):
        changed, _ = read_nir(tmp_path / "n.nir")
        setattr(changed.nodes["lif2"], field, getattr(graph.nodes["lif2"], field) * factor)
        found = run_nir(changed, sidecar, binary_images)
        assert torch.equal(found["lif1"], expected["lif1"])
        assert not torch.equal(found["lif2"], expected["lif2"])
