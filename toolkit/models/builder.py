"""What all architectures are put together with: named layers, wiring, and neurons as the recipe says."""

from collections import OrderedDict

from torch import nn

from ..coding import Coder
from ..kernels.norm import Norm
from ..kernels.pool import MaxPool
from ..named import make
from ..network import NEURONS
from ..network.network import SpikingNetwork
from ..network.neurons import LI, Integrator, Neuron
from ..settings import ModelSettings

Shape = tuple[int, int, int]


def make_neuron(settings: ModelSettings) -> Neuron:
    """Return a layer of the recipe's neurons: made of the keys of the section, and of their own."""
    named = settings.neuron
    own = {} if isinstance(named, str) else dict(named)
    return make(NEURONS.get(named if isinstance(named, str) else named.name), settings, **own)


class Builder:
    """Collects layers and wiring.

    Args:
        settings: the recipe's model section.
        shape: (channels, height, width) of one step of the encoding.
    """

    def __init__(self, settings: ModelSettings, shape: Shape) -> None:
        self.settings = settings
        self.channels, self.height, self.width = shape
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.wiring: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, layer: nn.Module, *sources: str) -> str:
        """Append a layer, after the one before it unless sources are named; return its name."""
        self.layers[name] = layer
        if sources:
            self.wiring[name] = sources
        return name

    def neuron(self, name: str, *sources: str) -> str:
        """Append neurons."""
        return self.add(name, make_neuron(self.settings), *sources)

    def weights(self, name: str, into: int, out: int, *sources: str, kernel: int = 3, stride: int = 1) -> str:
        """Append a convolution with padding kernel // 2 and without bias."""
        layer = nn.Conv2d(into, out, kernel, stride=stride, padding=kernel // 2, bias=False)
        return self.add(f"{name}_conv", layer, *sources)

    def norm(self, name: str, into: int, out: int, *sources: str, kernel: int = 3, stride: int = 1) -> str:
        """Append convolution and norm."""
        self.weights(name, into, out, *sources, kernel=kernel, stride=stride)
        return self.add(f"{name}_norm", Norm(out))

    def conv(self, name: str, into: int, out: int, *sources: str, kernel: int = 3, stride: int = 1) -> str:
        """Append convolution, norm and neurons."""
        self.norm(name, into, out, *sources, kernel=kernel, stride=stride)
        return self.neuron(name)

    def halved(self) -> None:
        """Note that a convolution or pool of stride 2, padded, has passed."""
        self.height, self.width = (self.height + 1) // 2, (self.width + 1) // 2

    def pooled(self, name: str, *sources: str, kernel: int = 2, padding: int = 0) -> str:
        """Append the recipe's pool, stride 2."""
        kind = MaxPool if self.settings.pool == "max" else nn.AvgPool2d
        return self.add(name, kind(kernel, 2, padding), *sources)

    def global_average(self, *sources: str) -> None:
        """Append the mean over the whole image."""
        self.add("pool", nn.AvgPool2d((self.height, self.width)), *sources)
        self.height = self.width = 1

    def output(self, name: str, *sources: str) -> None:
        """Append what is read: neurons, or an integrator."""
        keep = self.settings.readout_beta
        membrane = Integrator() if keep == 1.0 else LI(keep)
        self.add(name, make_neuron(self.settings) if self.settings.readout == "spikes" else membrane, *sources)

    def read(self, features: int, classes: int, name: str = "last") -> None:
        """Append a linear layer and what is read."""
        self.add("linear", nn.Linear(features, classes))
        self.output(name)

    def network(self, coder: Coder | int) -> SpikingNetwork:
        """Return what was collected."""
        every = self.settings.every_step
        return SpikingNetwork(self.layers, coder, self.settings.gain, self.wiring, every_step=every)
