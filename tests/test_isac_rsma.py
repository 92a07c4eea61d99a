import numpy as np
import pytest

from leosim import precoding
from leosim.isac import rsma
from leosim.records import CAPPED, MET, DownlinkUsers, Illumination
from leosim.units import SPEED_OF_LIGHT_M_S

SIDE = 8
SATELLITE = np.array([30e3, -30e3, 340e3])
TARGET = np.array([3e3, 3e3, 5e3])
MODES = [(access, radar) for access in precoding.ACCESS for radar in precoding.RADAR]


def toward(sat, point):
    """Direction cosines [..., 2] at a satellite whose array looks down, and ranges (m)."""
    away = point - sat
    range_m = np.linalg.norm(away, axis=-1)
    return away[..., :2] / range_m[..., None], range_m


def scene_at(pos, sat=SATELLITE, power_w=100.0, asked_w=76.0, side=SIDE, target=TARGET):
    """Users at positions [user, xyz] (m) in the paper's link budget; the target asks for `asked_w` all on it."""
    cosines, range_m = toward(sat, pos)
    gain = 10**0.6 * (SPEED_OF_LIGHT_M_S / (4 * np.pi * 2e9 * range_m)) ** 2
    users = DownlinkUsers(
        t_ns=0,
        sat=44713,
        rows=side,
        columns=side,
        power_w=power_w,
        user=np.arange(len(pos)),
        cosines=cosines,
        noise_w=1.380649e-23 * 150.0 * 10e6 / gain,
    )
    return users, Illumination(t_ns=0, target=0, gain_w=asked_w * side**2, cosines=toward(sat, target)[0])


def drop(seed, users=4):
    """Positions of users uniform over the paper's disc of 100 km diameter: [user, xyz] (m)."""
    rng = np.random.default_rng(seed)
    radius, angle = 50e3 * np.sqrt(rng.uniform(size=users)), rng.uniform(0.0, 2 * np.pi, users)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(users)], axis=1)


def bytes_of(precoder):
    return b"".join(getattr(precoder, name).tobytes() for name in precoder.array_fields())


@pytest.mark.parametrize(("access", "radar"), MODES)
@pytest.mark.parametrize("power_w", [100.0, 1000.0])
def test_power_and_threshold_hold_in_the_record(access, radar, power_w):
    users, target = scene_at(drop(1), power_w=power_w)
    got = rsma.design(users, target, None, rsma.Params(access=access, radar=radar, starts=2))
    assert got.power_w.sum() == pytest.approx(power_w, rel=1e-9)
    toward_target = precoding.gains(got, target.cosines[None], SIDE, SIDE).sum()
    assert toward_target == pytest.approx(float(got.gain_w), rel=1e-9)
    assert toward_target >= float(got.gain_asked_w) * (1 - 1e-9)
    assert got.status == MET
    assert got.min_rate > 0.0
    rate = got.rate[:-2] + got.split[:-2]
    assert rate.min() == pytest.approx(float(got.min_rate), rel=1e-9)
    assert got.split.sum() <= got.rate[-2] * (1 + 1e-12)


def test_same_input_same_bytes():
    users, target = scene_at(drop(2))
    first, second = (rsma.design(users, target, None, rsma.Params(starts=3)) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)


def test_what_is_infeasible_is_capped_or_raised():
    users, target = scene_at(drop(3), power_w=50.0)
    got = rsma.design(users, target, None, rsma.Params(starts=1))
    assert got.status == CAPPED
    left_by_the_barrier = 1e-6
    assert got.gain_w == pytest.approx(0.9 * 50.0 * SIDE**2, rel=left_by_the_barrier)
    assert got.power_needed_w == pytest.approx(76.0)
    with pytest.raises(precoding.InfeasibleError, match=r"needs 76 W, more than the 50 W"):
        rsma.design(users, target, None, rsma.Params(on_infeasible="raise"))
