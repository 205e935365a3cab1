"""Intel's Lava: an environment of its own, a worker process, and the client of it."""
