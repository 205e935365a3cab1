"""Every network of docs/networks.md walks the road again; the page says what was found."""

from pathlib import Path

import pytest

from spikeproof.eval.support.networks import LAVA_DL, NETWORKS, STEPS_OF_THE_ROAD, samples, walk
from spikeproof.toolkit.data import Dataset

PAGE = Path(__file__).resolve().parents[3] / "docs" / "networks.md"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return samples()


@pytest.mark.parametrize(("framework", "name"), NETWORKS)
def test_a_network_takes_every_step_that_the_page_says(framework: str, name: str, data: Dataset) -> None:
    pytest.importorskip({"NIR": "nir", "PyTorch": "spikingjelly"}.get(framework, framework))
    answers = walk(framework, name, data)
    assert [answer.where for answer in answers] == list(STEPS_OF_THE_ROAD)
    assert [answer.reason for answer in answers] == [""] * len(answers)
    line = f"| {framework}: {name} | {' | '.join(['yes'] * len(answers))} |"
    assert line in PAGE.read_text(encoding="utf-8").splitlines()


def test_a_net_file_goes_as_far_as_it_can_without_a_float_network(data: Dataset) -> None:
    answers = {answer.where: answer.reason for answer in walk(*LAVA_DL, data)}
    assert list(answers) == list(STEPS_OF_THE_ROAD)
    refused = {step: reason for step, reason in answers.items() if reason}
    assert list(refused) == ["adapted", "fine-tuned", "exported"]
    page = PAGE.read_text(encoding="utf-8").splitlines()
    for reason in refused.values():
        assert reason.startswith("RUN: holds a Program from elsewhere")
        assert "change it where it was trained, and import it again" in reason
        assert any(line.endswith(f". {reason}") for line in page), reason
    cells = [f"no [{list(refused.values()).index(reason) + 1}]" if reason else "yes" for reason in answers.values()]
    assert f"| {': '.join(LAVA_DL)} | {' | '.join(cells)} |" in page
