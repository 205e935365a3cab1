"""A Program from elsewhere in Python: a ``.net`` file without its float network."""

from pathlib import Path

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.toolkit.errors import InputError


def test_a_net_file_runs_and_is_attacked_without_its_network(slayer_file: Path) -> None:
    data = sp.load_data("digits", test_samples=4)
    net = sp.read_net(slayer_file)
    found = sp.Deployed(net.program, net.coder)
    messages = np.rint(64 * data.test_images).astype(np.int32)
    given = sp.run(net.program, np.broadcast_to(messages, (4, *messages.shape)))
    assert np.array_equal(sp.run(net.program, data.test_images, coder=net.coder).output, given.output)
    assert given.output.any()
    answer = sp.robustness(found, (data.test_images, given.classes), "quick", epsilon=0.2)
    record = answer.record  # type: ignore[union-attr]
    (form,) = record.forms
    assert (form.form, form.clean.value, record.levels) == ("program", 1.0, 12)
    assert f"Worst case of the Program: {100 * form.worst.value:.1f} %" in record.summary
    with pytest.raises(InputError, match="has no float network"):
        sp.robustness(found, data, "quick", targets=["torch"])
