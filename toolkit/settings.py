"""The sections of a recipe, each a frozen model; read without PyTorch."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError

from .named import Named, Positive, Rules, Section, by_name, known, own_settings, parse_named

PUBLISHED = ("mnist", "fashion-mnist", "cifar10", "cifar10-exact", "n-mnist", "n-mnist-small", "qtdb", "qtdb-steps")
"""Data sets that are read from their published files."""


class DataSettings(Named):
    """Which images, and how many of them: the first ``train_samples`` and ``test_samples``.

    scikit-learn's digits; a published data set from its files in the folder ``path`` (or under ``$SPIKEPROOF_DATA``);
    the images of the folder ``path``; or the arrays ``x_train y_train x_test y_test`` of the ``.npz`` file ``path``,
    channels first unless ``layout`` says "channels-last"; in ``sequences`` every step has a label.
    A data set of another package brings its own keys.
    """

    rules: ClassVar = Rules(
        "dataset",
        described={
            "digits": (),
            **dict.fromkeys((*PUBLISHED, "folder"), ("path",)),
            "arrays": ("path", "layout"),
            "sequences": ("path",),
        },
        shared=("train_samples", "test_samples"),
    )

    name: Annotated[str, known("dataset")] = "digits"
    path: str | None = None
    layout: Literal["channels-first", "channels-last"] | None = None
    train_samples: Positive | None = None
    test_samples: Positive | None = None

    @model_validator(mode="after")
    def _path(self) -> "DataSettings":
        if self.name in ("arrays", "sequences", "folder") and self.path is None:
            raise ValueError(f"name = \"{self.name}\" needs 'path'")
        return self


Data = Annotated[SerializeAsAny[DataSettings], by_name(DataSettings)]

CODER_KEYS: dict[str, tuple[str, ...]] = {
    "direct": (),
    "phase": ("weighted",),
    "rate": ("stochastic",),
    "latency": ("dark",),
    "delta": ("threshold",),
    "events": (),
}
"""Keys of each coder beside its name and ``steps``."""


class CodingSettings(Named):
    """How an image becomes input over ``steps`` time steps (docs/coding.md).

    ``direct`` shows the image at each step. ``phase`` sends its bits; ``weighted`` (false): they carry their weight.
    ``rate`` spikes by brightness; ``stochastic`` (true): drawn, else evenly spaced. ``latency`` spikes once, the
    brighter the earlier; ``dark`` ("silent"): what black pixels do, or "last". ``delta`` sends the changes of a
    sequence that reach ``threshold`` (0.1). ``events`` are spikes already. A coder of another package brings its own
    keys. Keys of other coders are refused.
    """

    rules: ClassVar = Rules("coder", described=CODER_KEYS, shared=("steps",), needed=("steps",))

    name: Annotated[str, known("coder")] = "direct"
    steps: Annotated[int, Field(ge=1, le=2048)] = 4
    weighted: bool | None = None
    stochastic: bool | None = None
    dark: Literal["silent", "last"] | None = None
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] | None = None

    @model_validator(mode="after")
    def _steps(self) -> "CodingSettings":
        if self.name == "latency" and self.steps < 2:
            raise ValueError("'steps' must be 2 or more for name = \"latency\"")
        return self


Coding = Annotated[SerializeAsAny[CodingSettings], by_name(CodingSettings)]

DEPTHS: dict[str, dict[int, list[int]]] = {
    "resnet": {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]},
    "vgg": {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]},
    "wrn": {6 * blocks + 4: [blocks] * 3 for blocks in range(1, 8)},
}
"""Blocks (of a VGG: convolutions) a stage, by the depth that names a network in the literature."""
Width = Annotated[int, Field(ge=1, le=4096)]


class NeuronSettings(Named):
    """Neurons of another package with keys of their own, beside those that stand in the section ``model``."""

    rules: ClassVar = Rules("neuron", given=("beta", "current", "threshold", "alpha", "surrogate"))

    name: str


def _parse_neuron(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    found = parse_named("neuron", value, lambda name: own_settings(NeuronSettings, name))
    return found if type(found).model_fields.keys() - {"name"} else value["name"]


class LayerSettings(Section):
    """One layer of ``kind = "layers"``: its kind, the arguments of its constructor, and what it receives the sum of."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,90}$")]
    kind: str
    sources: list[str] = []
    options: dict[str, Any] = {}


