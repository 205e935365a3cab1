"""Attacks: settings in the constructor, a final call that checks, projects and judges."""
