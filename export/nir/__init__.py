"""NIR: what we write, and anybody's files read, checked and executed."""
