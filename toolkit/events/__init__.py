"""Recordings of event cameras and other sensors that spike: what one is, its file formats, and its bins over time."""
