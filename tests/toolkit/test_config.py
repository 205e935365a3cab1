import math
import tomllib
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spikeproof.toolkit.config import Recipe, Section, builtin_recipes, load_recipe, parse_recipe
from spikeproof.toolkit.errors import FileError, RecipeError

TOP = "name, data, coding, model, train, defences, attacks, quantize, export, evaluate"

UNKNOWN = [
    ({"trains": {}}, "trains", TOP),
    ({"data": {"sample": 1}}, "data.sample", "name, path, layout, train_samples, test_samples"),
    ({"coding": {"step": 1}}, "coding.step", "name, steps, weighted, stochastic, dark, threshold"),
    (
        {"model": {"Pool": "max"}},
        "model.Pool",
        "kind, layers, pool, channels, blocks, depth, stem, residual, widen, hidden, neuron, beta, current, threshold, "
        "surrogate, alpha, readout, every_step, readout_beta, attention, gain",
    ),
    (
        {"train": {"epoch": 3}},
        "train.epoch",
        "seed, epochs, batch, rate, schedule, weight_decay, flip, accelerator, devices, precision, loss, trail, once, "
        "checkpointing",
    ),
    ({"attacks": [{"name": "fgsm"}, {"name": "pgd", "eps": 1}]}, "attacks.1.eps", "name, epsilon, steps, seed"),
    ({"quantize": {"bit": 8}}, "quantize.bit", "bits, epochs, rate"),
    ({"evaluate": {"target": []}}, "evaluate.target", "targets, batch, lava_samples"),
]

WRONG = [
    ({"name": 3}, "name", "string"),
    ({"model": 3}, "model", "dictionary"),
    (
        {"data": {"name": "cifar"}},
        "data.name",
        "dataset 'cifar': unknown; known datasets: digits, digits-x2, set5, mnist, fashion-mnist, cifar10, "
        "cifar10-exact, n-mnist, n-mnist-small, n-caltech101, dvsgesture, cifar10-dvs, shd, ssc, recordings, "
        "qtdb, qtdb-steps, cora, citeseer, digits-graph, folder, arrays, sequences",
    ),
    ({"data": {"name": "arrays"}}, "data", "path"),
    ({"data": {"name": "folder"}}, "data", "path"),
    ({"data": {"path": "x.npz"}}, "data", "path"),
    ({"data": {"test_samples": 0}}, "data.test_samples", "greater than or equal to 1"),
    (
        {"coding": {"name": "rates"}},
        "coding.name",
        "coder 'rates': unknown; known coders: direct, phase, rate, latency, delta, events",
    ),
    ({"coding": {"name": "rate", "weighted": True}}, "coding", "'weighted' does not belong"),
    ({"coding": {"weighted": False}}, "coding", "remove it"),
    ({"coding": {"name": "latency", "steps": 1}}, "coding", "2 or more"),
    ({"coding": {"name": "delta", "threshold": 0.0}}, "coding.threshold", "greater than 0"),
    ({"model": {"kind": "mlp"}}, "model", "kind = 'mlp' needs 'hidden'"),
    ({"coding": {"steps": 2049}}, "coding.steps", "2048"),
    ({"model": {"neuron": "izh"}}, "model.neuron", "neuron 'izh': unknown; known neurons: if, lif, plif, cuba"),
    ({"model": {"neuron": {"name": "lif", "leak": 1}}}, "model.neuron", "leak: unknown key; valid keys of 'lif': name"),
    ({"export": {"chip": "loihi3"}}, "export.chip", "chip 'loihi3': unknown; known chips: loihi1, loihi2"),
    ({"attacks": [{"name": "apgd", "eps": 1}]}, "attacks.0", "unknown key; valid keys of 'apgd': name, "),
    ({"attacks": [{"name": "apgd", "steps": 0}]}, "attacks.0: steps", "greater than or equal to 1"),
    ({"attacks": [{"name": "noise", "kind": "pink"}]}, "attacks.0: kind", "'uniform' or 'sign'"),
    ({"attacks": [{"name": "spike-noise"}]}, "attacks.0", "budget: Field required"),
    ({"evaluate": {"targets": ["torch"]}}, "evaluate.targets.0", "target 'torch': unknown"),
    ({"model": {"pool": "min"}}, "model.pool", "'max', 'avg' or 'none'"),
    ({"model": {"channels": []}}, "model.channels", "at least 1"),
    ({"model": {"channels": [1] * 9}}, "model.channels", "at most 8"),
    ({"model": {"channels": [4, True]}}, "model.channels.1", "integer"),
    ({"model": {"channels": [4, 0]}}, "model.channels.1", "greater than or equal to 1"),
    ({"model": {"beta": 1.5}}, "model.beta", "less than or equal to 1"),
    ({"model": {"beta": math.nan}}, "model.beta", "nan"),
    ({"model": {"threshold": 0.0}}, "model.threshold", "greater than 0"),
    ({"train": {"epochs": "3"}}, "train.epochs", "integer"),
    ({"train": {"epochs": 0}}, "train.epochs", "greater than or equal to 1"),
    ({"train": {"epochs": 2.0}}, "train.epochs", "integer"),
    ({"train": {"seed": 2**31}}, "train.seed", "2147483648"),
    ({"train": {"rate": -1e-3}}, "train.rate", "greater than 0"),
    ({"train": {"rate": math.nan}}, "train.rate", "nan"),
    ({"train": {"precision": "16"}}, "train.precision", "'32-true', '16-mixed' or 'bf16-mixed'"),
    ({"train": {"trail": -1}}, "train.trail", "greater than or equal to 0"),
    ({"attacks": []}, "attacks", "at least 1"),
    ({"attacks": {"name": "fgsm"}}, "attacks", "list"),
    ({"attacks": [{}]}, "attacks.0.name", "required"),
    ({"attacks": [{"name": "cw"}]}, "attacks.0.name", "attack 'cw': unknown; known attacks: fgsm, pgd, apgd"),
    ({"attacks": [{"name": "pgd", "epsilon": 1.01}]}, "attacks.0.epsilon", "less than or equal to 1"),
    ({"attacks": [{"name": "pgd", "steps": 0}]}, "attacks.0.steps", "greater than or equal to 1"),
    ({"attacks": [{"name": "fgsm"}, {"name": "fgsm", "steps": 3}]}, "fgsm@0.1", "differ"),
    ({"quantize": {"bits": 1}}, "quantize.bits", "greater than or equal to 2"),
    ({"quantize": {"bits": 9}}, "quantize.bits", "less than or equal to 8"),
    (
        {"evaluate": {"targets": ["loihi", "gpu"]}},
        "evaluate.targets.1",
        "target 'gpu': unknown; known targets: loihi, twin, onnx, c, lava, netx",
    ),
    ([1, 2], "(top level)", "dictionary"),
]


