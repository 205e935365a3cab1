"""What runs where, found by asking every target and the exporter."""
