"""``export`` for chips whose networks have no form in NIR: the Program is read off the network, and compared."""

import torch

from ...export.chip import chips
from ...export.nir.roundtrip import RoundTrip
from ...export.program import Program, write_program
from ...export.program.describe import describe
from ...hw_targets.family import Family
from ...hw_targets.target import get_target
from ...toolkit.data import Images
from ...toolkit.errors import DisagreementError, UnsupportedError
from ...toolkit.files import write_json
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.train import seeded
from .files import FORMS
from .folder import Run
from .results import Exported


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


def export(run: Run, family: Family, network: SpikingNetwork, images: Images, shape: tuple[int, int, int]) -> Exported:
    """Write program.safetensors and export.json; files of other chips' forms are removed.

    Args:
        run: quantized.
        family: of the recipe's chip.
        network: quantized.
        images: to compare network and Program on.
        shape: (channels, height, width) of an image.

    Raises:
        UnsupportedError: the network has no Program, or the chip cannot run it.
    """
    chip = run.recipe().export.chip
    program = family.lower(network, shape)
    reasons = [*chips.unsupported(program, chip), *get_target(family.target).refused(program)]
    if reasons:
        raise UnsupportedError(f"export.chip = {chip!r}: " + "; ".join(reasons))
    trip = check_integers(family, network, program, images)
    write_program(run.path("program.safetensors"), program)
    for name in FORMS:
        run.path(name).unlink(missing_ok=True)
    why = f"files of this form hold Loihi's integers; the Program is of profile {program.profile!r}"
    result = Exported(program.sha256(), trip, [why], None, [why], describe(program), nir=False)
    write_json(run.path("export.json"), result.to_dict())
    run.finished("export")
    return result
