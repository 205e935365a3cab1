"""Networks with joins, loops and delays: a SEW-ResNet, a VGG, a recurrent and a delayed network, in small widths."""

from collections import OrderedDict

from torch import nn

from ..coding import Coder
from ..config import ModelSettings
from ..layers import SpikingNetwork
from ..neurons import LIF, Delay

Shape = tuple[int, int, int]


class _Builder:
    """Collects layers and wiring, with neurons as the recipe says."""

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.wiring: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, layer: nn.Module, *sources: str) -> str:
        self.layers[name] = layer
        if sources:
            self.wiring[name] = sources
        return name

    def lif(self, name: str, *sources: str) -> str:
        return self.add(name, LIF(self.settings.beta, self.settings.threshold, self.settings.alpha), *sources)

    def conv(self, name: str, into: int, out: int, *sources: str, kernel: int = 3, stride: int = 1) -> str:
        """Append convolution, norm and LIF; return the name of the LIF layer."""
        layer = nn.Conv2d(into, out, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.add(f"{name}_conv", layer, *sources)
        self.add(f"{name}_norm", nn.BatchNorm2d(out))
        return self.lif(name)

    def network(self, steps: Coder | int) -> SpikingNetwork:
        return SpikingNetwork(self.layers, steps, self.settings.gain, self.wiring)


def _pooled(settings: ModelSettings) -> nn.Module:
    return nn.MaxPool2d(2) if settings.pool == "max" else nn.AvgPool2d(2)


def sew_network(settings: ModelSettings, steps: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a SEW-ResNet: a stem, then two blocks for each width in ``channels``, joined by ADD.

    A block sends s = LIF(norm(conv(LIF(norm(conv(x)))))) + x; where the width changes, the shortcut is a convolution of
    1x1 with stride 2, norm and LIF. (Fang et al., arXiv 2102.04159, equation 6.)

    Args:
        settings: the recipe's model section.
        steps: time steps of the direct coder, or a coder.
        shape: (channels, height, width) of an image.
        classes: number of output neurons.
    """
    build = _Builder(settings)
    width, height = settings.channels[0], shape[1]
    sent: tuple[str, ...] = (build.conv("stem", shape[0], width),)
    for stage, out in enumerate(settings.channels, start=1):
        for number in (1, 2):
            name, stride = f"block{stage}{number}", 2 if stage > 1 and number == 1 else 1
            inner = build.conv(f"{name}a", width, out, *sent, stride=stride)
            last = build.conv(f"{name}b", out, out, inner)
            if stride > 1:
                sent = (build.conv(f"{name}s", width, out, *sent, kernel=1, stride=stride),)
                height = (height + 1) // 2
            # The sum of sums is kept as the list of who adds up.
            sent, width = (*sent, last), out
    build.add("pool", nn.AvgPool2d(2), *sent)
    build.add("flatten", nn.Flatten())
    columns = shape[2] // (shape[1] // height)
    build.add("linear", nn.Linear(width * (height // 2) * (columns // 2), classes))
    build.lif("last")
    return build.network(steps)


def vgg_network(settings: ModelSettings, steps: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a VGG: two convolutions and a pool for each width in ``channels``, then two linear layers.

    The arguments are those of :func:`sew_network`.
    """
    build = _Builder(settings)
    into, height, width = shape
    for stage, out in enumerate(settings.channels, start=1):
        build.conv(f"cell{stage}a", into, out)
        build.conv(f"cell{stage}b", out, out)
        build.add(f"pool{stage}", _pooled(settings))
        into, height, width = out, height // 2, width // 2
    build.add("flatten", nn.Flatten())
    build.add("hidden", nn.Linear(into * height * width, 4 * into))
    build.lif("cell")
    build.add("linear", nn.Linear(4 * into, classes))
    build.lif("last")
    return build.network(steps)


def recurrent_network(settings: ModelSettings, steps: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a dense network whose hidden layer feeds back to itself one step later; width 8 times ``channels[0]``.

    The arguments are those of :func:`sew_network`.
    """
    build = _Builder(settings)
    hidden = 8 * settings.channels[0]
    build.add("flatten", nn.Flatten())
    build.add("enter", nn.Linear(shape[0] * shape[1] * shape[2], hidden))
    build.lif("cell", "enter", "loop")
    build.add("loop", nn.Linear(hidden, hidden, bias=False), "cell")
    build.add("linear", nn.Linear(hidden, classes), "cell")
    build.lif("last")
    return build.network(steps)


def delayed_network(settings: ModelSettings, steps: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a convolutional network whose read-out sees the hidden spikes at once, and again one step later.

    The arguments are those of :func:`sew_network`.
    """
    build = _Builder(settings)
    out = settings.channels[0]
    cell = build.conv("cell", shape[0], out)
    size = out * (shape[1] // 2) * (shape[2] // 2)
    build.add("late", Delay(1), cell)
    for name, source in (("now", cell), ("then", "late")):
        build.add(f"{name}_pool", _pooled(settings), source)
        build.add(f"{name}_flat", nn.Flatten())
        build.add(name, nn.Linear(size, classes, bias=name == "now"))
    build.lif("last", "now", "then")
    return build.network(steps)
