"""Fixtures shared by the tests: the shipped scenario made short, and the folder of real catalogues."""

import fcntl
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numba.core.caching import IndexDataCacheFile
from sky import STARLINK, START

from leosim import users
from leosim.elements import read_elements
from leosim.scenario import load_scenario
from leosim.walkers import walker

# Hypothesis draws new examples at each run here, and the same ones on the machine that guards main.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

# Workers share numba's cache of compiled kernels. It replaces each file whole, but a kernel's index and code are two.
if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
    save = IndexDataCacheFile.save

    def save_in_turn(*arguments):
        with (Path(tempfile.gettempdir()) / f"leosim-kernels-{run}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(*arguments)

    IndexDataCacheFile.save = save_in_turn

CATALOGUE = Path(__file__).parents[2] / "shared" / "tle"


@pytest.fixture(scope="session")
def short():
    """The shipped demo cut to a few epochs and users: `short(duration_s=20, count=4, **tables)`."""

    def make(duration_s=20, count=4, **tables):
        scenario = load_scenario("demo").with_(time={"duration_s": duration_s}, users={"count": count})
        return scenario.with_(**tables) if tables else scenario

    return make


@pytest.fixture(scope="session")
def shell():
    """A Walker shell of 1,584 satellites at 550 km."""
    return walker("53:1584/72/39", 550.0, START)


@pytest.fixture(scope="session")
def starlink():
    """Every Starlink of the real snapshot."""
    return read_elements([STARLINK])


@pytest.fixture(scope="session")
def munich():
    """Ten users within 200 km of Munich."""
    return users.circle(48.14, 11.58, 200.0, 10, np.random.default_rng(1))


@pytest.fixture(scope="session")
def catalogue():
    """The folder of real catalogue snapshots; tests that use it carry the marker of that name."""
    if not CATALOGUE.is_dir():
        pytest.skip("no folder of catalogue snapshots beside the project")
    return CATALOGUE
