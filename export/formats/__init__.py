"""The Program, or the quantized network, as files of other runtimes: ONNX, QCDQ, lava-dl's ``.net``."""
