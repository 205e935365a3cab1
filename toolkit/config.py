"""Recipes: TOML files read into frozen pydantic models; every mistake is reported with its key's path."""

import codecs
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from .defences import parse_defence
from .errors import RecipeError
from .files import read_bytes, read_json
from .named import Section
from .settings import (
    CODER_KEYS,
    Attacking,
    AttackSettings,
    Coding,
    CodingSettings,
    Data,
    DataSettings,
    EvaluateSettings,
    ExportSettings,
    ModelSettings,
    QuantizeSettings,
    TrainSettings,
)

__all__ = [
    "CODER_KEYS",
    "AttackSettings",
    "CodingSettings",
    "DataSettings",
    "EvaluateSettings",
    "ExportSettings",
    "ModelSettings",
    "QuantizeSettings",
    "Recipe",
    "Section",
    "TrainSettings",
    "builtin_recipes",
    "load_recipe",
    "parse_recipe",
]

if TYPE_CHECKING:
    from .defences.base import Defence
else:  # a recipe is read without PyTorch; parse_defence sees to the type
    Defence = Section


class Recipe(Section):
    """A whole run, from data to evaluation."""

    name: str = "digits"
    data: Data = DataSettings()
    coding: Coding = CodingSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    defences: list[Annotated[SerializeAsAny[Defence], BeforeValidator(parse_defence)]] = []
    attacks: Annotated[list[Attacking], Field(min_length=1)] = [
        AttackSettings(name="fgsm"),
        AttackSettings(name="pgd"),
    ]
    quantize: QuantizeSettings = QuantizeSettings()
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _labels(self) -> "Recipe":
        labels = [attack.label for attack in self.attacks]
        if len(set(labels)) < len(labels):
            raise ValueError(f"attacks must differ, these are the same twice: {labels}")
        names = [defence.name for defence in self.defences]
        if len(set(names)) < len(names):
            raise ValueError(f"defences: the same one twice: {', '.join(names)}")
        return self


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(top level)"


def _choices(location: tuple[int | str, ...]) -> str:
    """Name the keys that are valid where the unknown key stands."""
    model: Any = Recipe
    for part in location[:-1]:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = getattr(annotation, "__args__", (annotation,))[0]
    return ", ".join(model.model_fields)


def parse_recipe(values: Any, source: str) -> Recipe:
    """Return the recipe in ``values``.

    Args:
        values: nested dictionaries, as TOML or JSON gives them.
        source: the file's name, for messages.

    Raises:
        RecipeError: one line that names the file, the key's path, what is wrong, and the valid choices.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            where = _where(problem["loc"])
            if problem["type"] == "extra_forbidden":
                problems.append(f"{where}: unknown key; valid keys here: {_choices(problem['loc'])}")
            elif problem["type"] == "named":
                problems.append(f"{where}: {problem['msg']}")
            else:
                problems.append(f"{where}: {problem['msg']} (got {problem['input']!r:.80})")
        raise RecipeError(f"{source}: " + "; ".join(problems)) from error


def builtin_recipes() -> list[str]:
    """Return the names of the recipes that come with spikeproof."""
    folder = resources.files(__package__) / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _text(content: bytes, source: str) -> str:
    """Return the text of a recipe, with or without the mark that editors on Windows put in front."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise RecipeError(f"{source}: is UTF-16, as PowerShell writes it; save it as UTF-8 (Out-File -Encoding utf8)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{source}: not a text file in UTF-8: line {line} holds byte {content[error.start]:#04x}; a recipe is TOML "
            "in UTF-8, save it so"
        ) from error


def _back_slashes(text: str) -> str:
    """Return what to do about the back-slashes of Windows' paths, where there are any in a string."""
    if re.search(r'"[^"\n]*\\[^"\n]*"', text):
        return "; back-slashes of a path: write '/', or single quotes around it"
    return ""


def load_recipe(source: str) -> Recipe:
    """Return the recipe in the file ``source`` (TOML, or a run's recipe.json), or the built-in one of that name.

    Raises:
        RecipeError: it is not TOML, or :func:`parse_recipe` refuses it.
        FileError: there is neither such a file nor such a built-in recipe.
    """
    if source in builtin_recipes():
        text = (resources.files(__package__) / "recipes" / f"{source}.toml").read_text(encoding="utf-8")
    else:
        path = Path(source)
        try:
            exists = path.exists()
        except (OSError, ValueError):  # a name that no file can have
            exists = False
        if not exists:
            raise RecipeError(f"{source}: no such file; built-in recipes: {', '.join(builtin_recipes())}")
        if path.suffix == ".json":
            return parse_recipe(read_json(path), source)
        text = _text(read_bytes(path), source)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{source}: not valid TOML: {error}{_back_slashes(text)}") from error
    return parse_recipe(values, source)
