"""Networks that compute in a chip's integers, against the Programs read off them."""

import torch

from ..export.nir.roundtrip import RoundTrip
from ..export.program import Program
from ..toolkit.data import Images
from ..toolkit.errors import DisagreementError
from ..toolkit.network.network import SpikingNetwork
from ..toolkit.train import seeded
from .family import Family
from .target import get_target


@torch.no_grad()
def check_integers(family: Family, network: SpikingNetwork, program: Program, images: Images) -> RoundTrip:
    """Return how the spikes of a quantized network and of its Program agree.

    Both compute in integers, so that all are equal; only where a state was clipped they may differ.

    Args:
        family: whose simulator runs the Program.
        network: that it was lowered from.
        program: to run.
        images: what the network takes.

    Raises:
        DisagreementError: spikes differ, and no state was clipped.
    """
    sent: dict[str, torch.Tensor] = {}
    with seeded(0):
        network.spikes(torch.from_numpy(images), sent.__setitem__)
    with seeded(0):
        messages = network.coder.integers(images)
    trace = get_target(family.target).compile(program).run(messages, rasters=True)
    compared = spikes = different = 0
    for name in network.populations():
        found, expected = trace.rasters[name].spikes, sent[name].numpy()
        compared, spikes = compared + found.size, spikes + int(found.sum())
        different += int((found.reshape(expected.shape) != expected).sum())
    clipped = sum(event.saturations + event.wraps for event in (trace.overflow or {}).values())
    if different and not clipped:
        raise DisagreementError(
            f"{different} of {compared} spikes differ between the quantized network and its Program"
        )
    return RoundTrip(len(images), compared, spikes, different)
