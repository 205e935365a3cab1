"""Many samples: kept, taken up again, the same in processes and on Ray; and the face."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.proof import prove as module
from spikeproof.eval.proof.prove import Strength, prove_samples, strength_of
from spikeproof.eval.proof.search import margins, run
from spikeproof.eval.records.proof import Proof, read
from spikeproof.eval.tasks import on_processes
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import InputError, UnsupportedError

pytest.importorskip("ortools")
SAMPLES = 12
RADIUS = 3


@pytest.fixture(scope="module")
def program() -> Program:
    rng = np.random.default_rng(0)

    def spiking(name: str, size: int, vth: int) -> Population:
        return Population(name=name, shape=(size,), du=4095, dv=2048, vth=vth, bias=np.zeros(size, dtype=int))

    return Program(
        input=Input(shape=(1, 2, 3), message_bits=8),
        populations=(spiking("a", 12, 1300), spiking("b", 3, 131071)),
        synapses=(
            Dense(source="input", target="a", weight=2 * rng.integers(-90, 90, (12, 6)), exponent=-2),
            Dense(source="a", target="b", weight=2 * rng.integers(-90, 90, (3, 12))),
        ),
        readout=Readout(kind="membrane", population="b"),
        steps=4,
    )


@pytest.fixture(scope="module")
def samples(program: Program) -> tuple[np.ndarray, np.ndarray]:
    levels = np.random.default_rng(1).integers(0, 256, (SAMPLES, 1, 2, 3)).astype(np.int32)
    messages = np.broadcast_to(levels, (4, *levels.shape))
    labels = LoihiTarget().compile(program).run(messages).classes
    labels[0] = (labels[0] + 1) % 3
    return messages, labels


PIXELS = Strength("pixel", RADIUS)


def plain(found: Any) -> list[tuple[str, str]]:
    return [(one.status, one.by) for one in found.samples]


def test_what_is_decided_is_kept_and_the_same_everywhere(
    program: Program, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages, labels = samples
    here = prove_samples(program, messages, labels, PIXELS, tmp_path / "here", jobs=1)
    assert plain(here)[0] == ("wrong", "run")
    assert {"proved", "broken"} <= {one.status for one in here.samples}
    beside = prove_samples(program, messages, labels, PIXELS, tmp_path / "beside", jobs=2)
    assert plain(beside) == plain(here)
    compiled = LoihiTarget().compile(program)
    for index, example in here.examples.items():
        np.testing.assert_array_equal(example, beside.examples[index])
        assert np.abs(example - messages[0, index].ravel()).max() <= RADIUS
        assert margins(run(compiled, np.broadcast_to(example, (4, 1, 6))), int(labels[index]))[0] <= 0
    # Half of it is there already: only the others are decided again.
    kept = sorted(path for path in (tmp_path / "here").rglob("*.json"))
    for path in kept[::2]:
        path.unlink()
    decided = []
    real = module.work
    monkeypatch.setattr(module, "work", lambda task: decided.append(task) or real(task))
    assert plain(prove_samples(program, messages, labels, PIXELS, tmp_path / "here", jobs=1)) == plain(here)
    assert len(decided) == len(kept[::2])


def test_ray_gives_the_same(program: Program, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    messages, labels = samples
    here = prove_samples(program, messages, labels, PIXELS, tmp_path / "here", jobs=1)
    there = prove_samples(program, messages, labels, PIXELS, tmp_path / "there", ray="local")
    assert plain(there) == plain(here)


def test_a_worker_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import json, os, sys, time\n"
        "for line in sys.stdin:\n"
        "    task = json.loads(line)\n"
        "    time.sleep(task['seconds'])\n"
        "    print(json.dumps({'pid': os.getpid()}), flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tasks = {"quick": {"seconds": 0}, "long": {"seconds": 60}, "after": {"seconds": 0}}
    answers = dict(on_processes("sleeper", tasks, 1, 2.0))
    assert answers["long"] is None
    # None is left behind.
    for name in ("quick", "after"):
        assert not Path(f"/proc/{answers[name]['pid']}").exists()
    unfinished = on_processes("sleeper", {n: {"seconds": 0 if n == 0 else 60} for n in range(4)}, 2, 100.0)
    _, first = next(unfinished)
    unfinished.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{first['pid']}").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((None, None, None, None), "--epsilon"),
        ((None, 0.001, None, None), "--epsilon: 0.001"),
        ((None, 0.1, 3, None), "--budget"),
        (("encoded-binary", None, 3, None), "input is graded"),
        (("l2", 0.1, None, None), "--threat"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    program: Program, samples: tuple[np.ndarray, np.ndarray], options: tuple[Any, ...], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        strength_of(program, samples[0], *options)


def test_messages_that_change_are_refused(program: Program, samples: tuple[np.ndarray, np.ndarray]) -> None:
    messages = samples[0].copy()
    messages[1, 0] ^= 1
    with pytest.raises(InputError, match="same graded message"):
        strength_of(program, messages, None, 0.1, None, None)


def test_the_radius_is_whole_levels(program: Program, samples: tuple[np.ndarray, np.ndarray]) -> None:
    for levels in (1, 2, 4, 8, 25):
        assert strength_of(program, samples[0], None, levels / 255, None, None).radius == levels


def test_the_face_proves_a_program_alone(
    program: Program, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    messages, labels = samples
    images = (messages[0] / 255).astype(np.float32)
    found = sp.prove(program, (images, labels), epsilon=RADIUS / 255, check=True)
    record = found.record
    expected = prove_samples(program, messages, labels, PIXELS, tmp_path, jobs=1)
    assert [(one.status, one.by) for one in record.samples] == plain(expected)
    assert record.proved.correct + record.outcomes.count("?") == record.unbroken.correct
    assert record.width == record.unbroken.value - record.proved.value
    assert record.checked is not None
    assert record.checked.points > 0
    assert record.summary.split(";")[0] in found.title
    found.save(tmp_path / "proof.json")
    assert read(tmp_path / "proof.json") == record
    page = found.page()
    assert record.outcomes in page
    told = json.loads(found.to_json())
    told["outcomes"] = "p" * SAMPLES
    with pytest.raises(ValueError, match="outcomes"):
        Proof.model_validate(told)


def test_a_program_that_is_not_covered_is_refused(program: Program, tmp_path: Path) -> None:
    wide = program.model_copy(
        update={
            "populations": (program.populations[0].model_copy(update={"du": -1}), program.populations[1]),
            "steps": 60,
        }
    )
    with pytest.raises(UnsupportedError, match="could wrap"):
        prove_samples(wide, np.zeros((60, 1, 1, 2, 3), dtype=np.int32), np.zeros(1, dtype=int), PIXELS, tmp_path)
