"""A trained network of ReLU as one of integrate-and-fire neurons, by SpikingJelly's converter."""

from typing import get_args

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..network.network import SpikingNetwork
from .network import Per, by_spikingjelly, check, converted_network

PERCENTILE = 99.9
CHECKED = 32
"""Samples on which the conversion is compared with SpikingJelly's."""


def convert(
    ann: nn.Module, sample: Tensor, *, steps: int, percentile: float = PERCENTILE, per: Per = "layer"
) -> tuple[SpikingNetwork, float]:
    """Return the network in spikes, and the share of samples on which its logits are those of SpikingJelly's.

    Each ReLU becomes integrate-and-fire neurons with soft reset. Their threshold is a percentile of the activations
    on ``sample`` (Rueckauer et al. 2017); a spike is worth it, which stands in the weights behind. Biases are kept.

    Args:
        ann: convolutions, linear layers, batch norm, ReLU, pools, flatten, residual additions; not changed.
        sample: (samples, channels, height, width), in [0, 1].
        steps: time steps.
        percentile: above 0, to 100, the largest.
        per: "layer" for one threshold a layer, "channel" for one a channel (and neuron of a linear layer), where no
            sum needs one for all.

    Raises:
        UnsupportedError: a layer has no counterpart in spikes; by name.
        InputError: the sample or the percentile is refused.
        DisagreementError: the network is not what SpikingJelly's converter made.
    """
    if sample.dim() != 4 or not len(sample) or not sample.is_floating_point():
        raise InputError(f"convert: sample {sample.dtype} of shape {tuple(sample.shape)}, expected images as floats")
    if not 0 < percentile <= 100:
        raise InputError(f"convert: percentile {percentile}, expected above 0, to 100")
    if per not in get_args(Per):
        raise InputError(f"convert: per={per!r}, expected 'layer' or 'channel'")
    if steps < 1:
        raise InputError(f"convert: {steps} steps, expected 1 or more")
    sample = sample.to(next(ann.parameters(), torch.zeros(())).device)
    converted = by_spikingjelly(ann, sample, percentile, per)
    network = converted_network(converted, steps)
    return network, check(network, converted, sample[:CHECKED])


__all__ = ["PERCENTILE", "Per", "convert"]
