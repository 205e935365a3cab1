"""Recipes that come with spikeproof, as TOML files."""
