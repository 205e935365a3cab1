"""The command line. Heavy imports stand inside the commands, so that ``--help`` answers at once.

Exit codes: 0 done; 1 internal failure (a bug: please report it); 2 refused input or wrong usage; 3 a target is
unavailable or failed; 4 forms that must agree bit for bit do not; 5 the Program does not fit the chip; 130 interrupted.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from . import (
    adapt,
    adopt,
    bring,
    compare,
    decision,
    energy,
    explain,
    faults,
    fit,
    leaderboard,
    listing,
    nir,
    prove,
    robustness,
    steps,
    study,
    targets,
)
from .old import translated
from .options import (
    EXIT_BUG,
    EXIT_DIFFERENT,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    EXIT_TARGET,
    FILES,
    HERE,
    MEASURE,
    START,
    STEPS,
    STUDIES,
    Once,
)

_COMMANDS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    START: {"demo": steps.demo, "run": steps.run},
    STEPS: {
        "train": steps.train,
        "attack": steps.attack,
        "quantize": steps.quantize,
        "export": steps.export,
        "simulate": steps.simulate,
        "evaluate": steps.evaluate,
    },
    MEASURE: {
        "robustness": robustness.robustness,
        "prove": prove.prove,
        "explain": explain.explain,
        "compare": compare.compare,
        "energy": energy.energy,
        "fit": fit.fit,
        "faults": faults.faults,
        "decision": decision.decision,
        "agree": targets.agree,
        "profiles": targets.profiles,
    },
    FILES: {"adopt": adopt.adopt, "adapt": adapt.adapt, "import": bring.bring, "nir": nir.app},
    STUDIES: {"study": study.app, "leaderboard": leaderboard.command},
    HERE: {
        "list": listing.listed,
        "targets": targets.targets,
        "support": targets.support,
        "doctor": targets.doctor,
        "selftest": targets.selftest,
        "lava": targets.lava,
    },
}


class _Road(TyperGroup):
    """Lists commands in the order of the road, groups among them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [name for commands in _COMMANDS.values() for name in commands]


app = typer.Typer(
    cls=_Road,
    name="spikeproof",
    help="Train, attack, quantize, export and run spiking networks in Loihi's integers, and measure every form again.",
    epilog="Exit codes: 0 done, 1 internal failure, 2 refused input, 3 target unavailable or failed, "
    "4 forms that must agree do not, 5 does not fit the chip, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from .. import __version__

        typer.echo(f"spikeproof {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Nothing happens before the command."""


# Commands in the order of the road: this is how --help shows them.
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, cls=Once, rich_help_panel=_panel)(_command)


def _fail(message: str, code: int) -> NoReturn:
    # One line, whatever the message holds: it may quote an error of a library.
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
    sys.exit(code)


def main() -> None:
    """Run the command line and turn every error into one line and an exit code."""
    from ..toolkit.errors import DisagreementError, OtherProcessError, SpikeproofError, TargetError
    from ..toolkit.kernels.memory import keep_freed_memory

    keep_freed_memory()
    words, note = translated(sys.argv[1:])
    if note:
        sys.stderr.write(f"note: {note}\n")
    try:
        app(words, prog_name="spikeproof")
    except OtherProcessError:
        sys.exit(0)
    except DisagreementError as error:
        _fail(str(error), EXIT_DIFFERENT)
    except TargetError as error:
        _fail(str(error), EXIT_TARGET)
    except SpikeproofError as error:
        _fail(str(error), EXIT_REFUSED)
    except SystemExit as error:
        # Typer turns an interrupt into this status and says nothing.
        if error.code == EXIT_INTERRUPTED:
            _fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)
        raise
    except Exception as error:
        import traceback

        traceback.print_exc()
        _fail(f"internal failure, please report it: {type(error).__name__}: {error}", EXIT_BUG)
