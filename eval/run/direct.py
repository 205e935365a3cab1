"""``export`` for chips whose networks have no form in NIR: the Program is read off the network, and compared."""

from ...export.chip import chips
from ...export.program import write_program
from ...export.program.describe import describe
from ...hw_targets.family import Family
from ...hw_targets.integers import check_integers
from ...hw_targets.target import get_target
from ...toolkit.data import Images
from ...toolkit.errors import UnsupportedError
from ...toolkit.files import write_json
from ...toolkit.network.network import SpikingNetwork
from .files import FORMS
from .folder import Run
from .results import Exported


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
