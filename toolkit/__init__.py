"""Train and attack spiking networks in PyTorch."""
