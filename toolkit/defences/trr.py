"""TRR: temporal reversal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from ..errors import InputError
from ..network.network import SpikingNetwork
from ..network.neurons import Neuron
from .base import Batch, Defence, Gradients
from .neuron import last_weights

HEAD = "trr_head"


def reverse(signal: Tensor, samples: int) -> Tensor:
    """Return a signal (time * samples, ...) with its time steps in reverse order."""
    turned: Tensor = signal.unflatten(0, (-1, samples)).flip(0).flatten(0, 1)
    return turned


class Hybrid(nn.Linear):
    """H, from the product of two firing rates to logits.

    Attributes:
        told: where not None, what the network's own read-out received in each pass, (time * samples, features).
    """

    told: list[Tensor] | None = None


class TRR(Defence):
    """Temporal reversal: the network shall answer the same when time runs backward, and to a mix of both.

    CE(o, y) + consistency tau^2 KL(softmax(o / tau) || softmax(o' / tau)) + hybrid CE(H(r r'), y),

    o' the answer to the reversed signal, r and r' the firing rates (mean over time) that the last linear layer receives
    in both passes, H a linear layer of its own that only training uses. Images are constant in time, so the spikes of
    the first LIF layer are reversed instead.

    *Read* in notes of arXiv 2408.09108: the reversal, KL and the product of rates; *reconstructed:* heads, weights, and
    the direction of KL.

    A quantized network has no H: its fine-tuning keeps the consistency only. Wrong by construction for classes that
    differ in the direction of time.

    Attributes:
        consistency: alpha, the weight of KL.
        hybrid: beta, the weight of the mix.
        temperature: tau.
        reversed: "spikes" of the first LIF layer, or the "input".
    """

    name: Literal["trr"] = "trr"
    summary: ClassVar[str] = "temporal reversal: the same answer when time runs backward"
    consistency: Annotated[float, Field(ge=0.0)] = 0.5
    hybrid: Annotated[float, Field(ge=0.0)] = 0.5
    temperature: Annotated[float, Field(gt=0.0)] = 2.0
    reversed: Literal["spikes", "input"] = "spikes"

    def prepare(self, network: SpikingNetwork) -> None:
        """Add H."""
        if self.hybrid:
            _, readout = last_weights(network)
            network.add_module(HEAD, Hybrid(readout.in_features, readout.out_features))

    def divergence(self, logits: Tensor, backward: Tensor) -> Tensor:
        """Return KL(softmax(o / tau) || softmax(o' / tau)), the mean over the batch."""
        one, other = (given / self.temperature for given in (logits, backward))
        return kl_div(other.log_softmax(1), one.log_softmax(1), reduction="batchmean", log_target=True)

    @contextmanager
    def backward_in_time(self, network: SpikingNetwork, samples: int) -> Iterator[None]:
        """Run ``network`` on reversed signals inside the block."""
        if network.recurrent:
            raise InputError("trr: a network with loops runs step by step and cannot be reversed inside; leave one out")
        kinds = Neuron if self.reversed == "spikes" else nn.Module
        layer = next(part for _, part in network.named_layers() if isinstance(part, kinds))

        def flip(layer: nn.Module, inputs: Any, out: Tensor) -> Tensor:
            return out.flip(0) if isinstance(layer, Neuron) else reverse(out, samples)

        handle = layer.register_forward_hook(flip)
        try:
            yield
        finally:
            handle.remove()

    def around(self, batch: Batch, gradients: Gradients) -> Tensor:
        """Listen to what the read-out receives meanwhile."""
        head = getattr(batch.network, HEAD, None)
        if head is None:
            return gradients()
        _, readout = last_weights(batch.network)
        heard: list[Tensor] = []
        head.told = heard
        handle = readout.register_forward_pre_hook(lambda layer, inputs: heard.append(inputs[0]))
        try:
            return gradients()
        finally:
            handle.remove()
            head.told = None

    def loss(self, batch: Batch) -> Tensor | None:
        """Return the consistency and the hybrid term, from a second pass; None where both have weight 0."""
        head = getattr(batch.network, HEAD, None)
        if not self.consistency and head is None:
            return None
        with self.backward_in_time(batch.network, len(batch.labels)):
            backward = batch.model(batch.images)
        total = self.consistency * self.temperature**2 * self.divergence(batch.logits, backward)
        if head is not None and head.told:
            rates = [heard.unflatten(0, (-1, len(batch.labels))).mean(0) for heard in (head.told[0], head.told[-1])]
            head.told.clear()
            total = total + self.hybrid * cross_entropy(head(rates[0] * rates[1]), batch.labels)
        return total
