"""Dual-functional precoders: users and a target -> rate-splitting streams; pick one file in here by name."""