class ModelSettings(Section):
    """The network, see docs/models.md.

    ``channels`` are the widths of the stages, with as many ``blocks`` (2 each by default), or as ``depth`` says.
    ``pool`` is the pool of ``conv`` and ``vgg``, and of the stem of ``sew`` and ``spiking-resnet`` (or "none").
    ``residual`` is the join of ``sew``, ``widen`` multiplies the stages of ``wrn``, ``hidden`` are the widths of the
    linear layers of ``vgg`` and ``mlp`` before the last one. ``layers`` writes a network out, as ``spikeproof adopt``
    does.

    ``beta`` is the membrane factor in v <- beta v + I (not of ``if``; of ``plif`` before training), ``current`` that of
    the synaptic current of ``cuba`` (neurons of another package may have keys of their own: neuron = { name = "..." }),
    ``surrogate`` and ``alpha`` shape and sharpness of ds/dv. ``gain`` is the logit of
    a class whose neuron fires at every step or, read by its membrane, whose input is 1 on average.

    ``every_step`` reads at each step, for data with a label at every step: its spikes, or the membrane behind it.
    ``readout_beta`` is the membrane factor of what is read by its membrane: below 1 it forgets.
    """

    kind: Literal["conv", "sew", "spiking-resnet", "vgg", "wrn", "mlp", "recurrent", "delayed", "spikesr", "layers"] = (
        "conv"
    )
    layers: Annotated[list[LayerSettings], Field(max_length=1024)] = []
    pool: Literal["max", "avg", "none"] = "max"
    channels: Annotated[list[Width], Field(min_length=1, max_length=8)] = [16, 32]
    blocks: Annotated[list[Annotated[int, Field(ge=1, le=36)]], Field(min_length=1, max_length=8)] | None = None
    depth: int | None = None
    stem: Literal["small", "imagenet"] = "small"
    residual: Literal["add", "and", "iand"] = "add"
    widen: Annotated[int, Field(ge=1, le=16)] = 1
    hidden: Annotated[list[Width], Field(max_length=4)] = []
    neuron: Annotated[
        Annotated[str, known("neuron")] | SerializeAsAny[NeuronSettings], BeforeValidator(_parse_neuron)
    ] = "lif"
    beta: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    current: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    threshold: Annotated[float, Field(gt=0.0)] = 1.0
    surrogate: Literal["arctan", "triangular", "sigmoid", "rectangular", "gaussian"] = "arctan"
    alpha: Annotated[float, Field(gt=0.0)] = 2.0
    readout: Literal["spikes", "membrane"] = "spikes"
    every_step: Annotated[bool, Field(exclude_if=lambda found: not found)] = False
    readout_beta: Annotated[float, Field(ge=0.0, le=1.0, exclude_if=lambda found: found == 1.0)] = 1.0
    attention: Annotated[Literal["none", "hda", "dsa", "both"], Field(exclude_if=lambda found: found == "none")] = (
        "none"
    )
    gain: Annotated[float, Field(gt=0.0)] = 10.0

    @property
    def stages(self) -> list[int]:
        """Blocks (of ``vgg``: convolutions) of each stage."""
        if self.depth is not None:
            return DEPTHS["resnet" if self.kind in ("sew", "spiking-resnet") else self.kind][self.depth]
        return self.blocks or [2] * len(self.channels)

    @model_validator(mode="after")
    def _fits(self) -> "ModelSettings":
        if (self.kind == "layers") != bool(self.layers):
            raise ValueError("'layers' belong to kind = \"layers\", which needs them")
        if self.readout_beta != 1.0 and self.readout != "membrane":
            raise ValueError("'readout_beta' belongs to readout = \"membrane\"")
        if self.attention != "none" and self.kind != "spikesr":
            raise ValueError(f"'attention' belongs to kind = \"spikesr\", not to {self.kind!r}")
        family = {"sew": "resnet", "spiking-resnet": "resnet", "vgg": "vgg", "wrn": "wrn"}.get(self.kind)
        if self.pool == "none" and family != "resnet":
            raise ValueError(f'pool = "none" belongs to the stem of a ResNet, not to kind = {self.kind!r}')
        if self.kind == "mlp" and not self.hidden:
            raise ValueError("kind = 'mlp' needs 'hidden', the widths of its layers before the last one")
        if self.neuron == "plif" and not 0 < self.beta < 1:
            raise ValueError(f'neuron = "plif" learns beta from a value between 0 and 1, not {self.beta}')
        if family is None:
            if self.depth is not None or (self.blocks is not None and self.kind != "spikesr"):
                raise ValueError(f"'depth' and 'blocks' do not belong to kind = {self.kind!r}")
            return self
        if self.depth is not None and (self.blocks is not None or self.depth not in DEPTHS[family]):
            known = ", ".join(map(str, DEPTHS[family]))
            raise ValueError(f"depth of kind = {self.kind!r} is one of {known}; or give 'blocks' instead")
        if len(self.stages) != len(self.channels):
            raise ValueError(f"{len(self.stages)} stages of blocks, but 'channels' has {len(self.channels)} entries")
        return self


