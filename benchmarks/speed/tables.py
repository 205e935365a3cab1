"""The tables and charts that are made from a result."""

import re
from pathlib import Path
from typing import Any

MARK = "<!-- made by python benchmarks/speed -->"


def machine_class(result: dict[str, Any]) -> str:
    """Return a short name of the machine, for the file name."""
    name = f"{result['machine']['processor']} {result['threads']} threads"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def lines(comparison: dict[str, Any]) -> str:
    """Return a comparison as rows of a Markdown table."""
    rows = []
    for name, side in comparison["sides"].items():
        ratio, goal = side["ratio"], comparison["goals"].get(name)
        found = f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
        wanted = "" if goal is None else f"{goal:.2f}: {'reached' if ratio['median'] >= goal else '**not reached**'}"
        memory = f"{max(side['peak_mib'], side['children_mib']):.0f}"
        rows.append(f"| {name} | {1000 * side['median']:.4g} | {found} | {wanted} | {memory} |")
    return "\n".join(rows)


def page(result: dict[str, Any]) -> str:
    """Return everything between the marks of docs/speed.md."""
    where = result["machine"]
    parts = [
        f"{where['processor']}, {result['threads']} threads, {result['created'][:10]}; "
        + ", ".join(f"{name} {number}" for name, number in _versions(result).items() if number != "absent")
        + ". Ratio: theirs / ours, median (least to most) over rounds."
    ]
    for comparison in result["comparisons"]:
        parts += [
            f"**{comparison['name']}**",
            "| side | ms | times ours | goal | peak MiB |\n| --- | --: | --: | --- | --: |\n" + lines(comparison),
        ]
    rate, big = result["scaling"]["rates"], result["evaluation"]
    parts.append(
        f"Dense Program (784-512-10, T = 64, batch 256): {rate['loihi'] / 1e9:.1f} of {rate['machine'] / 1e9:.1f} "
        f"billion operations a second in float32, {100 * rate['share']:.0f} % of the machine's product rate."
    )
    parts.append(
        f"Evaluation of {big['samples']:,} samples (28 x 28, T = 8): {big['seconds']:.1f} s, peak memory "
        f"{big['peak_mib']:.0f} MiB, of which {big['start_mib']:.0f} MiB are the imports."
    )
    commands = "\n".join(f"| `{name}` | {seconds:.1f} |" for name, seconds in result["commands"].items())
    parts.append("| command | s |\n| --- | --: |\n" + commands)
    parts.append("![Cost of loihi against activity, time steps, batch and width](speed.svg)")
    return "\n\n".join(parts)


def _versions(result: dict[str, Any]) -> dict[str, str]:
    found = dict(result["packages"])
    for comparison in result["comparisons"]:
        for side in comparison["sides"].values():
            found |= side["versions"]
    return found


def publish(result: dict[str, Any], docs: Path) -> None:
    """Write the tables into docs/speed.md, between its marks, and the chart beside it."""
    text = (docs / "speed.md").read_text()
    before, _, rest = text.partition(MARK)
    after = rest.partition(MARK)[2]
    (docs / "speed.md").write_text(f"{before}{MARK}\n\n{page(result)}\n\n{MARK}{after}")
    chart(result["scaling"]["sweeps"], docs / "speed.svg")


def chart(sweeps: dict[str, Any], path: Path) -> None:
    """Draw cost against activity, steps, batch and width."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "speed", "font.size": 8}):
        figure = Figure(figsize=(8, 2.2), layout="constrained")
        for axis, (name, found) in zip(figure.subplots(1, len(sweeps)), sweeps.items(), strict=True):
            values = [float(str(value).removeprefix("mlp-")) for value in found["values"]]
            axis.plot(values, [1000 * s for s in found["seconds"]], "o-", markersize=3)
            axis.set(xlabel=name, ylim=(0, None))
        figure.axes[0].set_ylabel("ms")
        figure.savefig(path, metadata={"Date": None})
