"""Old spellings of commands: they work for one version more, with a note on standard error."""

from collections.abc import Sequence


def _given(words: Sequence[str], *options: str) -> bool:
    return any(word in options or word.split("=", 1)[0] in options for word in words)


def _short(words: Sequence[str], letter: str) -> bool:
    return any(word.startswith(letter) and not word.startswith("--") for word in words)


def translated(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the command line in today's spelling, and a note if it was another one.

    Args:
        words: what stands after ``spikeproof``.
    """
    command, rest = (words[0], list(words[1:])) if words else ("", [])
    if command == "check":
        new, instead = ["nir", "check", *rest], "nir check"
    elif command == "evaluate" and _given(rest, "--protocol"):
        new, instead = ["robustness", *rest], "robustness"
    elif command == "evaluate" and any(word.endswith(".nir") for word in rest if not word.startswith("-")):
        new, instead = ["nir", "evaluate", *rest], "nir evaluate"
    elif command == "compare" and (_given(rest, "--targets", "--bitwise") or _short(rest, "-t")):
        new, instead = ["agree", *(word for word in rest if word != "--bitwise")], "agree"
    else:
        return list(words), None
    return new, f"'spikeproof {command}' in this use is now 'spikeproof {instead}'; the old spelling goes with 0.3"
