"""The tables and charts that are made from a result."""

import re
from pathlib import Path
from typing import Any

MARK = "<!-- made by python benchmarks/speed -->"


def machine_class(processor: str, cores: int, threads: int, accelerator: str | None) -> str:
    """Return the name of a class of machines: cpu-2core-amd-epyc, gpu-16core-nvidia-h100; with threads if fewer."""
    kind = f"{'gpu' if accelerator else 'cpu'} {cores}core {accelerator or processor}"
    name = kind if threads == cores else f"{kind} {threads}thread"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def lines(part: dict[str, Any]) -> str:
    """Return a part as Markdown: a comparison as a table, another in sentences; what failed, with the reason."""
    if "error" in part:
        return f"Failed: {part['error']}"
    failed = "".join(f"\n\n`{name}` is missing: {reason}" for name, reason in part.get("errors", {}).items())
    for key, show in (
        ("sides", _sides),
        ("sweeps", _sweeps),
        ("evaluations", _memory),
        ("lengths", _lengths),
        ("commands", _commands),
    ):
        if key in part:
            return show(part) + failed
    return _rates(part)


def _sides(part: dict[str, Any]) -> str:
    rows = ["| side | ms | least CPU ms | times ours | goal | peak MiB |", "| --- | --: | --: | --: | --- | --: |"]
    for name, side in part["sides"].items():
        ratio, goal = side.get("ratio"), part["goals"].get(name)
        found = f"{ratio['median']:.4g} ({ratio['least']:.4g} to {ratio['most']:.4g})" if ratio else ""
        reached = "" if ratio is None or goal is None else "reached" if ratio["median"] >= goal else "**not reached**"
        wanted = f"{goal:.4g}: {reached}" if reached else ""
        peak = f"{max(side['peak_mib'], side['children_mib']):.0f}"
        cpu = "" if part["settings"]["job"] == "simulate" else f"{1000 * side['cpu']:.4g}"
        rows.append(f"| {name} | {1000 * side['median']:.4g} | {cpu} | {found} | {wanted} | {peak} |")
    equal = part["sides"].get("lava", {}).get("equal")
    if equal:
        rows += [
            "",
            f"Milliseconds a sample. Equal: every spike of {equal['spikes_of_samples']} sample, and spike counts of "
            f"every neuron and the read-out of {equal['counts_of_samples']}.",
        ]
    return "\n".join(rows)


def _sweeps(part: dict[str, Any]) -> str:
    rows = ["| loihi, ms | " + " | ".join(f"{i}" for i in range(1, 9)) + " |", "| --- |" + " --: |" * 8]
    for sweep in part["sweeps"]:
        cells = [f"{v}: {1000 * s:.3g}" for v, s in zip(sweep["values"], sweep["seconds"], strict=True)]
        rows.append("| " + " | ".join([sweep["name"], *cells, *[""] * (8 - len(cells))]) + " |")
    return "\n".join(rows)


def _rates(part: dict[str, Any]) -> str:
    billions = {name: f"{part[name] / 1e9:.4g}" for name in part if name.startswith(("machine", "loihi"))}
    return (
        f"Dense sums, 784-512-10 at 90 % activity, neurons and all: {billions['loihi products']} of "
        f"{billions['machine products']} billion float32 operations a second, {100 * part['share of products']:.0f} % "
        f"of the machine's product. At 5 % activity, spike by spike: as if {billions['loihi events']} billion, "
        f"{part['events against products']:.1f} times that product. Neurons alone: {billions['loihi memory']} of "
        f"{billions['machine memory']} GB a second, {100 * part['share of memory']:.0f} % of copying a tensor."
    )


def _memory(part: dict[str, Any]) -> str:
    return "\n".join(
        f"Evaluation of {one['samples']:,} samples (28 x 28, T = 8): {one['seconds']:.1f} s, peak memory "
        f"{one['peak_mib']:.0f} MiB, of which {one['start_mib']:.0f} MiB are the imports."
        for one in part["evaluations"]
    )


def _lengths(part: dict[str, Any]) -> str:
    rows = ["SEW-ResNet of 17 convolutions, batch 32.", "", "| T | side | ms | peak MiB | MiB a time step |"]
    rows.append("| --: | --- | --: | --: | --: |")
    for one in part["lengths"]:
        first = next(other for other in part["lengths"] if other["side"] == one["side"])
        more = one["steps"] - first["steps"]
        each = f"{(one['peak_mib'] - first['peak_mib']) / more:.1f}" if more else ""
        rows.append(
            f"| {one['steps']} | {one['side']} | {1000 * one['seconds']:.4g} | {one['peak_mib']:.0f} | {each} |"
        )
    return "\n".join(rows)


def _commands(part: dict[str, Any]) -> str:
    rows = "\n".join(f"| `{name}` | {seconds:.1f} |" for name, seconds in part["commands"].items())
    return "| command | s |\n| --- | --: |\n" + rows


def page(result: dict[str, Any]) -> str:
    """Return what docs/speed.md says of one class of machines."""
    where, found = result["machine"], result["parts"]
    loads = [part["load"] for part in found.values()]
    days = sorted({part["created"][:10] for part in found.values()})
    days = days if len(days) < 2 else [days[0], days[-1]]
    parts = [
        f"### {where['processor']}, {where['cores']} cores, {result['threads']} "
        f"thread{'' if result['threads'] == 1 else 's'} (`{result['machine_class']}`)",
        f"{' to '.join(days)}, load {min(loads):.1f} to {max(loads):.1f} when parts began; "
        + ", ".join(f"{name} {number}" for name, number in _versions(result).items() if number != "absent")
        + ". Ratio: theirs / ours, median (least to most) over rounds.",
    ]
    for name, part in found.items():
        parts += [f"**{name}**", lines(part)]
        if part.get("sweeps"):
            parts.append(
                f"![Cost of loihi against activity, time steps, batch and width](speed-{result['machine_class']}.svg)"
            )
    return "\n\n".join(parts)


def _versions(result: dict[str, Any]) -> dict[str, str]:
    found = dict(result["packages"])
    for part in result["parts"].values():
        for side in part.get("sides", {}).values():
            found |= side["versions"]
    return found


def publish(results: list[dict[str, Any]], docs: Path) -> None:
    """Write the tables of all classes of machines into docs/speed.md, between its marks, and the charts beside it."""
    text = (docs / "speed.md").read_text()
    before, _, rest = text.partition(MARK)
    pages = "\n\n".join(page(result) for result in results)
    (docs / "speed.md").write_text(f"{before}{MARK}\n\n{pages}\n\n{MARK}{rest.partition(MARK)[2]}")
    for result in results:
        if result["parts"].get("scaling", {}).get("sweeps"):
            chart(result["parts"]["scaling"]["sweeps"], docs / f"speed-{result['machine_class']}.svg")


def chart(sweeps: list[dict[str, Any]], path: Path) -> None:
    """Draw cost against activity, steps, batch and width."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "speed", "font.size": 8}):
        figure = Figure(figsize=(10, 2.2), layout="constrained")
        for axis, sweep in zip(figure.subplots(1, len(sweeps)), sweeps, strict=True):
            values = [float(str(value).removeprefix("mlp-")) for value in sweep["values"]]
            axis.plot(values, [1000 * s for s in sweep["seconds"]], "o-", markersize=3)
            axis.set(xlabel=sweep["name"], xlim=(0, None), ylim=(0, None))
        figure.axes[0].set_ylabel("ms")
        figure.savefig(path, metadata={"Date": None})
