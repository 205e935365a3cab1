import pytest
import torch
from torch import nn

from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.models import build_network, conv_network
from spikeproof.toolkit.network.neurons import LIF


def test_layers_alternate_and_end_in_lif() -> None:
    network = conv_network(ModelSettings(channels=[3, 5]), 4, (1, 8, 8), 10)
    names = ["conv1", "norm1", "lif1", "pool1", "conv2", "norm2", "lif2", "pool2", "flatten", "linear", "lif3"]
    assert [name for name, _ in network.named_layers()] == names
    assert isinstance(dict(network.named_layers())["pool1"], nn.MaxPool2d)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (2, 32, 5)])
def test_any_image_that_can_be_halved_fits(shape: tuple[int, int, int]) -> None:
    network = conv_network(ModelSettings(pool="avg", channels=[2, 2]), 2, shape, 3)
    assert network(torch.zeros(1, *shape)).shape == (1, 3)


def test_an_image_that_is_too_small_is_refused_by_the_recipes_key() -> None:
    with pytest.raises(InputError, match=r"model\.channels: images of 8x4 pixels cannot be halved 3 times"):
        conv_network(ModelSettings(channels=[2, 2, 2]), 2, (1, 8, 4), 3)


def test_neurons_have_the_recipes_constants() -> None:
    network = conv_network(ModelSettings(beta=0.25, threshold=1.5, alpha=3.0, gain=7.0), 6, (1, 8, 8), 10)
    neurons = [layer for _, layer in network.named_layers() if isinstance(layer, LIF)]
    assert {(neuron.beta, neuron.threshold, neuron.alpha) for neuron in neurons} == {(0.25, 1.5, 3.0)}
    assert (network.steps, network.gain) == (6, 7.0)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    recipe = Recipe(model=ModelSettings(), coding=CodingSettings(steps=2))

    def weights(seed: int) -> torch.Tensor:
        return nn.utils.parameters_to_vector(build_network(recipe, (1, 8, 8), 10, seed).parameters())

    torch.manual_seed(1)
    first, state = weights(5), torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(weights(5), first)
    assert not torch.equal(weights(6), first)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_perceptron_is_linear_layers_and_neurons() -> None:
    settings = ModelSettings(kind="mlp", hidden=[7, 5], beta=0.25, threshold=0.3)
    recipe = Recipe(model=settings, coding=CodingSettings(steps=3))
    network = build_network(recipe, (2, 3, 4), 6)
    names = ["flatten", "linear1", "lif1", "linear2", "lif2", "linear", "last"]
    assert [name for name, _ in network.named_layers()] == names
    images = torch.rand(4, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    # v <- beta v + W s + b, fires above the threshold, back to 0: the same in a loop.
    layers = [part for _, part in network.named_layers() if isinstance(part, nn.Linear)]
    v = [torch.zeros(4, layer.out_features) for layer in layers]
    counts = torch.zeros(4, 6)
    with torch.no_grad():
        for _ in range(3):
            x = images.flatten(1)
            for place, layer in enumerate(layers):
                v[place] = 0.25 * v[place] + layer(x)
                x = (v[place] > 0.3).float()
                v[place][x > 0] = 0
            counts += x
        assert counts.any()
        assert torch.allclose(network.eval()(images), 10 * counts / 3)
