"""Commands about targets: whether they agree, what each runs, and what this installation has."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import EXIT_DIFFERENT, EXIT_TARGET, Json, Once, RunFolder, Targets, names
from .steps import step

if TYPE_CHECKING:
    from ..eval.run.results import Result

AGREE = ("loihi", "onnx", "lava")
"""What ``agree`` compares unless it is told."""

lava = typer.Typer(help="Environments of other simulators: Lava's, lava-dl's, xylosim's.", no_args_is_help=True)
Netx = Annotated[bool, typer.Option("--netx", help="The environment of target netx: lava-dl's importer.")]
Xylosim = Annotated[bool, typer.Option("--xylosim", help="The environment of target xylosim, on Python 3.11.")]
ProfileSamples = Annotated[int, typer.Option("--samples", "-n", min=1, help="How many test images.")]


def agree(
    run: RunFolder,
    targets: Targets = None,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="How many test images.")] = 64,
    as_json: Json = False,
) -> None:
    """Run the Program on several targets, loihi, onnx and lava by default; exit code 4 unless every value is equal."""
    from ..eval.run.folder import Run
    from . import show

    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.simulate import agree as put_beside
        from ..eval.run.simulate import require_equal
    with show.progress(as_json) as track:
        result = put_beside(found, names(targets) or list(AGREE), samples, track)
    show.show(result, as_json)
    require_equal(result.record)


def profiles(run: RunFolder, samples: ProfileSamples = 500, as_json: Json = False) -> None:
    """Run the Program under every profile of integer arithmetic and tell what the choice changes."""

    def find() -> Callable[..., "Result"]:
        from ..eval.run.simulate import profiles

        return profiles

    step(run, as_json, find, samples=samples)


def support(
    networks: Annotated[
        bool, typer.Option("--networks", help="Walk the whole road with networks of every framework; takes minutes.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/support.md.")] = False,
    as_json: Json = False,
) -> None:
    """List what runs where, found by asking every target, and what the exporter writes, found by trying."""
    from dataclasses import asdict

    from . import show

    with show.loading(as_json, "walking the road with every network" if networks else "loading"):
        from ..eval.support import constructs, cores, graphs

        if networks:
            from ..eval.support.networks import page, roads

            walked = roads()
    if networks:
        found = {"networks": walked}
    else:
        found = {
            "programs": constructs.programs(),
            "programs of Xylo": cores.programs(),
            "layers": constructs.layers(),
            "files": graphs.files(),
        }
    if markdown and networks:
        typer.echo(page(found["networks"]), nl=False)
    elif markdown:
        typer.echo(constructs.page(*found.values()), nl=False)
    elif as_json:
        show.print_json({name: [asdict(answer) for answer in answers] for name, answers in found.items()})
    else:
        show.support(found)


def targets(as_json: Json = False) -> None:
    """List the targets and whether they can be used here."""
    from ..hw_targets.target import get_target, target_names
    from .show import values

    rows = []
    for name in target_names():
        target = get_target(name)
        rows.append(
            {"target": name, "runs": target.form, "what": target.summary, "missing": target.unavailable() or ""}
        )
    values({"targets": rows}, as_json)


def selftest(as_json: Json = False) -> None:
    """Compare what this machine computes with known answers, half a minute; exit code 4 if anything differs.

    Targets against recordings of Lava and against integers of NumPy, training in compiled loops against PyTorch alone.
    'doctor' shows the last result.
    """
    from . import show

    with show.loading(as_json):
        from ..eval.selftest.run import selftest as compared
    with show.progress(as_json) as track:
        found = compared(track=track)
    show.selftest(found, as_json)
    if not found.equal:
        raise typer.Exit(EXIT_DIFFERENT)


def doctor(as_json: Json = False) -> None:
    """Check what this installation can do; exit code 3 if a target is missing."""
    from dataclasses import asdict

    from ..eval.records.base import machine, packages
    from ..eval.selftest.run import tested
    from ..hw_targets.lava.environment import status
    from ..hw_targets.loihi import neurons
    from ..toolkit.kernels import native, norm
    from .show import values

    loops = [one.row() for one in (native.status(), norm.status(), neurons.status())]
    found = {"lava": status("lava"), "netx": status("netx")}
    environments = {name: asdict(one) for name, one in found.items()}
    facts = {"machine": machine().model_dump(), "packages": packages(), "compiled loops": loops}
    values(facts | environments | {"self-test": tested()}, as_json)
    if not all(one.installed for one in found.values()):
        raise typer.Exit(EXIT_TARGET)


def _kind(netx: bool, xylosim: bool) -> Literal["lava", "netx", "xylosim"]:
    from ..toolkit.errors import InputError

    if netx and xylosim:
        raise InputError("--netx and --xylosim: one environment at a time")
    return "netx" if netx else "xylosim" if xylosim else "lava"


@lava.command("install", cls=Once)
def lava_install(
    python: Annotated[
        str | None,
        typer.Option(help="Interpreter of Python 3.10 (xylosim: 3.11).", envvar="SPIKEPROOF_LAVA_PYTHON"),
    ] = None,
    netx: Netx = False,
    xylosim: Xylosim = False,
    as_json: Json = False,
) -> None:
    """Make Lava's environment (about 300 MB; with --netx lava-dl's, about 430 MB) in the user's cache folder.

    With --xylosim that of SynSense's simulator (about 100 MB), which is compiled here, and states no licence.
    """
    from ..hw_targets.lava.environment import install
    from .show import values

    values({"python": str(install(python, _kind(netx, xylosim)))}, as_json)


@lava.command("status", cls=Once)
def lava_status(netx: Netx = False, xylosim: Xylosim = False, as_json: Json = False) -> None:
    """Tell whether Lava (lava-dl, xylosim) is installed, and how to get it; exit code 3 if not."""
    from dataclasses import asdict

    from ..hw_targets.lava.environment import status
    from .show import values

    found = status(_kind(netx, xylosim))
    values(asdict(found), as_json)
    if not found.installed:
        raise typer.Exit(EXIT_TARGET)
