"""Detectors: what the radar receiver heard -> direction, bistatic range and Doppler; pick one file in here by name."""
