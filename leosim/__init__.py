"""leosim: an orbit-driven, time-stepped system simulator of LEO mega-constellations."""

__version__ = "0.1.0"
