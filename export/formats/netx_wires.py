"""What a layer of a ``.net`` file becomes in a Program: biases on their exponent, delays of each weight, synapses."""

import numpy as np

from ..program import BIAS_MANTISSA, DELAY_MAX, Dense, Sparse, Synapse
from .netx_file import FileLayer
from .netx_layers import BIAS_EXPONENT
from .netx_weights import Kept, Matrix, Refused


def spread_bias(layer: FileLayer, shape: tuple[int, ...]) -> Matrix:
    """Return the file's biases in ``shape``: one bias for all, for each channel, or for each neuron.

    Those of an image are (width, height, channels) in the file, as the importer takes them.

    Raises:
        Refused: another shape.
    """
    given = layer.bias
    if given is None:
        return np.zeros(shape, dtype=np.int64)
    if given.size == 1:
        return np.full(shape, given.item())
    if len(shape) == 3 and given.shape == shape[::-1]:
        return given.transpose()
    if len(shape) == 3 and given.size == shape[0]:
        return np.broadcast_to(given.reshape(-1, 1, 1), shape)
    if len(shape) == 1 and given.size == shape[0]:
        return given.reshape(shape)
    raise Refused(f"bias of shape {given.shape} fits neither neurons of shape {shape} nor their channels")


def bias_of(layer: FileLayer, shape: tuple[int, ...]) -> tuple[int, Matrix]:
    """Return bias exponent and mantissas of ``shape``, see :func:`spread_bias`.

    Raises:
        Refused: another shape, or larger than Loihi's field.
    """
    bias = spread_bias(layer, shape)
    if layer.bias is None:
        return 0, bias
    low, high = BIAS_MANTISSA
    for more in (0, 1):
        mantissa = bias >> more
        if (mantissa << more == bias).all() and low <= mantissa.min() <= mantissa.max() <= high:
            return BIAS_EXPONENT + more, mantissa
    raise Refused(f"biases {bias.min()} to {bias.max()} leave the 13 bits of Loihi's bias")


def delay_of(layer: FileLayer, shape: tuple[int, ...]) -> tuple[Matrix, list[str]]:
    """Return the delay of each weight, and a warning where the importer shortens it.

    One for all, one for each neuron, for each input, or for each weight, in this order where sizes leave a choice.

    Args:
        layer: dense.
        shape: (neurons, inputs).

    Raises:
        Refused: another shape, or negative.
    """
    given, warnings = layer.delay, list[str]()
    if given is None:
        return np.zeros(shape, dtype=np.int64), warnings
    if given.min() < 0:
        raise Refused(f"a delay of {given.min()} steps")
    if given.max() > DELAY_MAX:
        warnings = [f"{layer.where}: delays up to {given.max()} steps; lava-dl's importer makes them {DELAY_MAX}"]
        given = np.minimum(given, DELAY_MAX)
    if given.size == 1:
        return np.full(shape, given.item()), warnings
    if given.ndim == 2 and given.shape == shape:
        return given, warnings
    if given.size == shape[0]:
        return np.broadcast_to(given.reshape(-1, 1), shape), warnings
    if given.size == shape[1]:
        return np.broadcast_to(given.reshape(1, -1), shape), warnings
    raise Refused(f"delays of shape {given.shape} for weights of shape {shape}")


def dense(source: str, target: str, kept: Kept, delay: int = 0) -> Dense:
    """Return the synapse of all weights, with one delay."""
    return Dense(
        source=source,
        target=target,
        weight=kept.weight,
        bits=kept.bits,
        sign=kept.sign,
        exponent=kept.exponent,
        delay=delay,
    )


def wires(source: str, target: str, kept: Kept, delay: Matrix) -> list[Synapse]:
    """Return the synapses of a dense layer, one for each delay (out, in) that occurs."""
    delays = np.unique(delay)
    if len(delays) == 1:
        return [dense(source, target, kept, int(delays[0]))]
    found: list[Synapse] = []
    for steps in delays:
        here = delay == steps
        rows, columns = np.nonzero(here & (kept.weight != 0))
        if not len(rows):  # The shortest delay says when the window starts, whatever comes with it.
            rows, columns = (index[:1] for index in np.nonzero(here))
        found.append(
            Sparse(
                source=source,
                target=target,
                weight=kept.weight[rows, columns],
                bits=kept.bits,
                sign=kept.sign,
                exponent=kept.exponent,
                delay=int(steps),
                shape=(int(kept.weight.shape[0]), int(kept.weight.shape[1])),
                rows=rows,
                columns=columns,
            )
        )
    return found


def convolution_weights(weight: Matrix) -> Kept:
    """Return weights that Lava's convolution keeps as they are, on the grid of the fewest bits.

    Raises:
        Refused: they are too large for 9 bits and an exponent.
    """
    largest = int(max(weight.max(), -weight.min() - 1, 0))
    exponent = max(0, largest.bit_length() - 8)
    if exponent > 7 or (weight % 2**exponent).any():
        raise Refused(f"weights {weight.min()} to {weight.max()} need more than the 9 bits of Loihi's synapses")
    small = weight >> exponent
    zeros = next(bits for bits in range(8, -1, -1) if not (small % 2**bits).any())
    if small.min() >= 0:
        return Kept(small, max(8 - zeros, 1), "excitatory", exponent)
    if small.max() <= 0 and small.min() >= -255:
        return Kept(small, max(8 - zeros, 1), "inhibitory", exponent)
    return Kept(small, max(9 - zeros, 1), "mixed", exponent)
