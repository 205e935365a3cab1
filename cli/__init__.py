"""The command line. Heavy imports stand inside the commands, so that ``--help`` answers at once.

Exit codes: 0 done; 1 internal failure (a bug: please report it); 2 refused input or wrong usage; 3 a target is
unavailable or failed; 4 forms that must agree bit for bit do not; 5 the Program does not fit the chip; 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from . import beside, board, explain, foreign, study
from . import protocol as robustness
from .fit import fit
from .nir import OneSpike, Origin, Reset, TimeStep, Unscaled, check

EXIT_BUG, EXIT_REFUSED, EXIT_TARGET, EXIT_DIFFERENT, EXIT_INTERRUPTED = 1, 2, 3, 4, 130

app = typer.Typer(
    name="spikeproof",
    help="Train, attack, quantize, export and run spiking networks in Loihi's integers, and measure every form again.",
    epilog="Exit codes: 0 done, 1 internal failure, 2 refused input, 3 target unavailable or failed, "
    "4 forms that must agree do not, 5 does not fit the chip, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
lava = typer.Typer(help="Lava's own Python 3.10 environment.", no_args_is_help=True)
app.add_typer(lava, name="lava")
app.add_typer(study.app, name="study")

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by 'train' or 'run'.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file (TOML), or the name of a built-in one.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Run folder to write; made if absent, taken up again if started.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, no progress bars.")]
Netx = Annotated[bool, typer.Option("--netx", help="The environment of target netx: lava-dl's importer.")]
Samples = Annotated[int, typer.Option("--samples", "-n", min=1, help="How many test images.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"spikeproof {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Nothing happens before the command."""


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _load(as_json: bool) -> Any:
    """Import what the steps need and return their modules."""
    from . import show

    with show.loading(as_json):
        from ..eval.run import simulate as look
        from ..eval.run import steps

        steps.quiet_libraries()
    return steps, look


def _step(name: str, folder: Path, as_json: bool, **options: Any) -> None:
    """Run one step of an existing run with progress bars and show its result."""
    from ..eval.run.folder import Run
    from . import show

    run = Run.open(folder)
    step = next(getattr(module, name) for module in _load(as_json) if hasattr(module, name))
    with show.progress(as_json) as track:
        result = step(run, track=track, **options)
    show.show(result, as_json)


@app.command()
def train(recipe: RecipeName, out: Out, as_json: Json = False) -> None:
    """Train the recipe's network; an interrupted training goes on where it stopped."""
    from ..eval.run.folder import Run
    from ..toolkit.config import load_recipe

    Run.create(out, load_recipe(recipe))
    _step("train", out, as_json)


@app.command()
def attack(run: RunFolder, as_json: Json = False) -> None:
    """Make adversarial examples on the float network."""
    _step("attack", run, as_json)


@app.command()
def quantize(run: RunFolder, as_json: Json = False) -> None:
    """Fold batch norm and fine-tune on Loihi's weight grid."""
    _step("quantize", run, as_json)


@app.command()
def export(run: RunFolder, as_json: Json = False) -> None:
    """Write NIR (checked by executing it), the integer Program and its ONNX form."""
    _step("export", run, as_json)


@app.command()
def simulate(
    run: RunFolder,
    target: Annotated[str, typer.Option("--target", "-t", help="Which target.")] = "loihi",
    images: Annotated[
        Path | None, typer.Option(help="An .npz with images x (and labels y); else the test set.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", min=1, help="How many; all by default.")] = None,
    rasters: Annotated[bool, typer.Option(help="Keep every spike, u and v in the trace file.")] = False,
    as_json: Json = False,
) -> None:
    """Run the Program on one target and keep its trace."""
    _step("simulate", run, as_json, target=target, images=images, samples=samples, rasters=rasters)


