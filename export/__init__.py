"""From the quantized network to NIR, the integer Program and ONNX."""
