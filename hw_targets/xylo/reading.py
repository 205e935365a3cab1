"""A folded network, looked at as Xylo has to: populations, the weights between them, and how deep they lie."""

from torch import nn

from ...toolkit.errors import UnsupportedError
from ...toolkit.network.layers import Membrane
from ...toolkit.network.network import INPUT, SpikingNetwork


class Reading:
    """A folded network, looked at: what flows into each population, over which weights."""

    def __init__(self, folded: SpikingNetwork) -> None:
        self.network = folded
        # What rounds the input is no layer of the chip.
        self.layers = {name: layer for name, layer in folded.named_layers() if name != INPUT}
        for name, layer in self.layers.items():
            if not isinstance(layer, nn.Linear | nn.Flatten | Membrane):
                raise UnsupportedError(
                    f"layer {name!r}: {type(layer).__name__} has no form on Xylo, whose layers are Linear, Flatten and "
                    "neurons"
                )
        self.populations = [name for name, layer in self.layers.items() if isinstance(layer, Membrane)]
        if not self.populations or self.populations[-1] != folded.readout:
            raise UnsupportedError("the last layer must be neurons: they are Xylo's read-out")

    def check(self) -> None:
        """Check that what leads back does so in the time that it takes on the chip.

        Raises:
            UnsupportedError: a loop over several populations, through which the chip needs as many steps.
        """
        for number, name in enumerate(self.populations):
            for origin in self.weights(name).values():
                if origin in self.populations[number:] and (late := self.depth(origin) - self.depth(name)):
                    raise UnsupportedError(
                        f"layer {name!r}: feeds back from {origin!r} in one step, but {late + 1} synapses lie in the "
                        "loop, a step each on Xylo, which has no delays to make up for it"
                    )

    def origin(self, name: str) -> str:
        """Return the population, or the input, whose signal a layer that is no population sends on."""
        while name != INPUT and not isinstance(self.layers[name], Membrane):
            sources = self.network.sources(name)
            if not isinstance(self.layers[name], nn.Flatten) or len(sources) > 1:
                raise UnsupportedError(f"layer {name!r}: weights must come between neurons, one layer of them")
            name = sources[0]
        return name

    def weights(self, population: str) -> dict[str, str]:
        """Return the weight layers into a population, each with the population, or input, that it receives from."""
        found = {}
        for source in self.network.sources(population):
            layer = self.layers.get(source)
            if not isinstance(layer, nn.Linear) or len(self.network.sources(source)) != 1:
                raise UnsupportedError(f"layer {population!r}: receives from {source!r}; Xylo needs one Linear between")
            found[source] = self.origin(self.network.sources(source)[0])
        return found

    def depth(self, population: str) -> int:
        """Return how many weight layers lie between the input and a population.

        Raises:
            UnsupportedError: paths of unequal length, which only delays could balance.
        """
        before = self.populations[: self.populations.index(population)]
        depths = {
            0 if origin == INPUT else self.depth(origin)
            for origin in self.weights(population).values()
            if origin == INPUT or origin in before
        }
        if len(depths) > 1:
            raise UnsupportedError(
                f"layer {population!r}: receives over paths of unequal depth; Xylo has no delays to balance them"
            )
        return depths.pop() + 1
