"""Which files each step of a run reads and writes, and which sections of a recipe each depends on."""

MANIFEST = "run.json"
PLACE = "data-path.json"
"""Where a recipe's relative ``data.path`` leads, from the run folder: the two are found from any other folder."""
FORMAT = 2
"""Of the manifest: format 1 was the steps by name, and nothing else."""

READS: dict[str, tuple[str, ...]] = {
    "train": ("recipe.json",),
    "attack": ("model.safetensors",),
    "quantize": ("model.safetensors",),
    "export": ("quantized.safetensors",),
    "import": (),
    "compare": ("program.safetensors",),
    "trace": ("program.safetensors",),
    "fit": ("program.safetensors",),
    "faults": ("program.safetensors",),
    "decision": ("model.safetensors", "quantized.safetensors", "program.safetensors"),
    "prove": ("program.safetensors",),
    "robustness": ("model.safetensors", "quantized.safetensors", "program.safetensors"),
    "cost": ("model.safetensors", "quantized.safetensors", "program.safetensors"),
    "explain": ("model.safetensors", "quantized.safetensors", "program.safetensors"),
    "evaluate": ("model.safetensors", "attacks.json", "quantized.safetensors", "program.safetensors", "network.onnx"),
}
WRITES: dict[str, tuple[str, ...]] = {
    "train": ("model.safetensors", "training.json"),
    "attack": ("attacks.json",),
    "quantize": ("quantized.safetensors",),
    "export": ("network.nir", "network.json", "program.safetensors", "network.onnx", "export.json"),
    "import": ("import.json", "program.safetensors", "samples.npz"),
    "compare": ("compare.json",),
    "trace": ("trace.json",),
    "fit": ("fit.html",),
    "faults": ("faults.json", "faults.html"),
    "decision": ("decision.json", "decision.html"),
    "prove": ("prove.json", "prove.html", "prove-examples.safetensors"),
    "robustness": ("robustness.json", "robustness.html", "robustness-examples.safetensors"),
    "cost": ("cost.json",),
    "explain": ("explain.json", "explain.html"),
    "evaluate": ("record.json", "report.html"),
}
TRAINED = ("name", "data", "coding", "model", "train", "defences")
"""Sections of a recipe that the float network is made of: another one makes another run."""
MADE = {"train": "quantize", "attacks": "attack", "quantize": "quantize", "export": "export", "evaluate": "evaluate"}
"""The first step that another section changes; all before it stays. Of ``train``: where the network was given."""
NEXT = {"quantize": "export"}
"""Which step reads what the one before it in the recipe makes; measurements read what all of them make."""
FORMS = ("network.nir", "network.json", "network.onnx", "network.net", "network-qcdq.onnx")
"""Files of ``export`` that hold Loihi's integers: a run for another family of chips has none of them."""
MAKERS = ("train", "attack", "quantize", "export")

# Other threat models, and quality in the place of classes.
for _kind in ("encoded", "encoded-binary", "timing", "quality"):
    READS[f"robustness-{_kind}"] = READS["robustness"]
    WRITES[f"robustness-{_kind}"] = tuple(
        name.replace("robustness", f"robustness-{_kind}") for name in WRITES["robustness"]
    )


GIVEN = {"adoption.json": "adopt", "adaptation.json": "adapt"}
"""Records of networks that were not trained here, and the commands that wrote them."""
WITHOUT_NETWORK = (
    "simulate",
    "evaluate",
    "agree",
    "profiles",
    "robustness",
    "prove",
    "compare",
    "explain",
    "fit",
    "faults",
    "decision",
)
"""Commands that a Program from elsewhere takes."""
