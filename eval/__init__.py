"""Measurements on every form of a network, their record and their report."""
