"""Robustness of every form of a network: protocols, worst cases, and the alarms that say when a number is not one."""
