"""Trackers: a detection a dwell -> where a target is believed to be. One file an algorithm."""
