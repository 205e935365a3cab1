"""What every form costs: sparsity, time, energy and memory, side by side."""
