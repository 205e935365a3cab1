"""Every network of docs/networks.md walks the road again; the page says what was found."""

from pathlib import Path

import pytest

from spikeproof.eval.support.networks import NETWORKS, STEPS_OF_THE_ROAD, samples, walk
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
