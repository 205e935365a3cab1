"""SynSense's Xylo: its arithmetic, its targets, and the way of a network to its integers."""
