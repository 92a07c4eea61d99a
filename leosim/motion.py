"""What trackers share: motion of a target, what a bistatic radar measures of it, and the fate of a track.

A state is (position, velocity) in the receiver's east-north-up frame: [..., 6], m and m/s. A measurement is
(u, w, bistatic range, Doppler), see `records.Detection`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import chdtri

from leosim.radar import range_from_excess
from leosim.records import COASTING, CONFIRMED, FOUND, LOST, TENTATIVE, Detection, Track
from leosim.units import NS_PER_S, SPEED_OF_LIGHT_M_S

EYE_3, EYE_4, EYE_6 = np.eye(3), np.eye(4), np.eye(6)
BEGIN_STEPS = 5  # Gauss-Newton steps of a first fix: it starts at the position itself, only Doppler is left


@dataclass(frozen=True)
class Rules:
    """What every tracker is told besides its motion model."""

    gate_miss: float = field(
        default=1e-4, metadata={"doc": "probability that the gate refuses a detection of the target itself"}
    )
    passes: int = field(default=2, metadata={"doc": "linearisations of the measurement an update"})
    speed_sigma_m_s: float = field(
        default=200.0, metadata={"doc": "standard deviation of each velocity component of a new track (m/s)"}
    )
    confirm_hits: int = field(default=3, metadata={"doc": "detections that confirm a new track"})
    confirm_of: int = field(default=5, metadata={"doc": "dwells on the target within which they must come"})
    lose_misses: int = field(default=30, metadata={"doc": "misses in a row with which a confirmed track is lost"})
    lose_sigma_m: float = field(
        default=5000.0, metadata={"doc": "standard deviation of the position beyond which a track is lost (m)"}
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.gate_miss < 1.0:
            raise ValueError(f"gate_miss: expected a probability between 0 and 1, got {self.gate_miss!r}")
        for name in ("passes", "confirm_hits", "confirm_of", "lose_misses"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
        if self.confirm_hits > self.confirm_of:
            raise ValueError(
                f"confirm_hits: expected at most confirm_of = {self.confirm_of} dwells, got {self.confirm_hits}"
            )
        for name in ("speed_sigma_m_s", "lose_sigma_m"):
            positive(name, getattr(self, name))

    @property
    def gate(self) -> float:
        """Largest normalised innovation squared of a detection that is taken: chi-square, four dimensions (1)."""
        return float(chdtri(4, self.gate_miss))


def positive(name: str, value: float) -> None:
    """Raises ValueError for a setting that is not a positive number."""
    if not (value > 0.0 and math.isfinite(value)):
        raise ValueError(f"{name}: expected a positive number, got {value!r}")


# ---------------------------------------------------------------------------------------------
# Motion


def transition(dt_s: float) -> np.ndarray:
    """The matrix that carries a state over dt_s at constant velocity: [6, 6]."""
    return np.kron(np.array([[1.0, dt_s], [0.0, 1.0]]), np.eye(3))


def process_noise(dt_s: float, q_m2_s3: float | np.ndarray) -> np.ndarray:
    """Covariance of what white-noise acceleration adds over dt_s: [..., 6, 6].

    `q [[dt^3/3, dt^2/2], [dt^2/2, dt]]` on each axis, section 6.2.2, Bar-Shalom, Li and Kirubarajan 2001.
    q_m2_s3 : [...] power spectral density of the acceleration on each axis (m^2/s^3)
    """
    block = np.array([[dt_s**3 / 3.0, dt_s**2 / 2.0], [dt_s**2 / 2.0, dt_s]])
    return np.asarray(q_m2_s3)[..., None, None] * np.kron(block, np.eye(3))


def ahead(
    mean: np.ndarray, covariance: np.ndarray, dt_s: float, q_m2_s3: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [..., 6] and covariance [..., 6, 6] of states dt_s later."""
    f = transition(dt_s)
    return mean @ f.T, symmetric(f @ covariance @ f.T + process_noise(dt_s, q_m2_s3))


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """A covariance without the asymmetry of rounding."""
    return 0.5 * (matrix + np.swapaxes(matrix, -1, -2))


# ---------------------------------------------------------------------------------------------
# Measurement


