"""Records: what was measured, on what, with what, and how sure it is; one family, one header."""
