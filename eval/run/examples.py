"""Worst-case examples that a protocol left beside its record, judged again: any number can be checked."""

import numpy as np

from ...hw_targets.family import simulator
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.attacks.victim import Victim, predict
from ...toolkit.errors import DisagreementError, FileError, InputError
from ...toolkit.files import digest, read_arrays
from ..records.robustness import SURVIVED, is_letter, read
from ..robustness.threat import make_threat
from .folder import Run
from .robustness import EXAMPLES, step_of

TOLERANCE = 1e-6
"""Of distances in float32."""


def check_examples(run: Run, threat: str = "pixel") -> dict[str, int]:
    """Judge the kept worst-case examples again; return how many samples each form still answers rightly.

    Each example must lie in the ball (where there is one: edits of spikes are not counted again), and must break
    exactly the samples that the record calls broken.

    Args:
        run: with robustness.json, or the record of another threat model, and the examples beside it.
        threat: the threat model.

    Raises:
        InputError: the coder draws anew in every pass.
        FileError: a file is missing, or the examples are not those of the record.
        DisagreementError: an example lies outside, or a form answers otherwise than the record says.
    """
    step = step_of(threat)
    record, path = read(run.path(f"{step}.json")), run.path(f"{step}-examples.safetensors")
    arrays, _ = read_arrays(path, EXAMPLES)
    forms, data = run.deployed(), run.data()
    if threat == "pixel" and forms.coder.stochastic:
        raise InputError(f"--check: the {forms.coder.name} coder draws anew in every pass, so answers differ")
    moves = record.shifts
    shifts = None if moves is None else Shifts(moves["largest"] or 1, moves["total"], moves["touched"])
    edits = int(record.epsilon) if threat == "encoded-binary" else None
    epsilon = record.epsilon if threat in ("pixel", "encoded") else None
    model = make_threat(threat, forms.coder, epsilon, edits, shifts)
    images, labels = model.inputs(data.test_images[: record.samples]), data.test_labels[: record.samples]
    victims: dict[str, Victim] = {"program": model.function(simulator(forms.program).compile(forms.program))}
    for name, network in (("float", forms.network), ("quantized", forms.quantized)):
        if network is not None:
            victims[name] = model.module(network)
    found: dict[str, int] = {}
    for form in record.forms:
        made = arrays.get(form.form)
        if made is None or digest(np.ascontiguousarray(made).tobytes()) != record.examples.get(form.form):
            raise FileError(f"{path}: not the examples of {step}.json; run 'spikeproof robustness' again")
        if epsilon is not None and (far := float(np.abs(made - images).max())) > epsilon + TOLERANCE:
            raise DisagreementError(f"{path}: {form.form}: an example at distance {far:.5f}, outside the ball")
        right = (predict(victims[form.form], images) == labels) & (predict(victims[form.form], made) == labels)
        wrong = right != is_letter(form.outcomes, SURVIVED)
        if wrong.any():
            raise DisagreementError(
                f"{path}: {form.form}: {int(wrong.sum())} examples are not answered as {step}.json says"
            )
        found[form.form] = int(right.sum())
    return found
