"""J. Park et al., "A bistatic ISAC framework for LEO satellite systems: a rate-splitting approach", 2024: Figs. 4 to 8.

Readings of what the paper leaves open, and why some of it does not come out, are in docs/reproduce-park2024.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.fft import fft, fftfreq

from leosim import echo, matched_filter, precoding, radar
from leosim.antenna import steering
from leosim.channel import Radio, free_space_gain
from leosim.detection import music_mf
from leosim.isac import rsma, rsma_sdr
from leosim.papers import Claim, Figure, Row
from leosim.papers._measures import Measured, Tables, gain, gain_by_drop, mean, values
from leosim.records import DownlinkUsers, Illumination, IsacPrecoder
from leosim.report.paper_figures import Plot
from leosim.streams import generator
from leosim.units import SPEED_OF_LIGHT_M_S, db_to_linear, linear_to_db, thermal_noise_w

TITLE = "A bistatic ISAC framework for LEO satellite systems: a rate-splitting approach"
CITATION = (
    "J. Park, J. Seong, J. Ryu, Y. Mao, W. Shin, A bistatic ISAC framework for LEO satellite systems: "
    "a rate-splitting approach, 2024"
)
DROPS = 40  # when none are asked for

# ---------------------------------------------------------------------------------------------
# The setup of Section V and Table I: flat Earth, x, y and z from the radar receiver


SATELLITE_M = np.array([30e3, -30e3, 340e3])
TARGET_M = np.array([3e3, 3e3, 5e3])
CARRIER_HZ = 2e9
BANDWIDTH_HZ = 10e6
NOISE_TEMPERATURE_K = 150.0
SATELLITE_GAIN_DB, RECEIVER_GAIN_DB, USER_GAIN_DB = 6.0, 3.0, 0.0
ROWS = COLUMNS = 8
RECEIVER_ROWS = RECEIVER_COLUMNS = 32
MONO_RCS_M2 = 100.0
SAMPLES = 4096
THRESHOLD_RAD2 = 8e-7
USERS = 4
CIRCLE_RADIUS_M = 50e3
POWERS_DBW = (20, 22, 24, 26, 28, 30)

CENTRES = ("origin", "nadir")
ALGORITHMS: dict[str, Any] = {"rsma": rsma, "rsma_sdr": rsma_sdr}
POLE_RAD = 0.5 * math.pi  # where the axes of ITRS are east, north and up
NOISE_W = thermal_noise_w(BANDWIDTH_HZ, NOISE_TEMPERATURE_K)
RECEIVER = radar.Receiver(
    pos_ecef=np.zeros(3),
    lat_rad=POLE_RAD,
    lon_rad=-POLE_RAD,
    rows=RECEIVER_ROWS,
    columns=RECEIVER_COLUMNS,
    noise_w=NOISE_W,
    gain=db_to_linear(RECEIVER_GAIN_DB),
)


@dataclass(frozen=True)
class Reading:
    """What the paper leaves open, or what its figures contradict.

    rcs : cross section of the target in Figs. 5 and 6: "monostatic", the same at every angle, or "cos_half",
        sigma_mono cos(beta / 2) as printed, with which its threshold is out of reach below 23.2 dBW
    centre : of the circle the users are in: the radar receiver ("origin") or the satellite's "nadir"
    algorithm : of the precoders: "rsma", an interior-point method, or "rsma_sdr", the paper's Algorithm 1
    """

    rcs: str = "monostatic"
    centre: str = "origin"
    algorithm: str = "rsma"

    def __post_init__(self) -> None:
        for name, known in (("rcs", radar.RCS_MODELS), ("centre", CENTRES), ("algorithm", tuple(ALGORITHMS))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}")


def bistatic(target_m: np.ndarray) -> radar.Bistatic:
    """Ranges and angles of targets [..., xyz] (m) between the satellite of Table I and the receiver."""
    return radar.geometry(SATELLITE_M, np.array([1.0, 0.0, 0.0]), RECEIVER, target_m)


def departure(position_m: np.ndarray) -> np.ndarray:
    """Direction cosines [..., 2] at the satellite, on the x and y axes: `sin phi (cos theta, sin theta)`."""
    down = position_m - SATELLITE_M
    return down[..., :2] / np.linalg.norm(down, axis=-1, keepdims=True)


def asked_gain_w(model: str) -> float:
    """Least ||P^H a_tar||^2 that keeps both CRBs of Table I's target at 8e-7 rad^2, Eq. (27) (W)."""
    found = bistatic(TARGET_M)
    echo = radar.echo_gain(
        found.range_tx_m,
        found.range_rx_m,
        radar.rcs(model, MONO_RCS_M2, found.bistatic_angle_rad),
        CARRIER_HZ,
        db_to_linear(SATELLITE_GAIN_DB),
        RECEIVER.gain,
    )
    return float(radar.gain_for_angles(THRESHOLD_RAD2, THRESHOLD_RAD2, RECEIVER, found.arrival, echo, SAMPLES))


