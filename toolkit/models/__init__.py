"""Models, built from a recipe."""

from collections import OrderedDict

import torch
from torch import nn

from ..coding import Coder, make_coder
from ..config import ModelSettings, Recipe
from ..errors import InputError
from ..layers import SpikingNetwork
from ..neurons import LIF


def conv_network(
    settings: ModelSettings, coder: Coder | int, shape: tuple[int, int, int], classes: int
) -> SpikingNetwork:
    """Build conv-norm-LIF-pool for each entry of ``channels``, then linear-LIF.

    Convolutions are 3x3 with padding 1, pools 2x2 with stride 2.

    Args:
        settings: the recipe's model section.
        coder: as of :class:`.layers.SpikingNetwork`.
        shape: (channels, height, width) of one step of the encoding.
        classes: number of output neurons.

    Raises:
        InputError: the images are too small for that many pools.
    """
    channels, height, width = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()

    def lif() -> LIF:
        return LIF(settings.beta, settings.threshold, settings.alpha)

    for number, out in enumerate(settings.channels, start=1):
        if height < 2 or width < 2:
            raise InputError(
                f"model.channels: images of {shape[1]}x{shape[2]} pixels cannot be halved "
                f"{len(settings.channels)} times; use fewer entries"
            )
        layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(out)
        layers[f"lif{number}"] = lif()
        layers[f"pool{number}"] = nn.MaxPool2d(2) if settings.pool == "max" else nn.AvgPool2d(2)
        channels, height, width = out, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    layers["linear"] = nn.Linear(channels * height * width, classes)
    layers[f"lif{len(settings.channels) + 1}"] = lif()
    return SpikingNetwork(layers, coder, settings.gain)


def build_network(recipe: Recipe, shape: tuple[int, int, int], classes: int, seed: int | None = None) -> SpikingNetwork:
    """Build the network that a recipe describes: the only way from a recipe to a network.

    Args:
        recipe: its sections model and coding, and its defences, which prepare the network in their order.
        shape: (channels, height, width) of an image.
        classes: number of output neurons.
        seed: what alone decides the initial weights; the recipe's own by default.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed if seed is None else seed)
        coder = make_coder(recipe.coding)
        network = conv_network(recipe.model, coder, coder.encoded_shape(shape), classes)
        for defence in recipe.defences:
            defence.prepare(network)
        return network
