"""Max pools of spikes in a Program: neurons that are the OR of a window, found again by what they compute."""

from ..export.program import Convolution, Program
from ..toolkit.kernels.pool import MaxPool


def or_pools(program: Program) -> dict[str, MaxPool]:
    """Return the populations that are max pools of spikes, by name, each as such a pool.

    They have no memory and no bias, and one synapse, from neurons that spike, whose every weight alone makes them fire.
    """
    found = {}
    spiking = {population.name for population in program.spiking}
    for population in program.spiking:
        incoming = list(program.incoming(population.name))
        if len(incoming) != 1 or population.input_bias or population.bias.any():
            continue
        (synapse,) = incoming
        if not isinstance(synapse, Convolution) or synapse.source not in spiking or synapse.weight.shape[1] != 1:
            continue
        kernel = synapse.weight.shape[2:]
        alone = int(synapse.weight.min()) * 2.0**synapse.exponent
        # What is left of a voltage below the threshold is rounded to 0.
        forgets = population.du == 4095 and (4096 - population.dv) * 64 * population.vth < 4096
        pads = all(2 * pad <= size for pad, size in zip(synapse.padding, kernel, strict=True))  # as PyTorch's pools
        of_one = synapse.groups == len(synapse.weight) and pads and program.bound(synapse) < 2**16
        if alone > population.vth >= 0 and forgets and of_one:
            found[population.name] = MaxPool(kernel, synapse.stride, synapse.padding, synapse.dilation)
    return found