@app.command()
def compare(
    run: RunFolder,
    targets: Annotated[
        str | None,
        typer.Option("--targets", "-t", help="Compare these targets bit for bit; loihi,onnx,lava with --bitwise."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", "-n", min=1, help="Test images; all by default, 64 for targets bit for bit."),
    ] = None,
    bitwise: Annotated[
        bool, typer.Option("--bitwise", help="Compare targets; fail with exit code 4 unless all is equal.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the table as CSV, too.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure costs again, even if nothing has changed.")] = False,
    as_json: Json = False,
) -> None:
    """Put float, quantized and deployed side by side: accuracy, robustness, sparsity, latency, energy, memory.

    With --bitwise or --targets: run the Program on several targets and compare every spike, current and voltage.
    """
    if beside.asked(targets, bitwise, csv, again):
        beside.compare(run, samples, csv, again, as_json)
    else:
        names = _names("loihi,onnx,lava" if targets is None else targets)
        _step("compare_targets", run, as_json, targets=names, samples=samples or 64, bitwise=bitwise)


app.command()(check)
app.command()(explain.explain)
app.command()(fit)
app.command("leaderboard")(board.command)


@app.command()
def support(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/support.md.")] = False,
    as_json: Json = False,
) -> None:
    """List what runs where, found by asking every target, and what the exporter writes, found by trying."""
    from dataclasses import asdict

    from . import show

    with show.loading(as_json):
        from ..eval.support import constructs as tables

        found = {"programs": tables.programs(), "layers": tables.layers()}
    if markdown:
        typer.echo(tables.page(found["programs"], found["layers"]), nl=False)
    elif as_json:
        show.show({name: [asdict(answer) for answer in answers] for name, answers in found.items()}, True)
    else:
        show.support(found)


@app.command()
def profiles(run: RunFolder, samples: Samples = 500, as_json: Json = False) -> None:
    """Run the Program under every profile of integer arithmetic and tell what the choice changes."""
    _step("profiles", run, as_json, samples=samples)


@app.command()
def evaluate(
    run: foreign.RunOrFile,
    targets: Annotated[str | None, typer.Option("--targets", "-t", help="Targets; the recipe's by default.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device of a run's float network: cpu or cuda.")] = None,
    data: foreign.Data = None,
    steps: foreign.Steps = None,
    bits: foreign.Bits = None,
    input_bits: foreign.InputBits = None,
    samples: foreign.Samples = None,
    out: foreign.OutFile = None,
    dt: TimeStep = None,
    origin: Origin = None,
    reset: Reset = None,
    one_spike: OneSpike = False,
    unscaled: Unscaled = False,
    protocol: robustness.Protocol = None,
    epsilon: robustness.Epsilon = None,
    threat: robustness.ThreatModel = None,
    budget: robustness.Budget = None,
    seed: robustness.Seed = None,
    draws: robustness.Draws = None,
    as_json: Json = False,
) -> None:
    """Measure every form of a run, or of a NIR file of any framework, on the same samples; write the record."""
    names = _names(targets) if targets else None
    options: dict[str, Any] = {"data": data, "steps": steps, "bits": bits, "input_bits": input_bits}
    options |= {"samples": samples, "out": out, "dt": dt, "origin": origin, "reset": reset}
    options |= {"one_spike": one_spike, "unscaled": unscaled}
    own = {"epsilon": epsilon, "threat": threat, "budget": budget, "seed": seed, "draws": draws}
    if robustness.asked(run, protocol, own, device, options):
        robustness.evaluate(run, str(protocol), names, samples, as_json, own)
    elif foreign.is_file(run, device):
        foreign.evaluate(run, names, as_json, **options)
    else:
        foreign.not_for_runs(options)
        _step("evaluate_run", run, as_json, targets=names, device=device or "cpu")


def _run_all(recipe: str, out: Path, as_json: bool, samples: int) -> None:
    from ..eval.run.folder import Run
    from ..hw_targets.lava.environment import environment_python, status
    from ..toolkit.config import load_recipe
    from . import show

    made = Run.create(out, load_recipe(recipe))
    targets: list[str] = list(made.recipe().evaluate.targets)
    for kind in ("lava", "netx"):
        if kind in targets and environment_python(kind) is None:
            show.err.print(f"[yellow]note:[/] without {kind}: {status(kind).how}")
            targets.remove(kind)

    def report(result: dict[str, Any]) -> None:
        if not as_json:
            show.out.rule(str(result["step"]))
            show.show(result, False)

    steps, _ = _load(as_json)
    with show.progress(as_json) as track:
        last = steps.run_all(made, targets, samples, report, track)
    if as_json:
        show.show(last, True)


@app.command()
def run(recipe: RecipeName, out: Out, as_json: Json = False) -> None:
    """Run every step of a recipe; steps that are done already are not repeated."""
    _run_all(recipe, out, as_json, samples=64)


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    fast: Annotated[
        bool, typer.Option("--fast", help="Few epochs and samples: does it work? Not to be quoted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the whole road on handwritten digits."""
    _run_all(
        "fast" if fast else "digits",
        out / "fast" if fast and out == Path("runs/demo") else out,
        as_json,
        8 if fast else 64,
    )


@app.command()
def targets(as_json: Json = False) -> None:
    """List the targets and whether they can be used here."""
    from ..hw_targets.target import get_target, target_names
    from .show import show

    rows = []
    for name in target_names():
        target = get_target(name)
        rows.append(
            {"target": name, "runs": target.form, "what": target.summary, "missing": target.unavailable() or ""}
        )
    show({"targets": rows}, as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check what this installation can do; exit code 3 if a target is missing."""
    from dataclasses import asdict

    from ..eval.records.base import machine, packages
    from ..hw_targets.lava.environment import status
    from .show import show

    found = {"lava": status("lava"), "netx": status("netx")}
    environments = {name: asdict(one) for name, one in found.items()}
    show({"machine": machine().model_dump(), "packages": packages(), **environments}, as_json)
    if not all(one.installed for one in found.values()):
        raise typer.Exit(EXIT_TARGET)


@lava.command("install")
def lava_install(
    python: Annotated[
        str | None, typer.Option(help="Interpreter of Python 3.10.", envvar="SPIKEPROOF_LAVA_PYTHON")
    ] = None,
    netx: Netx = False,
    as_json: Json = False,
) -> None:
    """Make Lava's environment (about 300 MB; with --netx lava-dl's, about 430 MB) in the user's cache folder."""
    from ..hw_targets.lava.environment import install
    from .show import show

    show({"python": str(install(python, "netx" if netx else "lava"))}, as_json)


@lava.command("status")
def lava_status(netx: Netx = False, as_json: Json = False) -> None:
    """Tell whether Lava is installed, and how to get it; exit code 3 if not."""
    from dataclasses import asdict

    from ..hw_targets.lava.environment import status
    from .show import show

    found = status("netx" if netx else "lava")
    show(asdict(found), as_json)
    if not found.installed:
        raise typer.Exit(EXIT_TARGET)


def _fail(message: str, code: int) -> NoReturn:
    # One line, whatever the message holds: it may quote an error of a library.
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
    sys.exit(code)


def main() -> None:
    """Run the command line and turn every error into one line and an exit code."""
    from ..toolkit.errors import DisagreementError, SpikeproofError, TargetError
    from ..toolkit.kernels.memory import keep_freed_memory

    keep_freed_memory()
    try:
        app()
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
