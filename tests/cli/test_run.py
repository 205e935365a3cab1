import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.run import folder
from spikeproof.eval.run.files import READS, WRITES
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.road import run_all
from spikeproof.toolkit.config import Recipe, load_recipe, parse_recipe
from spikeproof.toolkit.errors import FileError, InputError

STEPS = ("train", "attack", "quantize", "export", "compare", "evaluate")


@pytest.fixture
def run(run_folder: Path) -> Run:
    return Run.open(run_folder)


def test_a_new_folder_holds_the_whole_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("fast")
    run = Run.create(tmp_path / "deep" / "run", recipe)
    assert Run.open(run.folder).recipe() == recipe
    assert [path.name for path in run.folder.iterdir()] == ["recipe.json"]


def test_a_run_is_taken_up_again_with_its_own_recipe_alone(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", Recipe(name="one"))
    assert Run.create(tmp_path / "run", Recipe(name="one")).recipe().name == "one"
    with pytest.raises(InputError, match=r"run: holds a run of another recipe; give another --out"):
        Run.create(tmp_path / "run", Recipe(name="two"))
    assert Run.open(tmp_path / "run").recipe().name == "one"


def test_a_name_too_long_for_any_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="aaa"):
        Run.create(tmp_path / ("a" * 300), Recipe())


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no run here \(no recipe.json\)"):
        Run.open(tmp_path)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_of_a_finished_run_is_done(run: Run, step: str) -> None:
    assert run.is_done(step)
    run.require(step)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_not_run_is_named(run: Run, step: str) -> None:
    manifest = json.loads(run.path("run.json").read_text())
    del manifest["steps"][step]
    run.path("run.json").write_text(json.dumps(manifest))
    assert not run.is_done(step)
    with pytest.raises(FileError, match=rf"step '{step}' has not been run; run 'spikeproof {step} "):
        run.require(step)


@pytest.mark.parametrize(("step", "name"), [(step, name) for step in STEPS for name in WRITES[step]])
def test_a_file_that_changed_since_it_was_written_undoes_the_step(run: Run, step: str, name: str) -> None:
    with run.path(name).open("ab") as file:
        file.write(b"\0")
    assert not run.is_done(step)
    with pytest.raises(FileError, match=rf"{name}: changed since step '{step}' wrote it; run 'spikeproof {step} "):
        run.require(step)


@pytest.mark.parametrize(("step", "name"), [(step, name) for step in STEPS for name in READS[step]])
def test_a_file_that_changed_since_it_was_read_undoes_the_step(run: Run, step: str, name: str) -> None:
    with run.path(name).open("ab") as file:
        file.write(b"\0")
    assert not run.is_done(step)
    with pytest.raises(FileError, match=rf"{name}: changed since step '{step}' read it"):
        run.require(step)


@pytest.mark.parametrize("name", ["attack-fgsm-0.1.safetensors", "attack-pgd-2-0.1.safetensors"])
def test_the_files_of_every_attack_are_watched(run: Run, name: str) -> None:
    run.path(name).unlink()
    assert not run.is_done("attack")
    with pytest.raises(FileError, match=rf"{name}: no such file"):
        run.require("attack")


def test_noting_a_step_leaves_the_notes_of_the_others(run: Run) -> None:
    before = json.loads(run.path("run.json").read_text())
    run.finished("quantize")
    assert json.loads(run.path("run.json").read_text()) == before


def test_the_command_that_a_message_proposes_can_be_run(run: Run, call: Callable[..., Any]) -> None:
    run.path("training.json").write_text("[]")
    with pytest.raises(FileError) as caught:
        run.require("train")
    proposed = str(caught.value).split("run '")[1].split("'")[0]
    assert call(*shlex.split(proposed)[1:], "--json").code == 0


KEPT = {
    "quantize": ({"bits": 4}, {"train", "attack"}),
    "export": ({"relays": True}, {"train", "attack", "quantize"}),
    "attacks": ([{"name": "fgsm", "epsilon": 0.2}], {"train", "quantize", "export", "compare"}),
    "evaluate": ({"batch": 7}, {"train", "attack", "quantize", "export", "compare"}),
}


@pytest.mark.parametrize("section", KEPT)
def test_another_recipe_keeps_what_does_not_depend_on_the_change(run: Run, section: str) -> None:
    values = run.recipe().model_dump(mode="json", exclude_unset=True)
    change, kept = KEPT[section]
    values[section] = {**values.get(section, {}), **change} if isinstance(change, dict) else change
    recipe = parse_recipe(values, "changed")
    before = set(json.loads(run.path("run.json").read_text())["steps"])
    model = run.path("model.safetensors").read_bytes()
    taken = Run.create(run.folder, recipe)
    assert taken.recipe() == recipe
    assert {step for step in before if taken.is_done(step)} == kept
    assert set(taken.again) == before - kept
    assert Run.create(run.folder, recipe).again == ()
    assert run.path("model.safetensors").read_bytes() == model


def test_other_bits_need_no_other_training(run: Run) -> None:
    values = run.recipe().model_dump(mode="json")
    values["quantize"]["bits"] = 3
    taken = Run.create(run.folder, parse_recipe(values, "changed"))
    with pytest.raises(FileError, match="step 'quantize' has not been run"):
        taken.forms()
    with pytest.raises(FileError, match="step 'export' has not been run"):
        taken.require("export")
    done: list[str] = []
    run_all(taken, ["loihi"], 4, lambda result: done.append(result.to_dict()["step"]))
    assert done[:2] == ["quantize", "export"]
    # Three bits beside a sign: multiples of 2^(9 - 3).
    mixed = [synapse for synapse in taken.forms().program.synapses if synapse.sign == "mixed"]
    assert mixed
    assert all((synapse.weight % 64 == 0).all() for synapse in mixed)


@pytest.mark.parametrize(
    ("section", "key", "value"), [("train", "epochs", 3), ("coding", "steps", 2), ("model", "beta", 0.7)]
)
def test_what_the_float_network_depends_on_makes_another_run(run: Run, section: str, key: str, value: Any) -> None:
    values = run.recipe().model_dump(mode="json")
    values[section][key] = value
    before = run.path("recipe.json").read_bytes(), run.path("run.json").read_bytes()
    with pytest.raises(InputError, match=rf"another recipe; .*\({section} differ"):
        Run.create(run.folder, parse_recipe(values, "changed"))
    assert before == (run.path("recipe.json").read_bytes(), run.path("run.json").read_bytes())


def test_an_interruption_between_the_two_writes_is_made_good(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    values = run.recipe().model_dump(mode="json")
    values["export"]["relays"] = True
    recipe = parse_recipe(values, "changed")

    def fail(path: Path, text: str) -> None:
        raise OSError("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_text", fail)
        with pytest.raises(OSError, match="power"):
            Run.create(run.folder, recipe)
    taken = Run.create(run.folder, recipe)
    assert taken.is_done("quantize")
    assert not taken.is_done("export")
