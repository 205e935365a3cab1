"""Every coder reaches the chip: quantized network = executed NIR = Program, spike for spike, on every target."""

import numpy as np
import pytest
import torch

from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.roundtrip import check_round_trip
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.hw_targets.lava.client import LavaTarget
from spikeproof.hw_targets.lava.netx import NetxTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.twin import Twin, TwinTarget
from spikeproof.toolkit.coding import make_coder
from spikeproof.toolkit.config import CodingSettings, DataSettings, ModelSettings, TrainSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.models import conv_network
from spikeproof.toolkit.quantize import quantized_network
from spikeproof.toolkit.train import seeded, train_network

CODERS = {
    "phase": {"name": "phase", "steps": 10},
    "phase, weighted": {"name": "phase", "steps": 8, "weighted": True},
    "rate": {"name": "rate", "steps": 6},
    "rate, deterministic": {"name": "rate", "steps": 6, "stochastic": False},
    "latency": {"name": "latency", "steps": 6},
    "delta": {"name": "delta", "steps": 4},
    "events": {"name": "events", "steps": 4},
}
SAMPLES = 32


def inputs(coder, images):
    """Return what the coder takes: images, a sequence in which they move, or events of it."""
    if not coder.sequences:
        return images
    moving = np.stack([np.roll(images, step, axis=3) for step in range(coder.steps)], 1)
    return np.rint(moving).astype(np.float32) if coder.name == "events" else moving


@pytest.fixture(scope="module", params=CODERS)
def deployed(request, tmp_path_factory):
    """A digits network, trained briefly on input of the coder, quantized and lowered; with test input and labels."""
    data = load_data(DataSettings())
    coder = make_coder(CodingSettings(**CODERS[request.param]))
    with seeded(1):
        network = conv_network(ModelSettings(channels=[8]), coder, coder.encoded_shape(data.shape), data.classes)
    settings = TrainSettings(seed=1)
    train_network(network, inputs(coder, data.train_images), data.train_labels, settings, epochs=4, rate=1e-2)
    quantized = quantized_network(network, 7)
    path = tmp_path_factory.mktemp("coders") / "network.nir"
    write_nir(path, quantized, data.shape)
    x = inputs(coder, data.test_images[:SAMPLES])
    trip = check_round_trip(path, quantized, x)
    assert trip.spikes > 0
    return quantized, lower(*read_nir(path), bias_exponent=6), x, data.test_labels[:SAMPLES]


def test_the_program_fires_the_quantized_networks_spikes(deployed):
    network, program, x, labels = deployed
    coder = network.coder
    assert program.input.message_bits == coder.message_bits
    assert program.input.scale == 1 / coder.levels
    with seeded(2):
        trace = LoihiTarget().compile(program).run(coder.integers(x), rasters=True)
    expected = {}
    with seeded(2), torch.no_grad():
        network.spikes(torch.from_numpy(x), lambda name, signal: expected.update({name: signal.numpy()}))
    different = total = 0
    for name, raster in trace.rasters.items():
        assert 0.005 < raster.spikes.mean() < 0.99
        different += int((raster.spikes != expected[name]).sum())
        total += raster.spikes.size
    # Leak, threshold and bias are rounded to the chip's integers, so a membrane beside its threshold may differ.
    assert different <= 2e-3 * total
    assert (trace.classes == labels).mean() > 0.6, "a network that knows nothing proves nothing"


@pytest.mark.parametrize("target", [TwinTarget(), OnnxTarget(), LoihiTarget(latency=1)], ids=lambda one: one.name)
def test_targets_agree_bit_for_bit(deployed, target):
    network, program, x, _ = deployed
    with seeded(2):
        messages = network.coder.integers(x)
    expected = LoihiTarget().compile(program).run(messages, rasters=True)
    found = target.compile(program).run(messages, rasters=True)
    for name, raster in expected.rasters.items():
        np.testing.assert_array_equal(found.rasters[name].spikes, raster.spikes)
        np.testing.assert_array_equal(found.rasters[name].v, raster.v)


@pytest.mark.parametrize("target", ["lava", "netx"])
def test_lava_agrees_bit_for_bit(deployed, target, request):
    network, program, x, _ = deployed
    if network.coder.name != "phase":
        pytest.skip("one binary and one graded coder are enough for the slow simulators")
    request.getfixturevalue(f"need_{target}")
    made = LavaTarget() if target == "lava" else NetxTarget()
    messages = network.coder.integers(x[:4])
    expected = LoihiTarget().compile(program).run(messages, rasters=True)
    found = made.compile(program).run(messages, rasters=True)
    for name, raster in expected.rasters.items():
        np.testing.assert_array_equal(found.rasters[name].spikes, raster.spikes)


def test_the_twin_answers_images_as_the_chip_answers_their_messages(deployed):
    network, program, x, labels = deployed
    coder = network.coder
    twin = Twin(program, coder=coder)
    pixels = torch.from_numpy(x).requires_grad_()
    with seeded(2):
        logits = twin(pixels)
    with seeded(2):
        output = LoihiTarget().compile(program).run(coder.integers(x)).output
    np.testing.assert_allclose(logits.detach().numpy(), 10 * output / program.steps, rtol=1e-6)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    (gradient,) = torch.autograd.grad(loss, pixels)
    assert float((gradient != 0).float().mean()) > 0.1
    with seeded(2):
        encoded = coder.encode(torch.from_numpy(x))
    np.testing.assert_array_equal(twin.from_encoded(encoded).numpy(), logits.detach().numpy())
