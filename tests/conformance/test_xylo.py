"""The law of profile ``xylo``: every target of it gives the trace of ``xylo``, bit for bit, and so does the twin.

The twin has gradients, and one synaptic current a neuron; a Program that it refuses is refused by name.
"""

import re

import numpy as np
import pytest
import torch

from spikeproof.eval.agreement.targets import difference
from spikeproof.eval.support import cores
from spikeproof.hw_targets.family import get_family
from spikeproof.hw_targets.integers import check_integers
from spikeproof.hw_targets.target import get_target, target_names
from spikeproof.hw_targets.xylo.simulator import XylosimTarget
from spikeproof.hw_targets.xylo.twin import twin
from spikeproof.toolkit.coding import Direct, make_coder
from spikeproof.toolkit.config import DataSettings, ModelSettings, TrainSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.models import mlp_network, recurrent_network
from spikeproof.toolkit.settings import CodingSettings
from spikeproof.toolkit.train import seeded, train_network

XYLO = get_target("xylo")
RUNNABLE = {name: make() for name, make in cores.PROGRAMS.items() if not XYLO.unsupported(make())}
NETWORKS = {
    "perceptron": lambda shape: mlp_network(ModelSettings(kind="mlp", hidden=[24], beta=0.9), 6, shape, 10),
    "recurrent": lambda shape: recurrent_network(ModelSettings(kind="recurrent", channels=[3]), 6, shape, 10),
}


def messages_of(program, samples=20):
    """Return random messages up to the largest."""
    rng = np.random.default_rng(len(program.synapses))
    return rng.integers(0, program.input.peak + 1, (program.steps, samples, *program.input.shape))


def assert_equal(program, messages, python):
    """Run ``xylo`` and ``xylosim``, and compare spikes, currents and membranes of every population."""
    expected = XYLO.compile(program).run(messages, rasters=True)
    found = XylosimTarget(python=python).compile(program).run(messages, rasters=True)
    compared = difference("xylosim", expected, found)
    assert {bits.population for bits in compared} == {population.name for population in program.populations}
    assert [bits for bits in compared if bits.different] == []
    np.testing.assert_array_equal(found.output, expected.output)


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """A network of the digits with 4 x 4 pixels, trained briefly, quantized for Xylo and lowered."""
    data = load_data(DataSettings())
    train, test = (
        part.reshape(len(part), 1, 4, 2, 4, 2).mean((3, 5)) for part in (data.train_images, data.test_images)
    )
    with seeded(1):
        network = NETWORKS[request.param]((1, 4, 4))
    train_network(network, train, data.train_labels, TrainSettings(seed=1), epochs=5, rate=1e-2)
    family = get_family("xylo")
    quantized = family.quantized(network, 8)
    program = family.lower(quantized, (1, 4, 4))
    right = XYLO.compile(program).run(quantized.coder.integers(test)).classes == data.test_labels
    assert right.mean() > 0.5, "a network that knows nothing proves nothing"
    return quantized, program, test


def test_programs(need_xylosim):
    for program in RUNNABLE.values():
        assert_equal(program, messages_of(program), need_xylosim)


def test_digits(trained, need_xylosim):
    quantized, program, images = trained
    assert_equal(program, quantized.coder.integers(images[:60]), need_xylosim)


def test_digits_in_the_network_itself(trained):
    quantized, program, images = trained
    found = check_integers(get_family("xylo"), quantized, program, images)
    assert found.different == 0
    assert found.spikes > 1000


@pytest.mark.parametrize("name", RUNNABLE)
def test_twin(name):
    program = RUNNABLE[name]
    binary = program.input.message_bits == 0
    coder = make_coder(CodingSettings(name="events", steps=program.steps)) if binary else Direct(5, levels=15)
    reasons = {"two synaptic currents a neuron": "one synaptic current", "read-out by membrane": "and may fire"}
    if name in reasons:
        with pytest.raises(UnsupportedError, match=reasons[name]):
            twin(program, coder)
        return
    messages = messages_of(program)
    expected = XYLO.compile(program).run(messages, rasters=True)
    sent = {}
    with torch.no_grad():
        made = twin(program, coder)
        made.respond(torch.from_numpy(messages / coder.levels).float(), sent.__setitem__)
    assert any(raster.spikes.any() for raster in expected.rasters.values())
    for population, raster in expected.rasters.items():
        np.testing.assert_array_equal(sent[population].numpy(), raster.spikes)


def test_targets_refuse_the_other_profile(trained):
    program = trained[1]
    for name in target_names():
        target = get_target(name)
        if target.form == "program" and "xylo" not in target.profiles:
            assert re.search("profile 'xylo'", target.refused(program)[0])