class TrainSettings(Section):
    """Adam; cross-entropy on the logits. Fine-tuning after quantization differs in epochs and rate only.

    ``loss``: of data whose targets are numbers: "l1", the mean absolute error, or "mse", the mean squared one.

    ``schedule``: the rate falls to 0 along half a cosine, or stays. ``weight_decay`` times the
    weights is added to the gradient. ``flip`` mirrors every image left to right with probability 1/2.

    ``trail`` = n measures zero-gradient share, clean accuracy and accuracy under the recipe's last attack after every
    n epochs and the last; 0 never. It does not change the training. ``once`` computes what is the same at every step on
    one of them: faster with the direct coder, but gradients add up in another order, and weights come out different.
    ``checkpointing`` keeps the spikes between populations only and computes the rest again: less memory for many time
    steps, more time, the same weights.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 3407
    epochs: Positive = 40
    batch: Positive = 64
    rate: Annotated[float, Field(gt=0.0, le=1e3)] = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    flip: bool = False
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu"
    devices: Positive = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    loss: Annotated[Literal["l1", "mse"] | None, Field(exclude_if=lambda found: found is None)] = None
    trail: Annotated[int, Field(ge=0)] = 0
    once: bool = False
    checkpointing: bool = False


class AttackSettings(Named):
    """One attack on the pixels, L-infinity; ``epsilon`` in units of the [0, 1] pixel range.

    Of events also one on their spikes: ``budget`` of them change, or move in time by ``largest`` steps.
    ``fgsm`` and ``pgd`` have these keys, every other attack has the arguments of its constructor.
    """

    rules: ClassVar = Rules(
        "attack",
        described=dict.fromkeys(("fgsm", "pgd"), ("epsilon", "steps", "seed")),
        needed=("epsilon",),
        instead=("budget", "largest"),
        given=("batch", "space", "norm", "backward"),
    )

    name: Annotated[str, known("attack")]
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    steps: Positive = 10
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def label(self) -> str:
        """A short name that tells attacks of one recipe apart: steps, and keys of its own that are not as usual."""
        steps = f"-{self.steps}" if "steps" in self.takes and self.name != "fgsm" else ""
        fields = type(self).model_fields
        others = [key for key in self.brought if key not in AttackSettings.model_fields]
        unusual = [f"-{key}-{getattr(self, key)}" for key in others if getattr(self, key) != fields[key].default]
        radius = f"@{self.epsilon:g}" if "epsilon" in self.takes else ""
        return f"{self.name}{steps}{''.join(unusual)}{radius}"


Attacking = Annotated[SerializeAsAny[AttackSettings], by_name(AttackSettings)]


def _parse_bits(value: Any) -> Any:
    for layer, bits in value.items() if isinstance(value, Mapping) else [(None, value)]:
        if type(bits) is not int or not 2 <= bits <= 8:
            where = "" if layer is None else f"layer {layer!r}: "
            reason = (
                f"{where}bits of a weight must be greater than or equal to 2 and less than or equal to 8 (got "
                f"{bits!r}); give a number, or a table of numbers by layer"
            )
            raise PydanticCustomError("named", "{reason}", {"reason": reason})
    return dict(value) if isinstance(value, Mapping) else value


class QuantizeSettings(Section):
    """Quantization-aware fine-tuning: ``bits`` a weight, on Loihi's mixed-sign grid; 0 epochs means rounding only.

    ``bits`` is one number, or a table by layer: ``{ default = 8, conv1 = 4 }``; ``default`` (8) is for layers that it
    does not name.
    """

    bits: Annotated[int | dict[str, int], BeforeValidator(_parse_bits)] = 8
    epochs: Annotated[int, Field(ge=0)] = 20
    rate: Annotated[float, Field(gt=0.0, le=1e3)] = 1e-3


class ExportSettings(Section):
    """What the Program is made for.

    ``chip``: loihi1 knows no graded spikes. ``bias_exponent``: the smallest; lava-dl's importer demands 6. ``relays``:
    balance paths with relay populations instead of delays.
    """

    chip: Annotated[str, known("chip")] = "loihi2"
    bias_exponent: Annotated[int, Field(ge=0, le=7)] = 0
    relays: bool = False


class EvaluateSettings(Section):
    """What is measured where: ``lava_samples`` bounds the share that the slow simulators, lava and netx, get."""

    targets: list[Annotated[str, known("target", "torch")]] = ["loihi", "onnx", "lava"]
    batch: Positive = 250
    lava_samples: Positive = 64