def power_needed_w(model: str) -> float:
    """Power of the satellite below which no precoder keeps the CRBs at 8e-7 rad^2 (W)."""
    return float(radar.least_power_w(np.array(asked_gain_w(model)), ROWS * COLUMNS))


def scene(
    power_dbw: float, drop: int, seed: int = 1, reading: Reading | None = None
) -> tuple[DownlinkUsers, Illumination]:
    """Users of one random drop and what is asked towards the target.

    Users uniform in a circle of 100 km diameter on the ground, the same places about either centre;
    `rho_k = sigma_c^2 / gamma_k` with gamma_k of Eq. (54).
    """
    taken = reading or Reading()
    rng = generator(seed, "park2024 users", drop)
    ring, turn = CIRCLE_RADIUS_M * np.sqrt(rng.uniform(size=USERS)), 2.0 * math.pi * rng.uniform(size=USERS)
    centre = SATELLITE_M[:2] if taken.centre == "nadir" else np.zeros(2)
    place = np.column_stack([centre + ring[:, None] * np.column_stack([np.cos(turn), np.sin(turn)]), np.zeros(USERS)])
    power_gain = db_to_linear(SATELLITE_GAIN_DB + USER_GAIN_DB) * free_space_gain(
        np.linalg.norm(place - SATELLITE_M, axis=1), CARRIER_HZ
    )
    users = DownlinkUsers(
        t_ns=0,
        sat=0,
        rows=ROWS,
        columns=COLUMNS,
        power_w=db_to_linear(power_dbw),
        user=np.arange(USERS),
        cosines=departure(place),
        noise_w=NOISE_W / power_gain,
    )
    target = Illumination(t_ns=0, target=0, gain_w=asked_gain_w(taken.rcs), cosines=departure(TARGET_M))
    return users, target


def ground(cosines: np.ndarray) -> np.ndarray:
    """Where directions [..., 2] from the satellite meet the ground: [..., (x, y)] m."""
    down = np.sqrt(1.0 - np.square(cosines).sum(axis=-1, keepdims=True))
    return SATELLITE_M[:2] + SATELLITE_M[2] * cosines / down


# ---------------------------------------------------------------------------------------------
# The eight modes of Table II


SEQUENCE_SIC, SEQUENCE, NO_SEQUENCE, NO_RADAR = (
    "s_R and SIC",
    "s_R, no SIC",
    "no s_R",
    "communication only",
)
USES = {SEQUENCE_SIC: "sic", SEQUENCE: "no_sic", NO_SEQUENCE: "no_sequence", NO_RADAR: "communication_only"}


def mode_name(access: str, use: str) -> str:
    """How a mode is called in the tables and legends."""
    return f"{access.upper()}, {use}"


MODES = {mode_name(access, use): (access, USES[use]) for access in ("rsma", "sdma") for use in USES}
ISAC_MODES = {access: [mode_name(access, use) for use in USES if use != NO_RADAR] for access in ("rsma", "sdma")}


def designed(
    users: DownlinkUsers, target: Illumination, access: str, use: str, reading: Reading | None = None
) -> IsacPrecoder | None:
    """The precoder of a mode; None when the power cannot keep the CRBs."""
    sensing = precoding.mode(access, use).sensing
    if sensing and precoding.asked_share(users, target) > 1.0:
        return None
    algorithm = ALGORITHMS[(reading or Reading()).algorithm]
    found: IsacPrecoder = algorithm.design(users, target, None, algorithm.Params(access=access, radar=use))
    return found


# ---------------------------------------------------------------------------------------------
# The figures: rows of one drop


ALTITUDES_KM = (1.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0)
GROUND_KM = ((0.0, 0.0), (3.0, 3.0), (10.0, 10.0))


def path_name(structure: str, at_km: tuple[float, float]) -> str:
    """A line of Fig. 4: the structure and where the target is."""
    return f"{structure}, ({at_km[0]:g}, {at_km[1]:g}) km"


