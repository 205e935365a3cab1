"""The run folder and its steps: each reads files, does one thing, and writes files atomically."""
