"""What an inference costs: constants with their sources, a model of intervals, and baselines measured or estimated."""
