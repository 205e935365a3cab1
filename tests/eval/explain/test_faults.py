"""Planted faults: each is named, with its place, and repairing it in the model gives back the healthy Program."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch
from snntorch import surrogate

from spikeproof.eval.explain.explainer import explain
from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.explanation import Contribution, Findings
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF

Pictures = tuple[np.ndarray, np.ndarray]


def spikes(program: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    trace = LoihiTarget(latency=1).compile(program).run(direct_integers(images, program.steps), rasters=True)
    return {name: raster.spikes for name, raster in trace.rasters.items()}


def apart(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> int:
    return sum(int((a[name] != b[name]).sum()) for name in a)


def named(found: Findings) -> list[Contribution]:
    """Return the faults and limits that act."""
    return [one for one in found.causes if one.acts and one.kind != "rounding"]


def diagnosis(sick: Any, healthy: Any, pictures: Pictures, code: str, where: str) -> Contribution:
    """Explain, and check what holds for every single fault."""
    found, _ = explain(sick.forms, *pictures)
    well, _ = explain(healthy.forms, *pictures)
    assert named(well) == []
    assert [one.code for one in named(found)] == [code]
    assert found.program_differs == 0
    (one,) = named(found)
    assert where in " ".join(one.evidence)
    assert any(one.title in sentence.lower() and one.remedy in sentence for sentence in found.verdict)
    # Counted by running both Programs, the repaired one is the healthy one.
    assert one.repaired.different == apart(
        spikes(sick.forms.program, pictures[0]), spikes(healthy.forms.program, pictures[0])
    )
    assert one.repaired.different > 0
    assert one.left == well.total
    return one


def test_a_wrong_leak(healthy: Any, pictures: Pictures) -> None:
    sick = healthy.population("lif2", dv=1024)
    one = diagnosis(sick, healthy, pictures, "wrong_leak", "population 'lif2': dv 1024 keeps 0.75 a step")
    assert one.alone.first.population == "lif2"


def test_a_current_that_does_not_forget(healthy: Any, pictures: Pictures) -> None:
    diagnosis(healthy.population("lif1", du=2047), healthy, pictures, "wrong_leak", "'lif1': du 2047 keeps 0.5")


def test_a_wrong_threshold(healthy: Any, pictures: Pictures) -> None:
    vth = healthy.forms.program.population("lif2").vth
    sick = healthy.population("lif2", vth=vth + 9)
    diagnosis(sick, healthy, pictures, "wrong_threshold", f"population 'lif2': vth {vth + 9} stands for")


def test_a_flipped_kernel(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif2")
    sick = healthy.synapse("lif2", weight=weight[:, :, ::-1, ::-1])
    one = diagnosis(sick, healthy, pictures, "flipped_kernel", "'lif2': the kernel is rotated by 180 degrees")
    assert one.alone.first.population == "lif2"


def test_flattened_in_another_order(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif3")
    turned = weight.reshape(10, 6, 2, 2).transpose(0, 3, 2, 1).reshape(10, 24)
    diagnosis(healthy.synapse("lif3", weight=turned), healthy, pictures, "other_weights", "(width, height, channels)")


def test_weights_of_another_network(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif2")
    other = np.roll(weight, 1, axis=0)
    sick = healthy.synapse("lif2", weight=other)
    words = f"{int((weight != other).sum())} of 216 weights differ"
    diagnosis(sick, healthy, pictures, "other_weights", words)


def test_weights_scaled_by_a_half(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif3")
    sick = healthy.synapse("lif3", weight=weight // 4 * 2)
    diagnosis(sick, healthy, pictures, "other_weights", "'lif3'")


def test_a_sign_mode_that_loses_weights(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif2")
    sick = healthy.synapse("lif2", weight=np.maximum(weight, 0), sign="excitatory")
    one = diagnosis(sick, healthy, pictures, "sign_mode", "sign mode 'excitatory' made")
    assert f"{int((weight < 0).sum())} of 216" in one.evidence[0]


def test_truncated_weights(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif2")
    sick = healthy.synapse("lif2", weight=(weight >> 4) << 4, bits=5)
    diagnosis(sick, healthy, pictures, "weight_truncation", "weights are cut to multiples of 16 (floor)")


def test_a_bias_beyond_its_mantissa(healthy: Any, pictures: Pictures) -> None:
    population = healthy.forms.program.population("lif1")
    full = population.bias.astype(np.int64) << population.bias_exponent
    assert np.abs(full).max() > 4096
    sick = healthy.population("lif1", bias_exponent=0, bias=np.clip(full, -4096, 4095).astype(np.int32))
    one = diagnosis(sick, healthy, pictures, "bias_saturation", "allowed are -4096 to 4095")
    assert "population 'lif1'" in one.evidence[0]


def test_a_wrong_bias(healthy: Any, pictures: Pictures) -> None:
    population = healthy.forms.program.population("lif2")
    sick = healthy.population("lif2", bias=-population.bias)
    diagnosis(sick, healthy, pictures, "wrong_bias", "population 'lif2'")


def test_an_overflowing_layer(skipping: Any, pictures: Pictures) -> None:
    """The same layer on a finer unit: consistent, but its sums no longer fit the current."""
    program = skipping.forms.program
    synapse = next(one for one in program.synapses if one.target == "lif1")
    vth = program.population("lif1").vth
    up = int(np.log2(131071 / vth))
    sick = skipping.synapse("lif1", exponent=synapse.exponent + up).population("lif1", vth=vth << up)
    found, _ = explain(sick.forms, *pictures)
    assert found.overflow["lif1"]["wraps"] > 0
    one = named(found)[0]
    assert one.code == "current_wrap"
    rows = synapse.weight.reshape(len(synapse.weight), -1).astype(np.int64)
    largest = (
        255 * max(np.maximum(rows, 0).sum(1).max(), np.maximum(-rows, 0).sum(1).max()) * 2.0 ** (synapse.exponent + up)
    )
    assert one.evidence == [f"population 'lif1': sums of up to {largest:,.0f}; the current wraps at 131,072"]
    assert one.alone.first.population == "lif1"
    assert one.share > 0.5
    assert found.program_differs == 0


def softened(network: SpikingNetwork, delayed: bool) -> SpikingNetwork:
    layers = OrderedDict(network.named_layers())
    for name, layer in layers.items():
        if isinstance(layer, LIF):
            soft = LIF(layer.beta, layer.threshold, layer.alpha)
            soft.neuron = snntorch.Leaky(
                beta=layer.beta, threshold=layer.threshold, spike_grad=surrogate.atan(),
                reset_mechanism="subtract", reset_delay=delayed,
            )  # fmt: skip
            layers[name] = soft
    return SpikingNetwork(layers, network.coder, network.gain, network.wiring).eval()


@pytest.mark.parametrize("delayed", [True, False])
def test_a_soft_reset_model_forced_through(healthy: Any, pictures: Pictures, delayed: bool) -> None:
    forms = healthy.forms
    soft = Forms(softened(forms.network, delayed), softened(forms.quantized, delayed), forms.program)
    found, _ = explain(soft, *pictures)
    (one,) = named(found)
    assert one.code == "reset_rule"
    assert "population 'lif1': the network subtracts the threshold" in one.evidence[0]
    assert found.base_differs == 0  # The soft reset is that of snnTorch, which ran beside it.
    assert found.program_differs == 0
    assert one.share > 0.5


def test_an_unbalanced_skip_path(skipping: Any, pictures: Pictures) -> None:
    synapses = tuple(one.model_copy(update={"delay": 0}) for one in skipping.forms.program.synapses)
    assert synapses != skipping.forms.program.synapses
    sick = skipping.program(
        synapses=synapses,
        populations=tuple(one.model_copy(update={"start": None}) for one in skipping.forms.program.populations),
    )
    one = diagnosis(sick, skipping, pictures, "latency", "synapse 'lif2' -> 'lif3': arrives 1 steps late")
    assert one.alone.first.population == "lif3"
    found, _ = explain(sick.forms, *pictures)
    parted = next(pair for pair in found.pairs if pair.after == "Program")
    assert parted.before == "Program, delay 0"
    assert [reason.code for reason in parted.reasons] == ["latency"]


def test_two_faults_at_once(healthy: Any, pictures: Pictures) -> None:
    weight = next(one.weight for one in healthy.forms.program.synapses if one.target == "lif1")
    sick = healthy.synapse("lif1", weight=weight[:, :, ::-1, ::-1]).population("lif2", dv=4000)
    found, _ = explain(sick.forms, *pictures)
    assert {one.code for one in named(found)} == {"flipped_kernel", "wrong_leak"}
    assert found.program_differs == 0


@pytest.mark.parametrize("what", ["population", "synapse", "steps"])
def test_another_network_is_refused_by_name(
    healthy: Any, skipping: Any, pictures: Pictures, what: str, random_network: Callable[..., SpikingNetwork]
) -> None:
    forms = healthy.forms
    program = {
        "population": skipping.forms.program,
        "synapse": healthy.program(synapses=(*forms.program.synapses, forms.program.synapses[-1])).forms.program,
        "steps": healthy.program(steps=9).forms.program,
    }[what]
    words = {"population": "the Program was made|lacks it", "synapse": "no such connection", "steps": "9 time steps"}
    with pytest.raises(UnsupportedError, match=words[what]):
        explain(Forms(forms.network, forms.quantized, program), *pictures)
