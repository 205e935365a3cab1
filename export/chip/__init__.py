"""What a chip holds, and where a Program lies on it."""
