"""Models, built from a recipe."""

from collections.abc import Callable

import torch

from ..coding import Coder, make_coder
from ..config import Recipe
from ..network.network import SpikingNetwork
from ..settings import ModelSettings
from .builder import Shape
from .layers import layered_network
from .plain import conv_network, delayed_network, mlp_network, recurrent_network, vgg_network
from .residual import sew_network, spiking_resnet, wide_resnet
from .upscaling import spikesr_network

MODELS: dict[str, Callable[[ModelSettings, Coder | int, Shape, int], SpikingNetwork]] = {
    "conv": conv_network,
    "sew": sew_network,
    "spiking-resnet": spiking_resnet,
    "vgg": vgg_network,
    "wrn": wide_resnet,
    "mlp": mlp_network,
    "recurrent": recurrent_network,
    "delayed": delayed_network,
    "spikesr": spikesr_network,
    "layers": layered_network,
}
"""How each ``kind`` of a recipe is built, from model settings, coder, image shape and number of classes."""


def build_network(recipe: Recipe, shape: Shape, classes: int, seed: int | None = None) -> SpikingNetwork:
    """Build the network that a recipe describes: the only way from a recipe to a network.

    Args:
        recipe: its sections model and coding, and its defences, which prepare the network in their order.
        shape: (channels, height, width) of an image.
        classes: number of output neurons.
        seed: what alone decides the initial weights; the recipe's own by default.

    Raises:
        InputError: the images are too small for the model, or its settings contradict one another.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed if seed is None else seed)
        coder = make_coder(recipe.coding)
        network = MODELS[recipe.model.kind](recipe.model, coder, coder.encoded_shape(shape), classes)
        for defence in recipe.defences:
            defence.prepare(network)
        return network