@pytest.mark.parametrize(("values", "path", "wanted"), [*UNKNOWN, *WRONG])
def test_a_mistake_is_told_in_one_line_with_file_path_and_choices(values: Any, path: str, wanted: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(values, "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert path in message.removeprefix("my.toml: ")
    assert wanted in message
    assert "\n" not in message


@pytest.mark.parametrize(("values", "path", "wanted"), UNKNOWN)
def test_an_unknown_key_is_answered_with_exactly_the_keys_that_are_valid_there(
    values: Any, path: str, wanted: str
) -> None:
    with pytest.raises(RecipeError, match=rf"my.toml: {path}: unknown key; valid keys here: {wanted}$"):
        parse_recipe(values, "my.toml")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(RecipeError, match=r"train\.epochs: .*; train\.rates: unknown key"):
        parse_recipe({"train": {"epochs": 0, "rates": 1}}, "my.toml")


@pytest.mark.parametrize("key", ["model.threshold", "model.alpha", "model.gain", "train.rate", "quantize.rate"])
def test_infinity_is_refused(key: str) -> None:
    section, name = key.split(".")
    with pytest.raises(RecipeError, match=key):
        parse_recipe({section: {name: math.inf}}, "my.toml")


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_load_under_their_own_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_built_in_recipes_are_the_files_of_the_package() -> None:
    files = resources.files("spikeproof.toolkit.recipes").iterdir()
    assert builtin_recipes() == sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))
    assert {"digits", "fast"} <= set(builtin_recipes())


def test_the_digits_recipe_states_the_defaults() -> None:
    assert load_recipe("digits") == Recipe(name="digits") == parse_recipe({}, "nothing")


