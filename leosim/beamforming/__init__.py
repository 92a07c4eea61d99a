"""Beamforming algorithms: one file each, `beams(csi, params) -> Beams`; pick one by name."""
