"""The seed study: gradient sparsity against accuracy and robustness, in float and on the chip."""
