"""SpikeSR: images of a larger size, whose pixels are membranes of the read-out (arXiv 2503.04223)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..coding import Coder
from ..errors import InputError
from ..kernels.norm import Norm
from ..network.attention import HDA, Attention, Fusion
from ..network.network import INPUT, SpikingNetwork
from ..network.neurons import Integrator
from ..network.similarity import DSA, Both
from ..settings import ModelSettings
from .builder import Builder, Shape

REACH = 2
"""Pixels to each side that the cubic kernel takes; its convolution is 5 x 5."""
SOFT = 0.2
"""Scale of the last norm of a block before training, as in the paper's code."""
SMALL = 0.01
"""Scale of the weights of the read-out before training, so that it begins with nearly the bicubic image."""


def scale_of(shape: Shape, outputs: int) -> int:
    """Return by how much images grow, if ``outputs`` neurons are the pixels of larger ones.

    Args:
        shape: (channels, height, width) of a small image.
        outputs: channels scale^2 height width.

    Raises:
        InputError: they are not.
    """
    pixels = math.prod(shape)
    scale = math.isqrt(outputs // pixels)
    if scale < 2 or scale * scale * pixels != outputs:
        raise InputError(
            f'model.kind = "spikesr": makes images of 2, 3, 4, ... times the size, and {outputs} outputs are no such '
            f'image for inputs of {shape}; name a data set of larger images, as data.name = "digits-x2"'
        )
    return scale


def cubic(distance: Tensor) -> Tensor:
    """Return Keys' cubic kernel with a = -1/2 (Keys 1981), as MATLAB and Pillow have it."""
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def bicubic_weights(channels: int, scale: int) -> Tensor:
    """Return the convolution that enlarges images bicubically, (channels scale^2, channels, 5, 5).

    Its outputs are ordered as ``pixel_shuffle`` takes them; what is outside the image counts as 0.
    """
    taps = torch.arange(-REACH, REACH + 1)
    places = (torch.arange(scale) + 0.5) / scale - 0.5
    line = cubic(taps[None, :] - places[:, None])
    kernels = torch.einsum("iy,jx->ijyx", line, line).reshape(scale * scale, *[2 * REACH + 1] * 2)
    weights = torch.zeros(channels, scale * scale, channels, *kernels.shape[1:])
    for channel in range(channels):
        weights[channel, :, channel] = kernels
    return weights.flatten(0, 1)


def attention_of(kind: str, steps: int, shape: Shape) -> Callable[[], Attention] | None:
    """Return what makes the attention behind a block: ``hda``, ``dsa``, ``both``; None where blocks have none.

    Args:
        kind: as ``model.attention``.
        steps: time steps.
        shape: (channels, height, width) of the features.
    """
    if kind == "none":
        return None
    if kind == "hda":
        return lambda: HDA(steps, shape[0])
    if kind == "dsa":
        return lambda: DSA(*shape)
    return lambda: Both(HDA(steps, shape[0]), DSA(*shape))


class _Features:
    """Builds on features that are sums of what several layers send: a skip is one more sender, no layer of its own."""

    def __init__(self, build: Builder, width: int, attend: Callable[[], Attention] | None) -> None:
        self.build, self.width, self.attend = build, width, attend

    def normed(self, name: str, *sources: str, kernel: int = 3, scale: float = 1.0) -> str:
        """Append a convolution of as many channels, and its norm; return its name."""
        made = self.build.norm(name, self.width, self.width, *sources, kernel=kernel)
        layer = self.build.layers[made]
        assert isinstance(layer, Norm)
        nn.init.constant_(layer.weight, scale)
        return made

    def block(self, name: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """Append a block; return the layers whose sum it adds to the features that it receives."""
        spikes = self.build.neuron(f"{name}_lif1", *sources)
        inner = self.build.neuron(f"{name}_lif2", self.normed(f"{name}_main1", spikes))
        added = self.normed(f"{name}_main2", inner, scale=SOFT), self.normed(f"{name}_beside", spikes)
        if self.attend is None:
            return added
        return (self.build.add(f"{name}_attention", self.attend(), *added),)

    def group(self, name: str, sources: tuple[str, ...], blocks: int) -> tuple[str, ...]:
        """Append a group: blocks, then neurons and a 1 x 1 convolution; return the features with what it adds."""
        inside = sources
        for number in range(1, blocks + 1):
            inside = (*inside, *self.block(f"{name}_{number}", inside))
        self.build.neuron(f"{name}_lif", *inside)
        return (*sources, self.normed(f"{name}_tail", kernel=1))


def spikesr_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build SpikeSR: a convolution, groups of blocks, and a read-out of ``scale``^2 membranes a pixel.

    A block adds norm(conv(LIF(norm(conv(s))))) + norm(conv(s)) to its features x, s = LIF(x); the paper's second term
    is of x itself, real numbers that no synapse carries. A group adds norm(conv1x1(LIF(x))) to what it receives. The
    pixels are what the last spikes send, summed over time, on top of the small image enlarged by a convolution that
    begins bicubic and is trained; their order is that of ``pixel_shuffle``, a permutation of the read-out. With
    attention, blocks end in it (:func:`attention_of`), and the pixels are of fused features, not of spikes.

    Args:
        settings: the recipe's model section: ``channels``, one width; ``blocks``, of each group.
        coder: as of :class:`..network.network.SpikingNetwork`.
        shape: (channels, height, width) of one step of the encoding.
        classes: output neurons: (channels scale^2, height, width).

    Raises:
        InputError: the output neurons are no pixels of a larger image, or there are several widths.
    """
    scale = scale_of(shape, classes)
    if len(settings.channels) != 1:
        raise InputError(f"model.channels: {settings.channels}; every layer of a spikesr has the same width, give one")
    colours, width = shape[0], settings.channels[0]
    steps = coder if isinstance(coder, int) else coder.steps
    build = Builder(settings, shape)
    features = _Features(build, width, attention_of(settings.attention, steps, (width, *shape[1:])))
    head = build.norm("head", colours, width, INPUT)
    found: tuple[str, ...] = (head,)
    for number, blocks in enumerate(settings.blocks or [2] * 4, start=1):
        found = features.group(f"group{number}", found, blocks)
    last = build.add("fusion", Fusion(width), *found) if features.attend else build.neuron("last", *found)
    pixels = nn.Conv2d(width, colours * scale * scale, 3, padding=1)
    nn.init.normal_(pixels.weight, std=SMALL / math.sqrt(9 * width))
    build.add("pixels", pixels, last)
    skip = nn.Conv2d(colours, colours * scale * scale, 2 * REACH + 1, padding=REACH, bias=False)
    with torch.no_grad():
        skip.weight.copy_(bicubic_weights(colours, scale))
    build.add("skip", skip, INPUT)
    build.add("image", Integrator(), "pixels", "skip")
    return build.network(coder)
