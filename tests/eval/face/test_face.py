"""``import spikeproof as sp``: what is public, how light it is, and the whole road without recipe or run folder."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.eval.records.base import Record
from spikeproof.eval.records.robustness import read
from spikeproof.eval.run.folder import Run as Folder
from spikeproof.toolkit.errors import InputError, RecipeError, UnsupportedError

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "api" / "index.md"
HEAVY = {"torch", "numpy", "pydantic", "rich", "scipy", "nir", "onnx", "art"}


def test_public_names_are_those_of_the_documentation() -> None:
    listed = re.findall(r"^::: spikeproof\.(\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(sp.__all__) - {"__version__"})
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", sp.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    found = getattr(sp, name)
    assert isinstance(found, str) if name == "__version__" else found.__doc__
    assert name in dir(sp)


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: f"spikeproof.{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert set(seen) == set(sp.__all__) - {"__version__"}
    assert all(getattr(sys.modules[module], name) is getattr(sp, name) for name, module in seen.items())


def test_nothing_else_is_public() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sp.nothing  # type: ignore[attr-defined]


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, json, spikeproof; print(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == []


def test_the_road_on_the_page_has_at_most_twelve_lines() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(lines) <= 12
    names = {
        node.attr
        for node in ast.walk(ast.parse(blocks[0]))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sp"
    }
    assert names <= set(sp.__all__)
    assert {"train", "deploy", "robustness"} <= names


@pytest.fixture(scope="module")
def made(finished: Path) -> tuple[sp.Forms, sp.Dataset]:
    run = Folder.open(finished)
    return run.forms(), run.data()


@pytest.fixture(scope="module")
def robust(made: tuple[sp.Forms, sp.Dataset]) -> "sp.Shown[Any]":
    forms, data = made
    found = sp.robustness(forms, data, "quick", epsilon=0.1, samples=8)
    assert isinstance(found, sp.Shown)
    return found


def test_the_face_gives_the_weights_and_integers_of_the_recipe(finished: Path) -> None:
    """The run of the fixture was made by steps from a recipe; the verbs are to make the same, bit for bit."""
    run = Folder.open(finished)
    recipe = run.recipe()
    data = sp.load_data("digits", test_samples=40)
    assert data.sha256 == run.data().sha256
    network = sp.build_network(data, channels=[4], steps=3)
    sp.train(network, data, epochs=2, batch=64, rate=0.02)
    theirs = run.forms().network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in network.state_dict().items())
    forms = sp.deploy(network, data, bits=recipe.quantize.bits, epochs=0)
    assert forms.program.sha256() == sp.read_program(run.path("program.safetensors")).sha256()
    assert forms.program.sha256() == sp.lower(forms.quantized, data.shape).sha256()


def test_fine_tuning_is_that_of_the_step(made: tuple[sp.Forms, sp.Dataset]) -> None:
    forms, data = made
    rounded = sp.quantize(forms.network, bits=4)
    tuned = sp.quantize(forms.network, data, bits=4, epochs=1)
    assert sp.lower(rounded, data.shape).sha256() != sp.lower(tuned, data.shape).sha256()
    with pytest.raises(InputError, match="fine-tuning needs data"):
        sp.quantize(forms.network, epochs=1)


def test_own_arrays_are_a_data_set(made: tuple[sp.Forms, sp.Dataset]) -> None:
    _, data = made
    x, y = (data.test_images[:, 0] * 255).round().astype(np.uint8), data.test_labels
    mine = sp.load_data("mine", arrays=(x, y, x[:5], y[:5]))
    assert (mine.name, mine.shape, mine.classes) == ("mine", (1, 8, 8), int(y.max()) + 1)
    np.testing.assert_allclose(mine.test_images, data.test_images[:5], atol=1 / 255)
    with pytest.raises(InputError, match="x_train, y_train, x_test, y_test"):
        sp.load_data(arrays=(x, y))
    with pytest.raises(RecipeError, match="data"):
        sp.load_data("nowhere")


def test_running_takes_messages_or_images(made: tuple[sp.Forms, sp.Dataset]) -> None:
    forms, data = made
    images = data.test_images[:6]
    by_images = sp.run(forms.program, images, coder=forms.network)
    by_messages = sp.run(forms.program, forms.network.coder.integers(images), "twin")
    np.testing.assert_array_equal(by_images.output, by_messages.output)
    assert sp.agree(forms.program, images, ("loihi", "twin", "onnx"), coder=forms.network).equal
    with pytest.raises(InputError, match="not the Program"):
        sp.run(forms.program, images, "torch", coder=forms.network)


def test_robustness_is_that_of_the_step(
    finished: Path, robust: "sp.Shown[Any]", run_folder: Path, tmp_path: Path
) -> None:
    from spikeproof.eval.run.robustness import robustness

    expected = robustness(Folder.open(run_folder), "quick", epsilon=0.1, samples=8)
    for ours, theirs in zip(robust.record.forms, expected.forms, strict=True):
        assert (ours.outcomes, ours.worst) == (theirs.outcomes, theirs.worst)
        assert [one.outcomes for one in ours.attacks] == [one.outcomes for one in theirs.attacks]
    assert robust.record.program == expected.program
    robust.save(tmp_path / "r.json")
    assert read(tmp_path / "r.json") == robust.record


def test_a_classifier_alone_has_outcomes_and_alarms(made: tuple[sp.Forms, sp.Dataset]) -> None:
    _, data = made
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = sp.robustness(network, (torch.from_numpy(data.test_images), data.test_labels), "quick", samples=5)
    assert not isinstance(found, sp.Shown)
    assert len(found.outcomes) == 5
    with pytest.raises(InputError, match="targets"):
        sp.robustness(network, data, "quick", targets=["loihi"])


def test_own_arrays_give_the_same_and_bytes_are_read_as_images(made: tuple[sp.Forms, sp.Dataset]) -> None:
    forms, data = made
    images, labels = (data.test_images[:4] * 255).round().astype(np.uint8), data.test_labels[:4]
    as_bytes, as_tensors = (
        sp.robustness(forms, pair, "quick")
        for pair in ((images, labels), (torch.from_numpy(images).double() / 255, torch.from_numpy(labels)))
    )
    assert isinstance(as_bytes, sp.Shown)
    assert isinstance(as_tensors, sp.Shown)
    assert [form.outcomes for form in as_bytes.record.forms] == [form.outcomes for form in as_tensors.record.forms]
    assert as_bytes.record.data.test == 4
    with pytest.raises(InputError, match="images"):
        sp.robustness(forms, (images.astype(float), labels), "quick")


def test_attacks_go_by_name_or_as_objects(made: tuple[sp.Forms, sp.Dataset]) -> None:
    from spikeproof.toolkit.attacks.gradient import PGD

    forms, data = made
    by_name = sp.attack(forms.network, data, "pgd", epsilon=0.1, steps=3, samples=7)
    as_object = sp.attack(forms.network, data, PGD(epsilon=0.1, steps=3), samples=7)
    np.testing.assert_array_equal(by_name.images, as_object.images)
    assert np.abs(by_name.images - data.test_images[:7]).max() <= 0.1 + 1e-6
    with pytest.raises(InputError, match="unexpected keyword"):
        sp.attack(forms.network, data, "pgd", epsilon=0.1, steps=3, speed=9)
    with pytest.raises(InputError, match="has its settings"):
        sp.attack(forms.network, data, PGD(epsilon=0.1, steps=3), epsilon=0.2)


def test_what_does_not_deploy_is_refused(made: tuple[sp.Forms, sp.Dataset]) -> None:
    forms, data = made
    with pytest.raises(UnsupportedError, match="loihi1"):
        sp.lower(forms.quantized, data.shape, chip="loihi1")


@pytest.fixture(params=["robustness", "explain", "fit", "faults", "compare"])
def answer(
    request: pytest.FixtureRequest, made: tuple[sp.Forms, sp.Dataset], robust: "sp.Shown[Any]"
) -> "sp.Shown[Any]":
    forms, data = made
    messages = forms.network.coder.integers(data.test_images[:2])
    make: dict[str, Callable[[], sp.Shown[Any]]] = {
        "robustness": lambda: robust,
        "explain": lambda: sp.explain(forms, data, samples=6, lava=False),
        "fit": lambda: sp.fit(forms.program, "loihi2", messages=messages),
        "faults": lambda: sp.faults(forms, data, samples=6, field="weight", seeds=2, most=4, worst=1),
        "compare": lambda: sp.compare(forms, data, samples=6, robustness=robust),
    }
    return make[request.param]()


def test_answers_show_themselves(answer: "sp.Shown[Any]", tmp_path: Path) -> None:
    text = repr(answer)
    assert all(str(name).split()[0] in text for name in answer.rows[0])
    assert answer._repr_html_().startswith("<iframe srcdoc=")
    assert "<html" in answer.page()
    record = type(answer.record).model_validate_json(answer.to_json())
    assert isinstance(record, Record)
    assert record == answer.record
    assert record.command is not None
    assert record.command.startswith("spikeproof.")
    assert record.code
    answer.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == answer.page()
    with pytest.raises(InputError, match=r"ends in \.json"):
        answer.save(tmp_path / "page.txt")


def test_tables_become_frames_where_pandas_is(answer: "sp.Shown[Any]", monkeypatch: pytest.MonkeyPatch) -> None:
    class Pandas:
        @staticmethod
        def DataFrame(rows: Any) -> Any:
            return ("frame", rows)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert answer.to_pandas() == ("frame", list(answer.rows))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        answer.to_pandas()
