"""What a dwell of tracking costs, against FilterPy's filters on the same target and the same measurement."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from filterpy.kalman import ExtendedKalmanFilter, IMMEstimator

from leosim import motion
from leosim.records import Detection, Track
from leosim.tracking import ekf, imm
from leosim.units import NS_PER_S

CARRIER_HZ = 2e9
SAT_POS_ENU, SAT_VEL_ENU = np.array([3e5, -2e5, 5e5]), np.array([5e3, 5.5e3, -9e2])
STATE = np.array([-9e3, 4e3, 8e3, 190.0, -20.0, 3.0])
# Two passes, curvature and a record of the track, where FilterPy linearises once and keeps its arrays; of two models
# both go through the same array operations.
MOST_OF_FILTERPY = {"ekf": 10.0, "imm": 4.0}


def detection(t_s: int) -> Detection:
    """The target as it would be seen without noise, with the uncertainty of a good dwell."""
    state = motion.transition(float(t_s)) @ STATE
    value, _ = motion.measure(state, SAT_POS_ENU, SAT_VEL_ENU, CARRIER_HZ)
    covariance = np.diag(np.square([1e-3, 1e-3, 0.5, 14.0]))
    return Detection(
        t_ns=t_s * NS_PER_S, sat=1, target=0, status=0, statistic=100.0, value=value, covariance=covariance
    )


class Reference(ExtendedKalmanFilter):
    """FilterPy's extended Kalman filter on the same measurement."""

    def __init__(self, track: Track, q_m2_s3: float) -> None:
        super().__init__(dim_x=6, dim_z=4)
        self.x, self.P = track.mean.copy(), track.covariance.copy()
        self.F, self.Q = motion.transition(1.0), motion.process_noise(1.0, q_m2_s3)

    def predict(self, u: None = None) -> None:
        super().predict()

    def update(self, found: Detection) -> None:
        super().update(
            found.value,
            lambda x: motion.measure(x, SAT_POS_ENU, SAT_VEL_ENU, CARRIER_HZ)[1],
            lambda x: motion.measure(x, SAT_POS_ENU, SAT_VEL_ENU, CARRIER_HZ)[0],
            R=found.covariance,
        )


def shortest_s(function, *arguments, repeats: int = 200) -> float:
    """Shortest of several runs: what the work takes when the machine leaves it alone (s)."""
    found = math.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        function(*arguments)
        found = min(found, time.perf_counter() - begin)
    return found


@pytest.mark.parametrize(("name", "tracker"), [("ekf", ekf), ("imm", imm)])
def test_a_step(benchmark, name: str, tracker) -> None:
    """Prediction and update."""
    params, found = tracker.Params(), detection(1)
    track = tracker.begin(detection(0), SAT_POS_ENU, SAT_VEL_ENU, params, CARRIER_HZ)
    if tracker is ekf:
        reference = Reference(track, params.q_m2_s3)
    else:
        filters = [Reference(track, q) for q in (params.steady_q_m2_s3, params.agile_q_m2_s3)]
        reference = IMMEstimator(filters, params.at_rest, imm.switching(1.0, params))

    def step() -> Track:
        ahead = tracker.predict(track, NS_PER_S, params)
        return tracker.update(ahead, found, SAT_POS_ENU, SAT_VEL_ENU, params, CARRIER_HZ)

    def reference_step() -> None:
        reference.predict()
        reference.update(found)

    benchmark(step)
    own_s, filterpy_s = shortest_s(step), shortest_s(reference_step)
    benchmark.extra_info["step_ms"] = 1e3 * own_s
    benchmark.extra_info["filterpy_ms"] = 1e3 * filterpy_s
    benchmark.extra_info["own_over_filterpy"] = own_s / filterpy_s
    assert own_s < MOST_OF_FILTERPY[name] * filterpy_s
