"""Named random streams: one a purpose, keyed so that a new consumer disturbs no old result.

Draws that belong to a satellite-user pair are counter-based (a hash of seed, purpose, user, catalogue
number and index), so one satellite more or less shifts nothing, and any subset can be drawn in any order.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from numba import njit


def generator(seed: int, purpose: str, k: int = 0) -> np.random.Generator:
    """A fresh generator for one purpose and tick; equal arguments give equal draws."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose_key(purpose), k])))


def purpose_key(purpose: str) -> int:
    """The number that stands for the name of a stream."""
    return zlib.crc32(purpose.encode())


@njit(cache=True, nogil=True, inline="always")
def mix(x: np.uint64) -> np.uint64:
    """Finaliser of splitmix64: a bijection of 64-bit words with full avalanche (Steele et al. 2014)."""
    x = np.uint64(x + np.uint64(0x9E3779B97F4A7C15))
    x = np.uint64((x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9))
    x = np.uint64((x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB))
    return np.uint64(x ^ (x >> np.uint64(31)))


@njit(cache=True, nogil=True)
def pair_prefix(seed: int, purpose: int, user: int, sat: int) -> np.uint64:
    """Hash of everything a pair's draw depends on but its index."""
    key = mix(np.uint64(seed))
    key = mix(key ^ np.uint64(purpose))
    key = mix(key ^ np.uint64(user))
    return mix(key ^ np.uint64(sat))


@njit(cache=True, nogil=True)
def pair_key(seed: int, purpose: int, user: int, sat: int, index: int) -> np.uint64:
    """Hash of everything a pair's draw depends on."""
    return mix(pair_prefix(seed, purpose, user, sat) ^ np.uint64(index))


@njit(cache=True, nogil=True, inline="always")
def uniform_of(key: np.uint64) -> float:
    """A hash as a number in the open interval (0, 1): 52 bits, for with 53 the last half would round to 1."""
    return (np.float64(key >> np.uint64(12)) + 0.5) * (1.0 / 4503599627370496.0)


@njit(cache=True, nogil=True, inline="always")
def normal_of(key: np.uint64) -> float:
    """A hash as a standard normal number (Box-Muller; the angle comes from the hash of the hash)."""
    radius = math.sqrt(-2.0 * math.log(uniform_of(key)))
    return radius * math.cos(2.0 * math.pi * uniform_of(mix(key)))


@njit(cache=True, nogil=True)
def _uniforms(seed: int, purpose: int, user: np.ndarray, sat: np.ndarray, index: np.ndarray) -> np.ndarray:
    out = np.empty(user.size)
    for i in range(user.size):
        out[i] = uniform_of(pair_key(seed, purpose, user[i], sat[i], index[i]))
    return out


@njit(cache=True, nogil=True)
def _normals(seed: int, purpose: int, user: np.ndarray, sat: np.ndarray, index: np.ndarray) -> np.ndarray:
    out = np.empty(user.size)
    for i in range(user.size):
        out[i] = normal_of(pair_key(seed, purpose, user[i], sat[i], index[i]))
    return out


def pair_uniforms(seed: int, purpose: str, user: np.ndarray, sat: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Uniform draws on (0, 1), one a pair: [pair] each of user row, catalogue number and index."""
    return _uniforms(seed, purpose_key(purpose), user, sat, np.asarray(index, dtype=np.int64))


def pair_normals(seed: int, purpose: str, user: np.ndarray, sat: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Standard normal draws, one a pair: [pair] each of user row, catalogue number and index."""
    return _normals(seed, purpose_key(purpose), user, sat, np.asarray(index, dtype=np.int64))