def test_the_digits_recipe_holds_no_value_that_is_not_a_default() -> None:
    text = (resources.files("spikeproof.toolkit.recipes") / "digits.toml").read_text(encoding="utf-8")
    defaults = Recipe().model_dump()
    for section, stated in tomllib.loads(text).items():
        pairs = (
            zip(stated, defaults[section], strict=True) if isinstance(stated, list) else [(stated, defaults[section])]
        )
        for given_values, default in pairs:
            if isinstance(given_values, dict):
                assert {key: default[key] for key in given_values} == given_values
            else:
                assert given_values == default


def test_a_recipe_survives_json() -> None:
    recipe = load_recipe("fast")
    assert parse_recipe(recipe.model_dump(mode="json"), "again") == recipe


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"train = ", "not valid TOML"),
        (b"[train]\nepochs = 1\nepochs = 2\n", "not valid TOML"),
        (b"name = '\xff'", "not a text file"),
        pytest.param(
            b"a = " + b"[" * 10_000,
            "not valid TOML",
        ),
        pytest.param(
            b"[train]\nepochs = " + b"1" * 5000,
            "not valid TOML",
        ),
    ],
    ids=["syntax", "twice", "latin-1", "deep", "long"],
)
def test_what_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=why) as caught:
        load_recipe(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_recipe_is_answered_with_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no such file; built-in recipes: .*digits"):
        load_recipe(str(tmp_path / "absent.toml"))


def test_a_name_too_long_for_any_file_is_refused() -> None:
    with pytest.raises((RecipeError, FileError), match="aaa"):
        load_recipe("a" * 300)


@pytest.mark.parametrize("key", ["train", "quantize"])
def test_a_rate_beyond_float32_is_refused(key: str) -> None:
    with pytest.raises(RecipeError, match=rf"{key}\.rate"):
        parse_recipe({key: {"rate": 1e39}}, "my.toml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        load_recipe(str(tmp_path))


scalars = st.one_of(
    st.integers(-3, 300), st.integers(), st.floats(), st.booleans(), st.text(max_size=8), st.just(date(2024, 2, 29))
)
words = st.sampled_from(["digits", "arrays", "direct", "max", "avg", "fgsm", "pgd", "loihi", "onnx", "lava", "cpu"])
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def section_like(model: type[Section]) -> st.SearchStrategy[Any]:
    known = st.sampled_from(list(model.model_fields)) | st.text(max_size=6)
    return st.dictionaries(known, values, max_size=4) | values


recipes = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(section_like(field.annotation.__args__[0]), max_size=3) | values
        if name == "attacks"
        else section_like(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        else values
        for name, field in Recipe.model_fields.items()
    },
)


@settings(max_examples=300)
@given(recipes | values)
def test_whatever_the_values_the_answer_is_a_recipe_or_a_recipe_error(given_values: Any) -> None:
    try:
        assert isinstance(parse_recipe(given_values, "any.toml"), Recipe)
    except RecipeError as error:
        assert str(error).startswith("any.toml: ")  # noqa: PT017


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_the_bytes_the_answer_is_a_recipe_or_a_recipe_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        assert isinstance(load_recipe(str(path)), Recipe)
    except RecipeError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017


GOOD = 'name = "win"\n[data]\nname = "arrays"\npath = "data \u00e4 b/ok.npz"\n'


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_recipes_of_editors_on_windows_are_read(tmp_path: Path, mark: bytes, end: str) -> None:
    (tmp_path / "r.toml").write_bytes(mark + GOOD.replace("\n", end).encode())
    recipe = load_recipe(str(tmp_path / "r.toml"))
    assert (recipe.name, recipe.data.path) == ("win", "data \u00e4 b/ok.npz")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD.encode("utf-16"), "is UTF-16, as PowerShell writes it; save it as UTF-8"),
        (GOOD.encode("cp1252"), "line 4 holds byte 0xe4; a recipe is TOML in UTF-8"),
        (b'[data]\npath = "C:\\Users\\me\\ok.npz"\n', "back-slashes of a path: write '/', or single quotes"),
        (b"[data\npath = 3\n", "not valid TOML: .*line 1"),
    ],
)
def test_recipes_that_cannot_be_read_say_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=reason) as caught:
        load_recipe(str(tmp_path / "r.toml"))
    assert ("back-slashes" in str(caught.value)) == (b"Users" in content)
