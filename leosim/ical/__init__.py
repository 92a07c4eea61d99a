"""Algorithms of the localisation service: terminals to a precoder for rate and position. One file an algorithm."""
