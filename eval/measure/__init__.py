"""Measurements on the forms of one network: accuracy, spikes, operations, gradients."""
