"""The run folder: which files each step reads and writes, and whether they still belong together."""

import contextlib
import os
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ...toolkit.code import code_hash
from ...toolkit.config import DataSettings, Recipe, parse_recipe
from ...toolkit.errors import FileError, InputError
from ...toolkit.files import check_format, digest, json_text, read_bytes, read_json, write_json, write_text
from ..records.imported import read_imported
from .files import FORMAT, FORMS, GIVEN, MADE, MAKERS, MANIFEST, NEXT, PLACE, READS, TRAINED, WITHOUT_NETWORK, WRITES
from .samples import read_samples

if TYPE_CHECKING:
    from ...toolkit.coding import Coder
    from ...toolkit.data import Dataset
    from ..measure.forms import Deployed, Forms


class _Entry(BaseModel):
    """What one step read and wrote, SHA-256 by file name, by which code, and in how many threads torch added.

    None where older manifests did not say.
    """

    read: dict[str, str]
    wrote: dict[str, str]
    code: str | None = None
    threads: int | None = None


class _Manifest(BaseModel):
    """All steps that were run."""

    format: int
    steps: dict[str, _Entry]


@dataclass(frozen=True)
class Run:
    """A run folder. ``run.json`` keeps the SHA-256 of what each step read and wrote, and of the code."""

    folder: Path
    _kept: dict[str, tuple[Any, Any]] = field(default_factory=dict, compare=False, repr=False)
    """What was loaded, with what decides whether it is still what the folder holds."""

    again: tuple[str, ...] = field(default=(), compare=False)
    """Steps that :meth:`create` forgot, since the recipe has changed in what they depend on."""

    def path(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.folder / name

    @classmethod
    def create(cls, folder: Path, recipe: Recipe) -> "Run":
        """Make the folder, or take it up again.

        Where only ``attacks``, ``quantize``, ``export`` or ``evaluate`` differ, the run gets the new recipe: what does
        not depend on the change stays done, the rest is forgotten (:attr:`again`).

        Raises:
            InputError: it holds a run of another recipe, or is a file.
        """
        run = cls(folder)
        try:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: is a file; give --out a folder")
            started = run.path("recipe.json").exists()
            if run.imported:
                raise InputError(f"{folder}: holds a Program that was imported; give another --out, or delete it")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: not a folder's name ({error}); give another --out") from error
        if started:
            run = replace(run, again=run._adopt(recipe))
        else:
            write_json(run.path("recipe.json"), recipe.model_dump(mode="json"))
        if recipe.data.path is not None and not Path(recipe.data.path).is_absolute():
            run._keep_place(recipe.data.path)
        return run

    def _adopt(self, recipe: Recipe) -> tuple[str, ...]:
        """Give the run another recipe and forget the steps that depend on what differs; return those that were done."""
        old = self.recipe()
        differ = [name for name in type(recipe).model_fields if getattr(old, name) != getattr(recipe, name)]
        if not differ:
            return ()
        # How a given network was trained nobody knows; what the section says is how it is fine-tuned.
        trained = [name for name in TRAINED if name != "train" or not self.given()]
        fixed = [name for name in differ if name in trained or (name == "attacks" and recipe.train.trail)]
        if fixed:
            raise InputError(
                f"{self.folder}: holds a run of another recipe; give another --out, or delete it ({', '.join(fixed)} "
                "differ, and the float network depends on that)"
            )
        lost = {MADE[name] for name in differ}
        if "export" in differ and self._another_family(recipe):
            lost.add("quantize")
        lost |= {NEXT[name] for name in lost if name in NEXT}
        steps = self._manifest()
        kept = {name: entry for name, entry in steps.items() if name in MAKERS and name not in lost}
        if lost == {"evaluate"}:
            kept = {name: entry for name, entry in steps.items() if name != "evaluate"}
        elif lost == {"attack"}:
            kept = {name: entry for name, entry in steps.items() if name not in ("attack", "cost", "evaluate")}
        text = json_text(recipe.model_dump(mode="json"))
        if "train" in kept:
            kept["train"] = kept["train"].model_copy(update={"read": {"recipe.json": digest(text.encode())}})
        # Should this be interrupted between the two, the same command does both again.
        write_json(self.path(MANIFEST), _Manifest(format=FORMAT, steps=kept).model_dump())
        if "quantize" in lost:
            self.path("quantize-state.safetensors").unlink(missing_ok=True)
        write_text(self.path("recipe.json"), text)
        return tuple(name for name in steps if name not in kept)

    def _another_family(self, recipe: Recipe) -> bool:
        """Return whether a recipe is for chips of another arithmetic than the run's own."""
        from ...export.chip.limits import load_limits

        before, after = (load_limits(one.export.chip).family for one in (self.recipe(), recipe))
        return before != after

    def keep_data_of(self, other: "Run") -> None:
        """Find the data where another run of the same recipe finds them."""
        given = other.recipe().data
        if given.path is not None and not Path(given.path).is_absolute():
            self._keep_place(other._data_settings(other.recipe()).path)

    def _keep_place(self, given: str | None) -> None:
        """Write down where a relative ``data.path`` leads, if it leads anywhere."""
        if given is None or not Path(given).exists():
            return
        with contextlib.suppress(ValueError):  # on Windows: another drive, to which no relative path leads
            place = Path(os.path.relpath(given, self.folder)).as_posix()
            if not self.path(PLACE).exists():
                write_json(self.path(PLACE), {"path": place})

    def _data_settings(self, recipe: Recipe) -> DataSettings:
        """Return the recipe's data section; its relative path as it was where the run was made."""
        given = recipe.data.path
        if given is None or Path(given).is_absolute() or not self.path(PLACE).exists():
            return recipe.data
        kept = read_json(self.path(PLACE))
        if not isinstance(kept, dict) or not isinstance(kept.get("path"), str):
            raise FileError(f"{self.path(PLACE)}: not a place; delete it, and run from where data.path leads")
        place = self.folder / kept["path"]
        return recipe.data.model_copy(update={"path": str(place)}) if place.exists() else recipe.data

    @property
    def imported(self) -> bool:
        """Whether it holds a Program from elsewhere, without the float network that it was made from."""
        return self.path("import.json").exists()

    def given(self) -> str | None:
        """Return the command that gave the run its float network, where that was not training."""
        return next((command for name, command in GIVEN.items() if self.path(name).exists()), None)

    def needs_training(self) -> None:
        """Check that training would not replace a network that was given.

        Raises:
            InputError: it would.
        """
        if given := self.given():
            raise InputError(
                f"{self.folder}: '{given}' gave its network, which training would replace; 'quantize' fine-tunes it, "
                f"and '{given}' into another folder gives it again"
            )

    def needs_network(self, step: str) -> None:
        """Check that the run has a float network.

        Raises:
            InputError: it holds a Program from elsewhere.
        """
        if self.imported:
            raise InputError(
                f"{self.folder}: holds a Program from elsewhere, and '{step}' needs the float network that it was made "
                f"from: change it where it was trained, and import it again; without one there are: "
                f"{', '.join(WITHOUT_NETWORK)}"
            )

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Return an existing run.

        Raises:
            FileError: there is none in ``folder``.
        """
        try:
            there = any((folder / name).exists() for name in ("recipe.json", "import.json"))
        except (OSError, ValueError):  # a name that no folder can have
            there = False
        if not there:
            raise FileError(
                f"{folder}: no run here (no recipe.json); make one with 'spikeproof train RECIPE --out DIR'"
            )
        return cls(folder)

    def recipe(self) -> Recipe:
        """Return the run's recipe; of a Program from elsewhere its name, and what measuring takes from a recipe."""
        if self.imported:
            return Recipe(name=read_imported(self.path("import.json")).name)
        path = self.path("recipe.json")
        return parse_recipe(read_json(path), str(path))

    def recipe_on_record(self) -> Recipe | None:
        """Return what records say of the recipe: nothing, if there is none."""
        return None if self.imported else self.recipe()

    def coder(self) -> "Coder":
        """Return what makes messages of the run's images."""
        from ...toolkit.coding import make_coder

        if self.imported:
            return read_imported(self.path("import.json")).coder()
        from ...hw_targets.family import family_of

        recipe = self.recipe()
        return family_of(recipe.export.chip).coder(make_coder(recipe.coding))

    def data(self) -> "Dataset":
        """Return the recipe's data set, or the samples of a Program from elsewhere, loaded once."""
        # PyTorch is needed here and not to make a folder: a wrong recipe is to be refused at once.
        from ...toolkit.data import load_data

        if "data" not in self._kept and self.imported:
            self.require("import")
            self._kept["data"] = None, read_samples(self.path("samples.npz"), self.path("import.json"))
        recipe = self.recipe()
        if "data" not in self._kept:
            self._kept["data"] = None, load_data(self._data_settings(recipe), recipe.coding.steps)
        found: Dataset = self._kept["data"][1]
        return found

    def classed(self) -> bool:
        """Return whether answers are classes, without reading the data; those of a Program from elsewhere are."""
        from ...toolkit.data import DATASETS

        return self.imported or DATASETS.get(self.recipe().data.name).classed

    def forms(self) -> "Forms":
        """Return float network, quantized network and Program, loaded and verified once.

        Raises:
            FileError: one of the steps behind them was not run, or a file is damaged or has changed since.
        """
        self.needs_network("all forms")
        from ...export.program import read_program
        from ...hw_targets.family import family_of
        from ...toolkit.checkpoint import load_network
        from ..measure.forms import Forms

        paths = [self.path(f"{name}.safetensors") for name in ("model", "quantized", "program")]
        hashes = [digest(read_bytes(path)) for path in paths] if all(path.exists() for path in paths) else None
        if hashes is None or self._kept.get("forms", (None, None))[0] != hashes:
            model, quantized, program = paths
            family = family_of(self.recipe().export.chip)
            forms = Forms(load_network(model)[0], family.load(quantized)[0], read_program(program))
            self._kept["forms"] = hashes, forms
        for step in ("train", "quantize", "export"):
            self.require(step)
        found: Forms = self._kept["forms"][1]
        return found

    def deployed(self) -> "Forms | Deployed":
        """Return all forms, or a Program from elsewhere alone, with what makes its messages.

        Raises:
            FileError: as of :meth:`forms`.
        """
        if not self.imported:
            return self.forms()
        from ...export.program import read_program
        from ..measure.forms import Deployed

        self.require("import")
        return Deployed(read_program(self.path("program.safetensors")), self.coder())

    def _manifest(self) -> dict[str, "_Entry"]:
        path = self.path(MANIFEST)
        found = read_json(path) if path.exists() else {}
        if isinstance(found, dict) and check_format(path, found.get("format", 1), FORMAT) == 1:
            found = {"format": 1, "steps": found}
        try:
            return _Manifest.model_validate(found).steps
        except ValidationError as error:
            raise FileError(f"{path}: not a run's manifest; delete it and run the steps again") from error

    def _hashes(self, names: list[str]) -> dict[str, str]:
        return {name: digest(read_bytes(self.path(name))) for name in names}

    def _command(self, step: str) -> str:
        """Return the command that runs ``step`` again."""
        words = ["train", str(self.path("recipe.json")), "--out"] if step == "train" else [step]
        if step == "train" and (given := self.given()):
            words = [given, "MODEL" if given == "adopt" else "RUN", "--out"]
        if step == "import":
            source = read_imported(self.path("import.json")).source if self.imported else "FILE"
            words = [step, source, "--data", "SAMPLES.npz", "--out"]
        return shlex.join(["spikeproof", *words, str(self.folder)])

    def finished(self, step: str, extra: list[str] | None = None, threads: int | None = None) -> None:
        """Note that ``step`` is done.

        Args:
            step: its name.
            extra: files that it wrote beside those of :data:`WRITES`.
            threads: that torch added in, where weights depend on it.
        """
        steps = self._manifest()
        reads = [name for name in READS[step] if not (self.imported or name in FORMS) or self.path(name).exists()]
        writes = [name for name in WRITES[step] if name not in FORMS or self.path(name).exists()]
        read, wrote = self._hashes(reads), self._hashes([*writes, *(extra or [])])
        steps[step] = _Entry(read=read, wrote=wrote, code=code_hash(), threads=threads)
        write_json(self.path(MANIFEST), _Manifest(format=FORMAT, steps=steps).model_dump())

    def by_other_code(self, *steps: str) -> list[str]:
        """Return those of ``steps`` that were done by other code than this one, or by a version that did not say."""
        done = self._manifest()
        return [step for step in steps if step in done and done[step].code != code_hash()]

    def is_done(self, step: str) -> bool:
        """Return whether ``step`` was run and nothing it read or wrote has changed since."""
        entry = self._manifest().get(step)
        if entry is None:
            return False
        files = {**entry.read, **entry.wrote}
        return all(
            self.path(name).exists() and digest(read_bytes(self.path(name))) == sha for name, sha in files.items()
        )

    def require(self, step: str) -> None:
        """Check that ``step`` is done, and every step before it whose files it read.

        Raises:
            FileError: it was not run, or a file has changed since; names the step to run again.
        """
        step = "import" if self.imported and step == "export" else step
        entry = self._manifest().get(step)
        command = self._command(step)
        if entry is None:
            raise FileError(f"{self.folder}: step '{step}' has not been run; run '{command}'")
        for kind, files in (("read", entry.read), ("wrote", entry.wrote)):
            for name, sha in files.items():
                if digest(read_bytes(self.path(name))) != sha:
                    raise FileError(f"{self.path(name)}: changed since step '{step}' {kind} it; run '{command}' again")