def measure(
    state: np.ndarray, sat_pos_enu: np.ndarray, sat_vel_enu: np.ndarray, carrier_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """What the receiver would measure of a target, and the derivatives of it.

    With p, v of the target and s, v_s of the satellite: `u, w = p_east / |p|, p_north / |p|`, bistatic range
    `|p - s| + |p|`, Doppler `-f/c ((p - s)/|p - s| . (v - v_s) + p/|p| . v)`; receiver at the origin and at rest.

    state : [..., 6] m and m/s; sat_pos_enu, sat_vel_enu : [xyz] m, m/s, in the receiver's east-north-up frame
    Returns the measurement [..., 4] and its Jacobian [..., 4, 6].
    """
    state = np.asarray(state, dtype=float)
    p, v = state[..., :3], state[..., 3:]
    down = p - sat_pos_enu
    range_tx, range_rx = (np.sqrt((x * x).sum(axis=-1))[..., None] for x in (down, p))
    from_sat, from_rx = down / range_tx, p / range_rx
    relative = v - sat_vel_enu
    rate_tx, rate_rx = ((a * b).sum(axis=-1)[..., None] for a, b in ((from_sat, relative), (from_rx, v)))
    hz_a_m_s = -carrier_hz / SPEED_OF_LIGHT_M_S
    value = np.concatenate([from_rx[..., :2], range_tx + range_rx, hz_a_m_s * (rate_tx + rate_rx)], axis=-1)
    jacobian = np.zeros((*state.shape[:-1], 4, 6))
    jacobian[..., :2, :3] = (EYE_3[:2] - from_rx[..., :2, None] * from_rx[..., None, :]) / range_rx[..., None]
    jacobian[..., 2, :3] = from_sat + from_rx
    turning = (relative - rate_tx * from_sat) / range_tx + (v - rate_rx * from_rx) / range_rx
    jacobian[..., 3, :3] = hz_a_m_s * turning
    jacobian[..., 3, 3:] = hz_a_m_s * (from_sat + from_rx)
    return value, jacobian


def curvature(state: np.ndarray, sat_pos_enu: np.ndarray, sat_vel_enu: np.ndarray, carrier_hz: float) -> np.ndarray:
    """Second derivatives of the measurement by the state: [..., 4, 6, 6]; arguments as in `measure`."""
    # Ways from the satellite and from the receiver; the velocity along each, and the receiver's axes along the second.
    way = state[..., None, :3] - np.stack([sat_pos_enu, np.zeros(3)])
    speed = state[..., None, 3:] - np.stack([sat_vel_enu, np.zeros(3)])
    range_m = np.sqrt((way * way).sum(axis=-1))[..., None, None]
    e = way[..., None, :] / range_m
    outer = np.swapaxes(e, -1, -2) * e
    across = ((EYE_3 - outer) / range_m).sum(axis=-3)
    v = np.concatenate([speed, np.broadcast_to(EYE_3[:2], speed.shape)], axis=-2)[..., None, :]
    e, outer, range_m = (x[..., [0, 1, 1, 1], :, :] for x in (e, outer, range_m))
    # Of e . v by the position: (e . v (3 e e^T - 1) - v e^T - e v^T) / range^2.
    mixed = np.swapaxes(v, -1, -2) * e
    along = (e * v).sum(axis=-1)[..., None]
    bend = (along * (3.0 * outer - EYE_3) - mixed - np.swapaxes(mixed, -1, -2)) / range_m**2
    hz_a_m_s = -carrier_hz / SPEED_OF_LIGHT_M_S
    out = np.zeros((*state.shape[:-1], 4, 6, 6))
    out[..., :2, :3, :3] = bend[..., 2:, :, :]
    out[..., 2, :3, :3] = across
    out[..., 3, :3, :3] = hz_a_m_s * (bend[..., 0, :, :] + bend[..., 1, :, :])
    out[..., 3, :3, 3:] = out[..., 3, 3:, :3] = hz_a_m_s * across
    return out


def bent(white: np.ndarray, curved: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [..., 4] and covariance [..., 4, 4] of a whitened measurement about its linearisation, from its curvature.

    `tr(A P) / 2` and `1 + tr(A_i P A_j P) / 2`: chapter 10, Bar-Shalom, Li and Kirubarajan 2001.
    white : [4, 4] what whitens the measurement; curved : [..., 4, 6, 6] its second derivatives
    covariance : [..., 6, 6] of the state
    """
    shape = covariance.shape[:-2]
    curved = (white @ curved.reshape(*shape, 4, 36)).reshape(*shape, 4, 6, 6)
    spread = curved @ covariance[..., None, :, :]
    flat, turned = (x.reshape(*shape, 4, 36) for x in (spread, np.swapaxes(spread, -1, -2)))
    return 0.5 * np.trace(spread, axis1=-2, axis2=-1), EYE_4 + 0.5 * symmetric(flat @ np.swapaxes(turned, -1, -2))


@dataclass(frozen=True)
class Correction:
    """States after a measurement, and how well the measurement fits them.

    mean : [..., 6]; covariance : [..., 6, 6]
    distance : [...] normalised innovation squared (1)
    log_likelihood : [...] of the measurement, natural logarithm
    """

    mean: np.ndarray
    covariance: np.ndarray
    distance: np.ndarray
    log_likelihood: np.ndarray


def corrected(
    mean: np.ndarray,
    covariance: np.ndarray,
    detection: Detection,
    sat_pos_enu: np.ndarray,
    sat_vel_enu: np.ndarray,
    carrier_hz: float,
    passes: int,
) -> Correction:
    """An iterated extended Kalman update to second order, of one state or of several at once.

    Each pass linearises at the state that the pass before found: chapter 10, Bar-Shalom, Li and Kirubarajan 2001.
    What curvature adds within the spread of that state (`bent`) is taken off the measurement and added to its noise, as
    in a second-order filter: a fresh track knows the range within a metre, but its direction so badly that the
    sphere of that range is no plane. That error is the same at the next dwell, which must not average it: what is
    left of it goes into the covariance, which is else in Joseph's form.

    mean : [..., 6]; covariance : [..., 6, 6] before
    Raises numpy.linalg.LinAlgError for a measurement without a positive definite covariance.
    """
    root = np.linalg.cholesky(detection.covariance)  # measurements are whitened: their units are 1e7 apart
    white = np.linalg.inv(root)
    state, spread = mean, covariance
    for _ in range(passes):
        expected, jacobian = measure(state, sat_pos_enu, sat_vel_enu, carrier_hz)
        h = white @ jacobian
        bias, noise = bent(white, curvature(state, sat_pos_enu, sat_vel_enu, carrier_hz), spread)
        innovation = (detection.value - expected) @ white.T - bias - times(h, mean - state)
        h_covariance = h @ covariance
        s = symmetric(h_covariance @ np.swapaxes(h, -1, -2) + noise)
        gain = np.swapaxes(np.linalg.solve(s, h_covariance), -1, -2)
        state = mean + times(gain, innovation)
        kept = EYE_6 - gain @ h
        added = gain @ noise @ np.swapaxes(gain, -1, -2)
        spread = symmetric(kept @ covariance @ np.swapaxes(kept, -1, -2) + added)
    _, noise = bent(white, curvature(state, sat_pos_enu, sat_vel_enu, carrier_hz), spread)
    across = spread @ np.swapaxes(h, -1, -2)
    lift = np.swapaxes(np.linalg.solve(symmetric(h @ across), np.swapaxes(across, -1, -2)), -1, -2)
    spread = symmetric(spread + lift @ (noise - EYE_4) @ np.swapaxes(lift, -1, -2))
    distance = (innovation * np.linalg.solve(s, innovation[..., None])[..., 0]).sum(axis=-1)
    log_volume = np.linalg.slogdet(2.0 * math.pi * s)[1] + 2.0 * np.log(np.diagonal(root)).sum()
    return Correction(state, spread, distance, -0.5 * (distance + log_volume))


def times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Matrices [..., n, m] times vectors [..., m]."""
    return (matrix @ vector[..., None])[..., 0]


def first_fix(
    detection: Detection,
    sat_pos_enu: np.ndarray,
    sat_vel_enu: np.ndarray,
    carrier_hz: float,
    speed_sigma_m_s: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean [6] and covariance [6, 6] of a state from one detection; None where it fixes no place above the horizon.

    The position is where the direction meets the ellipsoid of the bistatic range, Eqs. (47)-(51), Park et al. 2024.
    Of the velocity the Doppler tells one component; the others are zero within speed_sigma_m_s. Gauss-Newton on
    all of it together, with the curvature of the measurement as in `corrected`.
    """
    u, w, bistatic_m, _ = detection.value
    direct_m = float(np.linalg.norm(sat_pos_enu))
    if u * u + w * w >= 1.0 or bistatic_m <= direct_m:
        return None
    arrival = np.array([u, w, math.sqrt(1.0 - u * u - w * w)])
    range_rx_m = range_from_excess(
        np.array(bistatic_m - direct_m), np.array(direct_m), arrival @ (sat_pos_enu / direct_m)
    )
    state = np.concatenate([range_rx_m * arrival, np.zeros(3)])
    root = np.linalg.cholesky(detection.covariance)
    prior = np.hstack([np.zeros((3, 3)), np.eye(3) / speed_sigma_m_s])
    bias, noise = np.zeros(4), EYE_4
    for _ in range(BEGIN_STEPS):
        expected, jacobian = measure(state, sat_pos_enu, sat_vel_enu, carrier_hz)
        white = np.linalg.inv(root @ np.linalg.cholesky(noise))
        left = np.concatenate([white @ (detection.value - expected - root @ bias), -state[3:] / speed_sigma_m_s])
        q, r = np.linalg.qr(np.vstack([white @ jacobian, prior]))
        inverse = np.linalg.inv(r)
        state, covariance = state + inverse @ (q.T @ left), inverse @ inverse.T
        bias, noise = bent(np.linalg.inv(root), curvature(state, sat_pos_enu, sat_vel_enu, carrier_hz), covariance)
    return state, symmetric(covariance)


# ---------------------------------------------------------------------------------------------
# The fate of a track


def found(detection: Detection, track: Track) -> bool:
    """Whether a detection says something of this track. Raises ValueError where it is of another time or target."""
    if detection.t_ns != track.t_ns or detection.target != track.target:
        raise ValueError(
            f"detection: expected target {int(track.target)} at {track.t_ns} ns, where the track was predicted to, got "
            f"target {int(detection.target)} at {detection.t_ns} ns"
        )
    return bool(detection.status == FOUND)


def seconds_ahead(track: Track, t_ns: int) -> float:
    """Time from a track to a later instant (s). Raises ValueError for an earlier one."""
    if t_ns < track.t_ns:
        raise ValueError(f"track: expected an instant from {track.t_ns} ns on, got {t_ns} ns")
    return (t_ns - track.t_ns) / NS_PER_S


def hit(track: Track, rules: Rules) -> Track:
    """A track whose detection was taken."""
    hits = int(track.hits) + 1
    if hits < rules.confirm_hits:
        return track.replace(hits=np.array(hits))
    return track.replace(hits=np.array(hits), misses=np.array(0), status=np.array(CONFIRMED))


def miss(track: Track, rules: Rules) -> Track:
    """A track whose dwell gave no detection, or one outside the gate: it coasts, or is lost after too many."""
    misses = int(track.misses) + 1
    if track.status == TENTATIVE:
        status = LOST if misses > rules.confirm_of - rules.confirm_hits else TENTATIVE
    else:
        status = LOST if misses >= rules.lose_misses else COASTING
    return track.replace(misses=np.array(misses), status=np.array(status))


def checked(track: Track, rules: Rules) -> Track:
    """A track, lost where its position is no longer known well enough."""
    spread_m2 = float(np.trace(track.covariance[:3, :3]))
    return track.replace(status=np.array(LOST)) if spread_m2 > rules.lose_sigma_m**2 else track


def nothing(detection: Detection) -> Track:
    """The lost track of a detection that fixes no position."""
    return Track(
        t_ns=detection.t_ns,
        target=detection.target,
        status=np.array(LOST),
        hits=np.array(0),
        misses=np.array(0),
        mean=np.full(6, math.nan),
        covariance=np.full((6, 6), math.nan),
    )


def fresh(
    detection: Detection, sat_pos_enu: np.ndarray, sat_vel_enu: np.ndarray, carrier_hz: float, rules: Rules
) -> Track:
    """A new track of one detection; lost where that fixes no position. Raises ValueError where nothing was found."""
    if detection.status != FOUND:
        raise ValueError(f"detection: expected one with status {FOUND} to begin a track, got {int(detection.status)}")
    fix = first_fix(detection, sat_pos_enu, sat_vel_enu, carrier_hz, rules.speed_sigma_m_s)
    if fix is None:
        return nothing(detection)
    return Track(
        t_ns=detection.t_ns,
        target=detection.target,
        status=np.array(TENTATIVE if rules.confirm_hits > 1 else CONFIRMED),
        hits=np.array(1),
        misses=np.array(0),
        mean=fix[0],
        covariance=fix[1],
    )