def figure_4(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Echo path loss against the target's altitude: the inverse of Eq. (11) without antenna gains, RCS as printed."""
    for at_km in GROUND_KM:
        for altitude_km in ALTITUDES_KM:
            found = bistatic(1e3 * np.array([*at_km, altitude_km]))
            cross_section = radar.rcs("cos_half", MONO_RCS_M2, found.bistatic_angle_rad)
            two_way = radar.echo_gain(found.range_tx_m, found.range_rx_m, cross_section, CARRIER_HZ)
            back = radar.monostatic_gain(found.range_tx_m, MONO_RCS_M2, CARRIER_HZ)
            for structure, value in (("bistatic", two_way), ("monostatic", back)):
                yield {
                    "system": path_name(structure, at_km),
                    "altitude_km": altitude_km,
                    "loss_db": -float(linear_to_db(value)),
                }


def figure_5(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Least rate against the power budget, of the eight modes; NaN where the threshold is out of reach."""
    for power_dbw in POWERS_DBW:
        users, target = scene(power_dbw, drop, seed, reading)
        for name, (access, use) in MODES.items():
            found = designed(users, target, access, use, reading)
            rate = math.nan if found is None else float(found.min_rate)
            yield {"system": name, "power_dbw": power_dbw, "min_rate": rate}


STREAMS = ("radar sequence", "common stream", "private streams")
PATTERN_KM = np.linspace(-150.0, 150.0, 61)


def case_name(access: str, power_dbw: float) -> str:
    """A row of Fig. 6."""
    return f"{access.upper()}, {power_dbw:g} dBW"


CASES = {case_name(access, p): (access, p) for access in ("rsma", "sdma") for p in (20, 30)}


def by_stream(a: np.ndarray) -> np.ndarray:
    """Values [..., stream] of a precoder's streams summed to radar sequence, common stream, private streams."""
    return np.stack([a[..., -1], a[..., -2], a[..., :-2].sum(axis=-1)], axis=-1)


def figure_6(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Power shares with radar sequence and SIC; of drop 0 the beampatterns too, where users and target are.

    Beampatterns are `|p^H a(theta, phi)|^2 / ||P||_F^2`, over the point where the direction meets the ground.
    """
    for name, (access, power_dbw) in CASES.items():
        users, target = scene(power_dbw, drop, seed, reading)
        found = designed(users, target, access, USES[SEQUENCE_SIC], reading)
        if found is None:
            yield from ({"system": name, "stream": stream, "share": math.nan} for stream in STREAMS)
            continue
        share = by_stream(found.power_w) / found.power_w.sum()
        for i, stream in enumerate(STREAMS):
            yield {"system": name, "stream": stream, "share": float(share[i])}
        if drop == 0:
            yield from _patterns(name, users, target, found)


def _patterns(name: str, users: DownlinkUsers, target: Illumination, found: IsacPrecoder) -> Iterator[Row]:
    x, y = np.meshgrid(PATTERN_KM, PATTERN_KM, indexing="ij")
    points = np.column_stack([1e3 * x.ravel(), 1e3 * y.ravel(), np.zeros(x.size)])
    gains = by_stream(precoding.gains(found, departure(points), ROWS, COLUMNS)) / found.power_w.sum()
    level = linear_to_db(gains)
    for i, stream in enumerate(STREAMS):
        for at, value in zip(points, level[:, i], strict=True):
            yield {"system": name, "stream": stream, "x_km": at[0] / 1e3, "y_km": at[1] / 1e3, "pattern_db": value}
    for stream, cosines in (("user", users.cosines), ("target", target.cosines[None])):
        for at in ground(cosines) / 1e3:
            yield {"system": name, "stream": stream, "x_km": at[0], "y_km": at[1]}


# ---------------------------------------------------------------------------------------------
# What the receiver hears, Section V-C


RADAR_POWER_DBW = 23
THRESHOLDS_RAD2 = (8e-7, 4e-7)  # the tightest that 23 dBW can keep is 3e-7
RADAR_MODES = {mode_name(*mode): (mode[0], USES[mode[1]]) for mode in (("rsma", NO_SEQUENCE), ("sdma", SEQUENCE_SIC))}
DOPPLER_HZ = 30e3  # Table I: uniform, up to this
GATE_SAMPLES = 100
FLAT_M = 1e10  # radius of a sphere that is flat over the scene
SATELLITE_SPEED_M_S = 7.5e3  # gives the array its axes; the target's velocity makes up for its Doppler
LANCZOS = music_mf.Params(suppression="none", tolerance=1e-4, steps=300)
COSINES = np.linspace(-1.0, 1.0, 257)
LOBE = 2.0 / RECEIVER_ROWS  # of the receiver's beam, from the peak to the first null
SKY = COSINES[:, None] ** 2 + COSINES**2 < 1.0


def threshold_name(threshold_rad2: float) -> str:
    """A column of Fig. 7."""
    return f"threshold {threshold_rad2:.0e} rad²".replace("e-0", "e-")


def dwell(
    power_dbw: float, threshold_rad2: float, mode: str, drop: int, seed: int = 1, reading: Reading | None = None
) -> echo.Echo | None:
    """What the receiver hears of one drop, without the direct path, as in the paper; None where out of reach.

    Symbols, noise and Doppler of a drop are the same for every mode and threshold. The block starts when the direct
    path arrives, for the absolute delay is some 11,000 samples.
    """
    taken = reading or Reading()
    users, target = scene(power_dbw, drop, seed, taken)
    target = replace(target, gain_w=target.gain_w * THRESHOLD_RAD2 / threshold_rad2)
    found = designed(users, target, *RADAR_MODES[mode], taken)
    if found is None:
        return None
    radio = Radio(
        carrier_hz=CARRIER_HZ,
        bandwidth_hz=BANDWIDTH_HZ,
        power_w=users.power_w,
        noise_w=NOISE_W,
        rows=ROWS,
        columns=COLUMNS,
        element="isotropic",
        satellite_gain=db_to_linear(SATELLITE_GAIN_DB),
    )
    rng = _draws(drop, seed)
    speed = np.array([SATELLITE_SPEED_M_S, 0.0, 0.0])
    doppler_hz = _doppler_hz(rng)
    site = replace(RECEIVER, pos_ecef=np.array([0.0, 0.0, FLAT_M]))
    return echo.receive(
        # The cross-track axis of a satellite is to the right of its track, y to the left of x.
        replace(found, cosines=found.cosines * [1.0, -1.0]),
        radio,
        site.pos_ecef + SATELLITE_M,
        speed,
        site,
        TARGET_M[None],
        _velocity(speed, doppler_hz)[None],
        np.array([MONO_RCS_M2]),
        steered=np.zeros(2),
        reception=echo.Reception(
            SAMPLES,
            (0.0, GATE_SAMPLES * SPEED_OF_LIGHT_M_S / BANDWIDTH_HZ),
            precompensated=False,
            direct=0.0,
            rcs_model=taken.rcs,
        ),
        rng=rng,
    )


def _draws(drop: int, seed: int) -> np.random.Generator:
    return generator(seed, "park2024 dwell", drop)


def _doppler_hz(rng: np.random.Generator) -> float:
    return float(rng.uniform(-DOPPLER_HZ, DOPPLER_HZ))


def _velocity(satellite_m_s: np.ndarray, doppler_hz: float) -> np.ndarray:
    """The least velocity of the target with which its echo has a Doppler, which the paper draws by itself."""
    own = echo.measures(SATELLITE_M, satellite_m_s, TARGET_M, np.zeros(3), CARRIER_HZ)[3]
    down = TARGET_M - SATELLITE_M
    slope = TARGET_M / np.linalg.norm(TARGET_M) + down / np.linalg.norm(down)
    rate: np.ndarray = -(doppler_hz - own) * SPEED_OF_LIGHT_M_S / CARRIER_HZ * slope / (slope @ slope)
    return rate


def spectrum_db(heard: echo.Echo) -> np.ndarray:
    """Normalised MUSIC spectrum of one source over `COSINES` on east and north: [u, w] dB, NaN beyond the sky.

    Eq. (43): the inverse of `||b||^2 - |b^H v|^2` with the largest eigenvector v, over its maximum.
    """
    anywhere = matched_filter.Prior(np.zeros(4), np.full(4, math.inf))
    _, vectors = music_mf.principal(heard, None, anywhere, LANCZOS)
    axis = steering(np.column_stack([COSINES, np.zeros(len(COSINES))]), RECEIVER_ROWS, 1).conj()
    inside = np.abs(axis @ vectors[:, 0].reshape(RECEIVER_ROWS, RECEIVER_COLUMNS) @ axis.T) ** 2
    level = -linear_to_db(1.0 - inside / (RECEIVER_ROWS * RECEIVER_COLUMNS))
    level[~SKY] = math.nan
    return np.asarray(level - np.nanmax(level))


def in_lobe() -> np.ndarray:
    """Which of the directions of `spectrum_db` are in the beam that points at the target: [u, w] bool."""
    off = np.abs(COSINES - bistatic(TARGET_M).arrival[:, None]) < LOBE
    return np.asarray(off[0][:, None] & off[1])


def highest(level: np.ndarray, where: np.ndarray) -> tuple[float, np.ndarray]:
    """The highest of some values of a spectrum (dB) and its direction cosines [2]."""
    i, j = np.unravel_index(np.nanargmax(np.where(where, level, math.nan)), level.shape)
    return float(level[i, j]), COSINES[[i, j]]


def figure_7(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Height of the highest sub-peak, and whether it is the main one (`share`); of drop 0 the spectra too."""
    lobe = in_lobe()
    for mode in RADAR_MODES:
        for threshold in THRESHOLDS_RAD2:
            about = {"system": mode, "stream": threshold_name(threshold)}
            heard = dwell(RADAR_POWER_DBW, threshold, mode, drop, seed, reading)
            if heard is None:
                yield {**about, "share": math.nan, "sub_peak_db": math.nan}
                continue
            level = spectrum_db(heard)
            above = highest(level, ~lobe)[0] - highest(level, lobe)[0]
            yield {**about, "share": float(above > 0.0), "sub_peak_db": above}
            if drop == 0:
                for i, j in np.argwhere(SKY[::2, ::2]):
                    place = {"u": COSINES[2 * i], "w": COSINES[2 * j]}
                    yield {**about, **place, "pattern_db": level[2 * i, 2 * j]}
        if drop == 0:
            u, w = bistatic(TARGET_M).arrival
            yield {"system": mode, "stream": "target", "u": float(u), "w": float(w)}


MISSED, TOLD = "at the highest sub-peak", "at the peak"
CELL_HZ = BANDWIDTH_HZ / SAMPLES
POINTS = 4  # of the Doppler axis a resolution cell


def filtered(heard: echo.Echo, arrival: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matched-filter output of Algorithm 2 towards an arrival: Dopplers (Hz), and [delay, Doppler] an SNR plus 1."""
    delays = np.arange(GATE_SAMPLES + 1)
    row = matched_filter.beam(heard, arrival)
    sent, knot = matched_filter.references(heard, arrival, delays)
    products = np.lib.stride_tricks.sliding_window_view(row, SAMPLES)[delays] * sent[knot].conj()
    frequency_hz = fftfreq(POINTS * SAMPLES, 1.0 / BANDWIDTH_HZ)
    kept = np.flatnonzero(np.abs(frequency_hz) <= DOPPLER_HZ + CELL_HZ)
    kept = kept[np.argsort(frequency_hz[kept])]
    output = np.abs(fft(products, POINTS * SAMPLES, axis=1, workers=1)[:, kept]) ** 2
    output /= np.sum(np.abs(sent) ** 2, axis=1)[knot, None]
    return frequency_hz[kept], output


def figure_8(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Whether the highest output is the echo (`share`) and how far it is above all else; of drop 0 the outputs too.

    The right AOA is the highest MUSIC value in the target's beam, the wrong one the highest beyond, which counts in
    those drops only in which MUSIC tells it.
    """
    lobe = in_lobe()
    for mode in RADAR_MODES:
        heard = dwell(RADAR_POWER_DBW, THRESHOLD_RAD2, mode, drop, seed, reading)
        if heard is None:
            none = {"share": math.nan, "margin_db": math.nan}
            yield from ({"system": mode, "stream": stream, **none} for stream in (MISSED, TOLD))
            continue
        level = spectrum_db(heard)
        failed = highest(level, ~lobe)[0] > highest(level, lobe)[0]
        delay, hz = _truth(heard, drop, seed)
        for stream, where, counts in ((MISSED, ~lobe, failed), (TOLD, lobe, True)):
            doppler_hz, output = filtered(heard, highest(level, where)[1])
            i, j = np.unravel_index(np.argmax(output), output.shape)
            # A peak off the grid has its first nulls within these of its highest value.
            apart = (np.abs(np.arange(len(output)) - i) > 1.5)[:, None] | (
                np.abs(doppler_hz - doppler_hz[j]) > _NULL_HZ
            )
            at_echo = abs(i - delay) <= 1.0 and abs(doppler_hz[j] - hz) <= CELL_HZ
            margin = float(linear_to_db(output[i, j] / output[apart].max()))
            told = {"share": float(at_echo), "margin_db": margin} if counts else {"share": math.nan}
            yield {"system": mode, "stream": stream, **told}
            if drop == 0:
                for (m, n), value in np.ndenumerate(linear_to_db(output / output[i, j])):
                    place = {"delay_us": m * 1e6 / BANDWIDTH_HZ, "doppler_khz": doppler_hz[n] / 1e3}
                    yield {"system": mode, "stream": stream, **place, "pattern_db": float(value)}
        if drop == 0:
            yield {"system": mode, "stream": "target", "delay_us": delay * 1e6 / BANDWIDTH_HZ, "doppler_khz": hz / 1e3}


_NULL_HZ = 1.25 * CELL_HZ


def _truth(heard: echo.Echo, drop: int, seed: int) -> tuple[float, float]:
    """Delay (samples) and Doppler (Hz) of the target's echo in a dwell."""
    return float(bistatic(TARGET_M).excess_m) / heard.sample_m, _doppler_hz(_draws(drop, seed))


LEAST_RATE, BUDGET = "least rate (bit/s/Hz)", "power budget (dBW)"
SDMA_SIC, SDMA_PLAIN = mode_name("sdma", SEQUENCE_SIC), mode_name("sdma", NO_SEQUENCE)
RSMA_SIC = mode_name("rsma", SEQUENCE_SIC)
FIGURES = {
    4: Figure(
        figure_4,
        Plot(
            "echo path loss and altitude of the target",
            "altitude_km",
            "altitude of the target (km)",
            "loss_db",
            "echo path loss (dB)",
            from_zero=False,
        ),
        reads=(),
        random=False,
        note="without antenna gains, cross section 100 m² (bistatic: times cos β/2)",
    ),
    5: Figure(
        figure_5,
        Plot(
            "least rate of the eight modes",
            "power_dbw",
            BUDGET,
            "min_rate",
            LEAST_RATE,
            gains=((SDMA_PLAIN, 20, 1.90), (SDMA_PLAIN, 30, 1.02), (SDMA_SIC, 20, 1.76), (SDMA_SIC, 30, 1.23)),
        ),
        reads=("rcs", "centre", "algorithm"),
    ),
    6: Figure(
        figure_6,
        Plot("beampatterns and power shares", "x_km", "x (km)", "y_km", "y (km)", "beams"),
        reads=("rcs", "centre", "algorithm"),
        note="maps of the first, bars: standard error",
    ),
    7: Figure(
        figure_7,
        Plot(
            f"MUSIC spectra at {RADAR_POWER_DBW} dBW",
            "u",
            "direction cosine east",
            "w",
            "direction cosine north",
            "beams",
            level="spectrum over maximum (dB)",
        ),
        reads=("rcs", "centre", "algorithm"),
        note="spectra of the first",
    ),
    8: Figure(
        figure_8,
        Plot(
            f"matched-filter output at {RADAR_POWER_DBW} dBW, threshold 8e-7 rad²",
            "delay_us",
            "delay after the direct path (µs)",
            "doppler_khz",
            "Doppler (kHz)",
            "beams",
            level="output over maximum (dB)",
            lowest_db=-30.0,
        ),
        reads=("rcs", "centre", "algorithm"),
        note="outputs of the first",
    ),
}


# ---------------------------------------------------------------------------------------------
# What the text says of them


NO_LIMIT = math.inf
DROPS_WHY = (
    "it hangs on where the users are: the text gives their circle a diameter but no centre, and no centre gives all "
    "of the paper's numbers at once"
)
MEANS_WHY = "whether it compares means or drops is not said either"


def advantage(altitude_km: float, at_km: tuple[float, float]) -> Callable[[Tables], Measured]:
    """How much less a bistatic echo loses than a monostatic one (dB)."""

    def measure(tables: Tables) -> Measured:
        bistatic_db, monostatic_db = (
            values(tables[4], "loss_db", path_name(structure, at_km), altitude_km=altitude_km)[0]
            for structure in ("bistatic", "monostatic")
        )
        return float(monostatic_db - bistatic_db), math.nan

    return measure


def least_advantage(tables: Tables) -> Measured:
    """The least of `advantage` over all places and altitudes up to 20 km (dB)."""
    found = [advantage(altitude, at)(tables)[0] for altitude in ALTITUDES_KM for at in GROUND_KM]
    return min(found), math.nan


def least_widening(tables: Tables) -> Measured:
    """The least growth of `advantage` for one step down in altitude, over all places (dB)."""
    gaps = np.array([[advantage(altitude, at)(tables)[0] for altitude in ALTITUDES_KM] for at in GROUND_KM])
    return float(np.min(gaps[:, :-1] - gaps[:, 1:])), math.nan


def disagreement(tables: Tables) -> Measured:
    """How far the three sensing modes of RSMA are apart: highest less lowest over the mean, mean over all (%)."""
    table = tables[5][tables[5]["system"].isin(ISAC_MODES["rsma"])]
    wide = table.pivot_table(index=["drop", "power_dbw"], columns="system", values="min_rate").to_numpy()
    if not wide.size:
        return math.nan, math.nan
    apart = 100.0 * (wide.max(axis=1) - wide.min(axis=1)) / wide.mean(axis=1)
    return float(apart.mean()), float(apart.std(ddof=1) / math.sqrt(apart.size))


def needed_dbw(model: str) -> Callable[[Tables], Measured]:
    """Power below which the threshold is out of reach (dBW)."""
    return lambda tables: (float(linear_to_db(power_needed_w(model))), math.nan)


RSMA_PLAIN = mode_name("rsma", NO_SEQUENCE)
LOOSE, TIGHT = (threshold_name(threshold) for threshold in THRESHOLDS_RAD2)
MUSIC_WHY = (
    "8e-7 rad^2 is N snr = 0.43 a sample, below sqrt(N / L) = 0.5, where in the limit of large arrays the covariance "
    "matrix holds no trace of the echo"
)


def by_drop(table: Any, column: str, **at: str) -> Any:
    """A column of Fig. 7 or 8 without gaps, drop by drop."""
    rows = table[table[column].notna()]
    for name, value in at.items():
        rows = rows[rows[name] == value]
    return rows.set_index("drop")[column]


def spread(x: Any, factor: float = 1.0) -> Measured:
    """Mean and its standard error, NaN of nothing."""
    found = factor * np.asarray(x, dtype=float)
    error = found.std(ddof=1) / math.sqrt(found.size) if found.size > 1 else math.nan
    return float(found.mean()) if found.size else math.nan, float(error)


def reduction(mode: str) -> Callable[[Tables], Measured]:
    """How far the highest sub-peak sinks from the loose to the tight threshold (dB)."""
    return lambda tables: spread(
        (
            by_drop(tables[7], "sub_peak_db", system=mode, stream=LOOSE)
            - by_drop(tables[7], "sub_peak_db", system=mode, stream=TIGHT)
        ).dropna()
    )


def apart(stream: str) -> Callable[[Tables], Measured]:
    """How far the highest sub-peak of SDMA with the sequence is above that of RSMA without it (dB)."""
    return lambda tables: spread(
        (
            by_drop(tables[7], "sub_peak_db", system=SDMA_SIC, stream=stream)
            - by_drop(tables[7], "sub_peak_db", system=RSMA_PLAIN, stream=stream)
        ).dropna()
    )


def pooled(figure: int, column: str, stream: str, factor: float = 1.0) -> Callable[[Tables], Measured]:
    """Mean over the drops of both modes that have a value."""
    return lambda tables: spread(by_drop(tables[figure], column, stream=stream), factor)


def right_share(stream: str) -> Callable[[Tables], Measured]:
    """Share of the spectra whose highest peak is in the target's beam (%)."""
    return lambda tables: spread(1.0 - by_drop(tables[7], "share", stream=stream), 100.0)


CLAIMS = (
    Claim(
        figure=4,
        text="bistatic echoes lose less than monostatic ones",
        paper="significantly",
        unit="dB",
        measure=least_advantage,
        near=(10.0, NO_LIMIT),
        right=(0.0, NO_LIMIT),
        how="least difference over three places and altitudes of 1 to 20 km",
    ),
    Claim(
        figure=4,
        text="the same at the target of Table I",
        paper="yes",
        unit="dB",
        measure=advantage(5.0, (3.0, 3.0)),
        near=(10.0, NO_LIMIT),
        right=(0.0, NO_LIMIT),
        how="difference at (3, 3, 5) km",
    ),
    Claim(
        figure=4,
        text="the gap widens as the target descends",
        paper="yes",
        unit="dB",
        measure=least_widening,
        near=(0.0, NO_LIMIT),
        right=(0.0, NO_LIMIT),
        how="least growth of the difference for 1.5 to 2.5 km less altitude",
    ),
    *(
        Claim(
            figure=None,
            place="Sec. V-B",
            text=f"8e-7 rad^2 can be kept from 20 dBW on, cross section {words}",
            paper="20 dBW",
            unit="dBW",
            measure=needed_dbw(model),
            near=(-NO_LIMIT, 20.0),
            right=(-NO_LIMIT, 20.0),
            how="power all of which, in one beam on the target, meets (27)",
            why="cos(beta / 2) is 0.355 at the paper's target, and no precoder makes up for it",
        )
        for model, words in (("cos_half", "as printed"), ("monostatic", "monostatic"))
    ),
    *(
        Claim(
            figure=5,
            text=f"{words}, least rate at {power} dBW, {kind}",
            paper=f"{paper} %",
            unit="%",
            measure=measure(5, "min_rate", over, under, power_dbw=power),
            near=near,
            right=(0.0, NO_LIMIT),
            how=how,
            why=f"{DROPS_WHY}; {MEANS_WHY}",
        )
        for words, over, under, power, paper, near in (
            ("SDMA: radar sequence and SIC over no sequence", SDMA_SIC, SDMA_PLAIN, 20, 90, (70.0, 110.0)),
            ("SDMA: radar sequence and SIC over no sequence", SDMA_SIC, SDMA_PLAIN, 30, 2, (1.0, 4.0)),
            ("RSMA over SDMA, radar sequence and SIC", RSMA_SIC, SDMA_SIC, 20, 76, (66.0, 86.0)),
            ("RSMA over SDMA, radar sequence and SIC", RSMA_SIC, SDMA_SIC, 30, 23, (18.0, 28.0)),
        )
        for kind, how, measure in (
            ("drop by drop", "mean of the ratios of each drop", gain_by_drop),
            ("of the means", "ratio of the mean least rates", gain),
        )
    ),
    Claim(
        figure=5,
        text="RSMA: radar sequence and SIC make no difference",
        paper="the same",
        unit="%",
        measure=disagreement,
        near=(0.0, 0.5),
        right=(0.0, 5.0),
        how="highest less lowest least rate of the three modes over their mean, mean over drops and powers",
        why="a local optimum in some of the drops",
    ),
    *(
        Claim(
            figure=6,
            text=f"{access.upper()}: share of the {stream} at {power} dBW",
            paper=paper,
            unit="%",
            measure=mean(6, "share", case_name(access, power), factor=100.0, stream=stream),
            near=near,
            right=right,
            how="mean over the drops",
            why=why,
        )
        for access, stream, power, paper, near, right, why in (
            ("sdma", STREAMS[0], 20, "majority", (50.0, 100.0), (25.0, 100.0), DROPS_WHY),
            ("sdma", STREAMS[0], 30, "about 4 %", (3.0, 5.0), (1.0, 10.0), DROPS_WHY),
            ("rsma", STREAMS[1], 20, "majority", (50.0, 100.0), (25.0, 100.0), DROPS_WHY),
            (
                "rsma",
                STREAMS[1],
                30,
                "about 18 %",
                (15.0, 21.0),
                (5.0, 40.0),
                "its own algorithm gives the same shares here; the paper may show one drop, and half of those here lie "
                "between 20 and 28 %",
            ),
            (
                "rsma",
                STREAMS[0],
                20,
                "none",
                (0.0, 1.0),
                (0.0, 10.0),
                "a cancelled sequence and a common stream serve the target alike, so the split between them is free",
            ),
        )
    ),
    *(
        Claim(
            figure=7,
            text=f"{mode}: sub-peaks are lower with 4e-7 than with 8e-7 rad^2",
            paper="reduced",
            unit="dB",
            measure=reduction(mode),
            near=(1.0, NO_LIMIT),
            right=(0.0, NO_LIMIT),
            how="highest value outside of the target's beam over the highest inside, mean difference over the drops",
        )
        for mode in RADAR_MODES
    ),
    *(
        Claim(
            figure=7,
            text=f"SDMA with s_R above RSMA without, highest sub-peak, {words} rad^2",
            paper="no significant difference",
            unit="dB",
            measure=apart(stream),
            near=(-0.5, 0.5),
            right=(-3.0, 3.0),
            how="mean difference over the drops, of the same noise",
            why="where users are near the target, the common stream sends it more than is asked",
        )
        for words, stream in (("8e-7", LOOSE), ("4e-7", TIGHT))
    ),
    *(
        Claim(
            figure=7,
            text=f"the highest peak is the target's, {words} rad^2",
            paper="accurate",
            unit="%",
            measure=right_share(stream),
            near=(95.0, 100.0),
            right=(50.0, 100.0),
            how="share of the drops, both modes",
            why=MUSIC_WHY,
        )
        for words, stream in (("8e-7", LOOSE), ("4e-7", TIGHT))
    ),
    Claim(
        figure=8,
        text="a wrong AOA: the highest output is the echo",
        paper="fails",
        unit="%",
        measure=pooled(8, "share", MISSED, 100.0),
        near=(0.0, 10.0),
        right=(0.0, 50.0),
        how="share of the drops in which MUSIC tells a wrong AOA, both modes",
        why="a wrong AOA in a side lobe of the target still hears it",
    ),
    Claim(
        figure=8,
        text="the right AOA: the highest output is the echo",
        paper="accurate",
        unit="%",
        measure=pooled(8, "share", TOLD, 100.0),
        near=(95.0, 100.0),
        right=(50.0, 100.0),
        how="share of the drops, both modes, AOA the highest MUSIC value in the target's beam",
        why="where MUSIC tells nothing, its highest value in the beam may be next to a null",
    ),
    Claim(
        figure=8,
        text="a sharp peak with the right AOA only: above all else, less the same of a wrong AOA",
        paper="sharp",
        unit="dB",
        measure=lambda tables: (
            pooled(8, "margin_db", TOLD)(tables)[0] - pooled(8, "margin_db", MISSED)(tables)[0],
            math.hypot(pooled(8, "margin_db", TOLD)(tables)[1], pooled(8, "margin_db", MISSED)(tables)[1]),
        ),
        near=(6.0, NO_LIMIT),
        right=(0.0, NO_LIMIT),
        how="highest output over the highest outside of its main lobe in delay and Doppler, difference of the means",
    ),
)
