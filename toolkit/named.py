"""Sections of a recipe, and those that name something of a registry: what is named decides which keys there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import Parameter, signature
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from .errors import InputError
from .registry import registry

T = TypeVar("T")
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, types are not converted, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def known(kind: str, *but: str) -> AfterValidator:
    """Return what refuses a string that is no name of a kind, or one of ``but``."""

    def check(name: str) -> str:
        found = registry(kind)
        if name in but or (name not in found.built_in and name not in found.names()):
            names = ", ".join(other for other in found.names() if other not in but)
            raise PydanticCustomError(
                "named", "{reason}", {"reason": f"{kind} {name!r}: unknown; known {kind}s: {names}"}
            )
        return name

    return AfterValidator(check)


def parse_named(kind: str, value: Mapping[str, Any], model: Callable[[str], type[Section]]) -> Section:
    """Return the settings in a table with the key ``name``.

    Args:
        kind: of the registry, for messages.
        value: the table.
        model: gives the settings' model by name; raises :class:`.errors.InputError`.

    Raises:
        PydanticCustomError: on one line, what is wrong and what is valid.
    """
    name = value.get("name")
    if not isinstance(name, str):
        names = ", ".join(registry(kind).names())
        raise PydanticCustomError("named", "needs the key 'name', one of {names}", {"names": names})
    try:
        found = model(name)
    except InputError as error:
        raise PydanticCustomError("named", "{reason}", {"reason": str(error)}) from error
    try:
        return found.model_validate(dict(value))
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            where = ".".join(map(str, problem["loc"])) or name
            what = f"{problem['msg']} (got {problem['input']!r:.80})"
            if problem["type"] == "extra_forbidden":
                what = f"unknown key; valid keys of {name!r}: {', '.join(_keys(found))}"
            problems.append(f"{where}: {what}")
        raise PydanticCustomError("named", "{reason}", {"reason": "; ".join(problems)}) from error


def arguments(kind: type) -> dict[str, tuple[Any, Any]]:
    """Return type and default (or ``Parameter.empty``) of every argument that a class's constructor takes, by name.

    Where it passes ``**others`` on, the arguments of the next class are taken, too.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for part in kind.__mro__:
        if "__init__" not in vars(part) or part is object:
            continue
        made = vars(part)["__init__"]
        own, hints = signature(made).parameters, get_type_hints(made, include_extras=True)
        for name, parameter in list(own.items())[1:]:
            if parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
                found.setdefault(name, (hints.get(name, Any), parameter.default))
        if not any(parameter.kind == Parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return found


def make(kind: type[T], settings: Section | Mapping[str, Any], **others: Any) -> T:
    """Return ``kind`` made of those settings and others that its constructor takes; None leaves it its default."""
    values = {**dict(settings), **others}
    taken = {name: values[name] for name in arguments(kind) if values.get(name) is not None}
    return kind(**taken)


@dataclass(frozen=True)
class Rules:
    """Whose keys a section holds.

    Attributes:
        kind: of the registry.
        described: the names whose keys the section itself has, with those keys; all others bring their own.
        shared: keys that every name has.
        needed: arguments that every constructor must take, or one of ``instead``.
        instead: see there.
        given: arguments that are not keys, since they come from elsewhere.
    """

    kind: str
    described: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


class Named(Section):
    """A section with the name of something of a registry.

    The arguments of the constructor of what is named are its keys, with their types and defaults.

    Attributes:
        rules: whose keys it holds.
        brought: the keys of something that brings its own.
    """

    rules: ClassVar[Rules]
    brought: ClassVar[tuple[str, ...]] = ()

    name: str

    @classmethod
    def of(cls: type[T], values: Mapping[str, Any]) -> T:
        """Return the settings in ``values``, with the keys of what they name.

        Raises:
            InputError: there is none of that name, or it cannot be loaded.
            ValidationError: a key is wrong.
        """
        assert issubclass(cls, Named)
        found: Any = cls if values["name"] in cls.rules.described else own_settings(cls, values["name"])
        made: T = found.model_validate(dict(values))
        return made

    @property
    def takes(self) -> tuple[str, ...]:
        """The keys that belong to the name, beside it."""
        return (*self.rules.shared, *self.rules.described.get(self.name, self.brought))

    @model_validator(mode="after")
    def _belong(self) -> "Named":
        for key, info in type(self).model_fields.items():
            if key != "name" and key not in self.takes and getattr(self, key) != info.default:
                known = ", ".join(self.takes)
                raise ValueError(f'{key!r} does not belong to name = "{self.name}", which takes {known}; remove it')
        return self


def _keys(model: type[Section]) -> list[str]:
    if issubclass(model, Named):
        return ["name", *model.rules.shared, *model.brought]
    return list(model.model_fields)


@cache
def _model(base: type[Named], kind: type, name: str) -> type[Named]:
    fields: dict[str, Any] = {}
    own = []
    taken = arguments(kind)
    for key in base.rules.needed:
        if key not in taken and not set(base.rules.instead).intersection(taken):
            raise InputError(f"{base.rules.kind} {name!r}: takes no {key!r}, so that a recipe cannot name it")
    for key, (annotation, default) in taken.items():
        if key in base.rules.given or key in base.rules.shared:
            continue
        own.append(key)
        required = default is Parameter.empty
        if key not in base.model_fields or (required and base.model_fields[key].default is None):
            fields[key] = (annotation, ... if required else default)
    made = create_model(f"{kind.__name__}Settings", __base__=base, **fields)
    made.brought = tuple(own)
    return made


def own_settings(base: type[Named], name: str) -> type[Named]:
    """Return the model of the settings of ``name``: ``base`` with the arguments of its constructor.

    Raises:
        InputError: there is none of that name, it cannot be loaded, or no recipe can name it.
    """
    return _model(base, registry(base.rules.kind).get(name), name)


def by_name(base: type[Named]) -> WrapValidator:
    """Return what lets a table of a section have the keys of what it names."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        name = value.get("name") if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name in base.rules.described or name not in registry(base.rules.kind).names():
            return handler(value)
        return parse_named(base.rules.kind, value, lambda name: own_settings(base, name))

    return WrapValidator(check)
