"""What can make two forms of a network differ: names, kinds, and what to do about each."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["rounding", "limit", "fault"]
FLOAT, FOLDED, MOVED, TUNED, QUANTIZED, UNDELAYED, PROGRAM, LAVA = STAGES = (
    "float",
    "folded",
    "biases moved",
    "fine-tuned",
    "quantized",
    "Program, delay 0",
    "Program",
    "Lava",
)
"""The forms of a network, in the order of deployment."""
REAL = "real numbers"
"""What a Program without a network computes if nothing is rounded and no range ends: the stage before all causes."""


@dataclass(frozen=True)
class Cause:
    """One reason.

    Attributes:
        code: stable, for JSON and switches.
        title: its name in texts.
        kind: ``rounding``: unavoidable, and small; ``limit``: a range of the chip; ``fault``: the forms do not belong
            together.
        stage: the first form that has it.
        remedy: what to do about it.
        widest: the same where weights have as many bits as the chip takes; empty: the same words.
    """

    code: str
    title: str
    kind: Kind
    stage: str
    remedy: str
    widest: str = ""

    def advice(self, bits: int) -> str:
        """Return what to do about it in a network whose weights have ``bits`` bits at least."""
        return self.widest if self.widest and bits >= MOST_BITS else self.remedy


MOST_BITS = 8
"""The most that ``quantize.bits`` takes."""
_AGAIN = "export the Program again, and look at what changed it in between"
CAUSES = {
    cause.code: cause
    for cause in (
        Cause(
            "floating_point",
            "floating point",
            "rounding",
            FOLDED,
            "Nothing to do: sums in another order end differently in the last bit, which shows where a membrane stands "
            "exactly at its threshold.",
        ),
        Cause(
            "moved_bias",
            "bias moved from current to voltage",
            "fault",
            MOVED,
            "Loihi's neuron has a bias of its voltage only: one of a synaptic current acts there in full from the "
            "first step, not once the current has settled. Fine-tune (quantize.epochs above 0), which trains with the "
            "bias where the chip has it; or take a shorter memory (model.current), or more time steps, of which fewer "
            "are spent before the current has settled.",
        ),
        Cause(
            "fine_tuning",
            "fine-tuning",
            "rounding",
            TUNED,
            "Not an error: 'quantize' went on training. Compare the fine-tuned form with those after it to see what "
            "deployment itself changes, or set quantize.epochs = 0.",
        ),
        Cause(
            "weight_rounding",
            "weight rounding",
            "rounding",
            QUANTIZED,
            "Fine-tune longer on the weight grid (quantize.epochs) or use more bits (quantize.bits), for the layers "
            "that need them.",
            "Fine-tune longer on the weight grid (quantize.epochs); weights have the most bits that there are. A layer "
            "whose largest weights stand far out has the coarsest step: hold them back in training "
            "(train.weight_decay).",
        ),
        Cause(
            "input_rounding",
            "input rounding",
            "rounding",
            QUANTIZED,
            "Train on images of 8 bits, as the chip receives them; 'quantize' fine-tunes on them.",
        ),
        Cause(
            "leak_rounding",
            "leak rounding",
            "rounding",
            UNDELAYED,
            "Choose model.beta as a multiple of 1/4096; then the leak is exact.",
        ),
        Cause(
            "threshold_rounding",
            "threshold rounding",
            "rounding",
            UNDELAYED,
            "Choose a threshold that is a whole number of units of the layer's sum (a power of two, for weight steps "
            "that are), or weights of more bits, which make the unit finer.",
            "Choose a threshold that is a whole number of units of the layer's sum (a power of two, for weight steps "
            "that are), or fine-tune through the twin, which computes with it.",
        ),
        Cause(
            "bias_rounding",
            "bias rounding",
            "rounding",
            UNDELAYED,
            "Large biases force a coarse bias exponent on the whole layer: decay them in training, or use more neurons "
            "with smaller ones.",
        ),
        Cause(
            "sum_rounding",
            "sum rounding",
            "rounding",
            UNDELAYED,
            "A negative weight exponent floors the sum: use fewer weight bits or a smaller fan-in, so that the "
            "exponent can be 0.",
        ),
        Cause(
            "state_rounding",
            "state rounding",
            "rounding",
            UNDELAYED,
            "The chip's decay rounds toward zero: keep membranes large in units of the chip (weights of more bits), or "
            "fine-tune through the twin, which computes with these roundings.",
            "The chip's decay rounds toward zero: fine-tune through the twin, which computes with these roundings.",
        ),
        Cause(
            "current_wrap",
            "current wrap",
            "limit",
            UNDELAYED,
            "Sums leave the range of the current: use a smaller weight exponent, smaller weights or a smaller fan-in; "
            "'export' chooses exponents at which this cannot happen.",
        ),
        Cause(
            "voltage_clip",
            "voltage clip",
            "limit",
            UNDELAYED,
            "Membranes reach the end of 24 bits: use a smaller weight exponent, or a leak, so that they stay in range.",
        ),
        Cause(
            "reset_rule",
            "reset rule",
            "fault",
            UNDELAYED,
            "Loihi's neuron resets to zero: train, or fine-tune, with reset_mechanism = 'zero'.",
        ),
        Cause(
            "flipped_kernel",
            "flipped kernel",
            "fault",
            UNDELAYED,
            f"A convolution was taken for a cross-correlation (Lava's layout of kernels, not the Program's): {_AGAIN}.",
        ),
        Cause(
            "sign_mode",
            "sign mode",
            "fault",
            UNDELAYED,
            f"An excitatory or inhibitory synapse lost the weights of the other sign: make it mixed; {_AGAIN}.",
        ),
        Cause(
            "weight_truncation",
            "weight truncation",
            "fault",
            UNDELAYED,
            f"The Program's weights have fewer bits than the network was quantized to: quantize to as many; {_AGAIN}.",
        ),
        Cause("other_weights", "other weights", "fault", UNDELAYED, f"These are not this network's weights: {_AGAIN}."),
        Cause("wrong_leak", "wrong leak", "fault", UNDELAYED, f"dv is not round(4096 (1 - beta)): {_AGAIN}."),
        Cause(
            "wrong_threshold",
            "wrong threshold",
            "fault",
            UNDELAYED,
            f"vth is not round(threshold / unit), with the unit that the weight exponent gives: {_AGAIN}.",
        ),
        Cause(
            "bias_saturation",
            "bias beyond its mantissa",
            "fault",
            UNDELAYED,
            "Biases do not fit 13 bits: use a larger bias exponent, as 'export' does, or smaller biases.",
        ),
        Cause("wrong_bias", "wrong bias", "fault", UNDELAYED, f"These are not this network's biases: {_AGAIN}."),
        Cause(
            "latency",
            "latency",
            "fault",
            PROGRAM,
            "Paths of unequal depth meet: hold the shorter one back by synaptic delays or relays, as 'export' does "
            "(spikeproof.export.latency.balance).",
        ),
        Cause(
            "target",
            "another simulator",
            "fault",
            LAVA,
            "Two targets compute the same Program differently: run 'spikeproof agree' and report it.",
        ),
    )
}
"""All causes by code, in the order in which they act."""
ALONE = ("input_rounding", "sum_rounding", "state_rounding", "current_wrap", "voltage_clip")
"""Those that a Program's integers show without the network that it was made from; another simulator beside."""


def present(stage: str, codes: frozenset[str]) -> frozenset[str]:
    """Return those of ``codes`` that a stage and the ones before it have."""
    if stage == REAL:
        return frozenset()
    place = STAGES.index(stage)
    return frozenset(code for code in codes if STAGES.index(CAUSES[code].stage) <= place)
