"""The energy model against a board: power logs of a real Loihi, the networks that ran on it, both side by side."""
