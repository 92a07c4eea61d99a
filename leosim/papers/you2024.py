"""L. You et al., "Integrated communications and localization for massive MIMO LEO satellite systems", 2024: Figs. 3-5.

Fig. 6 is not in the paper: what rate a position bound costs, and the direct design. Readings of what the paper leaves
open, and why some of it does not come out, are in docs/reproduce-you2024.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from leosim import channel, joint, ofdm, position_design
from leosim.ical import codebook, hybrid, hybrid_admm
from leosim.joint import Problem
from leosim.papers import Claim, Figure, Row
from leosim.papers._measures import Measured, Tables, mean, ratio, values
from leosim.records import Terminals
from leosim.report.paper_figures import Plot
from leosim.streams import generator
from leosim.units import MEAN_EARTH_RADIUS_M, db_to_linear

TITLE = "Integrated communications and localization for massive MIMO LEO satellite systems"
CITATION = (
    "L. You, X. Qiang, Y. Zhu, F. Jiang, C. G. Tsinos, W. Wang, H. Wymeersch, X. Gao, B. Ottersten, Integrated "
    "communications and localization for massive MIMO LEO satellite systems, IEEE Transactions on Wireless "
    "Communications 23(9), 2024, doi:10.1109/TWC.2024.3378305"
)
DROPS = 4  # when none are asked for

# ---------------------------------------------------------------------------------------------
# The setup of Section V and Table I


ALTITUDE_M = 200e3
NADIR_RAD = math.pi / 6
SPEED_M_S = 10.0
SIDE = 24
USERS = 9
CHAINS = 36
SATELLITE_GAIN_DB = 6.0
K_FACTOR_DB = 18.0
NOISE_W = 30e3 * db_to_linear(-174.0 - 30.0)  # -174 dBm/Hz over a subcarrier
POWER_DBW = 26
POWERS_DBW = (6, 11, 16, 21, 26, 30)
FADES = 1000


@dataclass(frozen=True)
class Reading:
    """What the paper leaves open, or what its figures contradict.

    sd : weight of the distance to the localisation-only precoder in (36), over the printed one: fitted to the
        85 bit/s/Hz and 5 m of the text; 1 is as printed
    layout : of the sub-arrays of the partially connected structure: "contiguous", "tiles" or "interleaved"
    bandwidth_mhz : that (14) is divided by: 15.36, of the subcarriers, or 20, as in Table I
    """

    sd: float = 2.7
    layout: str = "contiguous"
    bandwidth_mhz: float = 15.36

    def __post_init__(self) -> None:
        if self.layout not in joint.LAYOUTS[2:]:
            raise ValueError(f"layout: expected one of {', '.join(joint.LAYOUTS[2:])}, got {self.layout!r}")
        if not 0.0 <= self.sd < math.inf:
            raise ValueError(f"sd: expected a number of at least 0, got {self.sd!r}")
        if not 0.0 < self.bandwidth_mhz < math.inf:
            raise ValueError(f"bandwidth_mhz: expected a number above 0, got {self.bandwidth_mhz!r}")


def scene(power_dbw: float, drop: int, seed: int = 1) -> Terminals:
    """Terminals of one random drop below the satellite: both angles of departure uniform within 30 degrees of nadir.

    Velocities uniform within 10 m/s an axis; the satellite at rest, as in (58). Ranges of a spherical Earth.
    """
    rng = generator(seed, "you2024 terminals", drop)
    theta_x, theta_y = 0.5 * math.pi + NADIR_RAD * rng.uniform(-1.0, 1.0, (2, USERS))
    direction = np.stack(
        [np.sin(theta_y) * np.cos(theta_x), np.cos(theta_y), np.sin(theta_y) * np.sin(theta_x)], axis=1
    )
    far = (MEAN_EARTH_RADIUS_M + ALTITUDE_M) * direction[:, 2]  # to the point of the ray nearest to Earth's centre
    miss2 = (MEAN_EARTH_RADIUS_M + ALTITUDE_M) ** 2 * (1.0 - direction[:, 2] ** 2)
    range_m = far - np.sqrt(MEAN_EARTH_RADIUS_M**2 - miss2)
    wave = ofdm.paper()
    return Terminals(
        t_ns=0,
        sat=0,
        rows=SIDE,
        columns=SIDE,
        power_w=float(db_to_linear(power_dbw)),
        asked_m=5.0,
        waveform=wave,
        sat_pos_ecef=np.zeros(3),
        sat_vel_ecef=np.zeros(3),
        axes=np.eye(3),
        user=np.arange(USERS),
        pos_ecef=range_m[:, None] * direction,
        vel_ecef=rng.uniform(-SPEED_M_S, SPEED_M_S, (USERS, 3)),
        gamma=db_to_linear(SATELLITE_GAIN_DB) * SIDE**2 * channel.free_space_gain(range_m, wave.carrier_hz),
        kappa=np.full(USERS, db_to_linear(K_FACTOR_DB)),
        noise_w=np.full(USERS, NOISE_W),
    )


# ---------------------------------------------------------------------------------------------
# Precoders and what they are worth


@dataclass(frozen=True)
class Sky:
    """A drop at one power: its problem, its communication and its localisation-only precoder [block, ant, stream]."""

    p: Problem
    communication: np.ndarray
    located: np.ndarray


def sky(power_dbw: float, drop: int, seed: int = 1) -> Sky:
    """A drop, with the two precoders that every weight rho starts from, the second turned to the first."""
    p = joint.problem(scene(power_dbw, drop, seed))
    communication = hybrid_admm.regularised(p)
    return Sky(p, communication, hybrid_admm.aligned(position_design.localisation_only(p), communication))


FULLY, PARTIALLY, DIGITAL, DIRECTIONAL = "fully connected", "partially connected", "fully digital", "directional beams"


def name(structure: str, rho: float) -> str:
    """A line of Figs. 4 and 5."""
    return f"{structure}, ρ = {rho:g}"


def settings(structure: str, rho: float, reading: Reading | None) -> hybrid_admm.Params:
    """The parameters of Algorithm 1."""
    taken = reading or Reading()
    layout = taken.layout if structure == PARTIALLY else "fully_connected"
    return hybrid_admm.Params(rho=rho, sd=taken.sd, chains=CHAINS, layout=layout)


def states(here: Sky, params: hybrid_admm.Params, cold: bool = False) -> Iterator[hybrid_admm.State]:
    """The iterations of Algorithm 1, from the digital precoder of the same weights, or cold, from zero forcing."""
    t = hybrid_admm.task(here.p, here.located, params.rho, params.sd)
    begin = here.communication if cold else hybrid_admm.digital(here.p, t, here.communication)
    return hybrid_admm.iterations(here.p, t, hybrid_admm.first(here.p, t, begin, params), params)


def precoder(here: Sky, structure: str, rho: float, reading: Reading | None = None) -> np.ndarray:
    """The precoder [block, ant, stream] of a structure and a weight, at the whole power."""
    params = settings(structure, rho, reading)
    if structure == DIGITAL:
        t = hybrid_admm.task(here.p, here.located, rho, params.sd)
        return hybrid_admm.digital(here.p, t, here.communication)
    *_, last = states(here, params)
    return spent(here.p, last.written())


def spent(p: Problem, w: np.ndarray) -> np.ndarray:
    """A precoder at the whole power."""
    return np.asarray(w * math.sqrt(p.power_w / p.total_power_w(w)))


def worth(p: Problem, w: np.ndarray, reading: Reading | None = None) -> Row:
    """Sum spectral efficiency (bit/s/Hz), average and largest position error bound (m) of a precoder."""
    gains = p.gains(w)
    speb = p.speb(gains)[0]
    share = 15.36 / (reading or Reading()).bandwidth_mhz
    return {
        "se": share * float(p.rate(gains)[0].sum()),
        "apeb_m": joint.apeb_m(speb),
        "worst_m": math.sqrt(float(speb.max())),
    }


def ergodic(p: Problem, w: np.ndarray, rng: np.random.Generator, reading: Reading | None = None) -> float:
    """The ergodic sum spectral efficiency, Eq. (10), by Monte Carlo over Rician gains, of which (13) is the bound."""
    kappa = p.link.kappa[:, None]
    normal = rng.normal(size=(p.terminals, FADES, 2)) @ np.array([1.0, 1j]) / math.sqrt(2.0)
    fade = np.abs(np.sqrt(kappa / (1.0 + kappa)) + normal / np.sqrt(1.0 + kappa)) ** 2  # |g|^2 / gamma
    power = np.abs(p.gains(w)[:, :, 0]) ** 2 * p.link.gamma[:, None, None]
    wanted = np.einsum("kbk->kb", power)[:, :, None] * fade[:, None, :]
    everything = power.sum(axis=-1)[:, :, None] * fade[:, None, :] + p.link.noise_w[:, None, None]
    share = 15.36 / (reading or Reading()).bandwidth_mhz
    return share * float(np.log2(everything / (everything - wanted)).mean(axis=(1, 2)).sum())


# ---------------------------------------------------------------------------------------------
# The figures: rows of one drop


SHOWN = (0, 1, 2, 4, 7, 10, 15, 20, 30, 40, 50, 60, 80, 100, 125, 150, 175, 200)
RUNS: dict[str, tuple[float, float, bool]] = {
    "26 dBW, ρ = 0.7": (26, 0.7, False),
    "26 dBW, ρ = 0.3": (26, 0.3, False),
    "16 dBW, ρ = 0.7": (16, 0.7, False),
    "26 dBW, ρ = 0.7, from zero forcing": (26, 0.7, True),
}
WARM, COLD = next(iter(RUNS)), list(RUNS)[-1]


def figure_3(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Spectral efficiency and bound of the product W_RF W_BB, at the whole power, against the iterations."""
    skies = {power_dbw: sky(power_dbw, drop, seed) for power_dbw in {power for power, _, _ in RUNS.values()}}
    for system, (power_dbw, rho, cold) in RUNS.items():
        here = skies[power_dbw]
        params = replace(settings(FULLY, rho, reading), iterations=SHOWN[-1], tolerance=0.0)
        for i, state in enumerate(states(here, params, cold)):
            if i in SHOWN:
                found = worth(here.p, spent(here.p, state.written()), reading)
                yield {"system": system, "iteration": i, **found}


RHOS = (0.0, 0.3, 0.7, 1.0)


def figure_4(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Fully connected: spectral efficiency, its Monte Carlo value, and bound against the power, for weights rho."""
    for power_dbw in POWERS_DBW:
        here = sky(power_dbw, drop, seed)
        for rho in RHOS:
            w = precoder(here, FULLY, rho, reading)
            fades = generator(seed, "you2024 fades", drop)
            about = {"system": f"ρ = {rho:g}", "power_dbw": power_dbw}
            yield {**about, **worth(here.p, w, reading), "ergodic": ergodic(here.p, w, fades, reading)}


STRATEGIES = tuple((structure, rho) for structure in (FULLY, PARTIALLY, DIGITAL) for rho in (0.0, 0.7, 1.0))
STRATEGY_POWERS_DBW = POWERS_DBW[:-1]


def figure_5(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Spectral efficiency and bound against the power, of the structures and of directional beams."""
    for power_dbw in STRATEGY_POWERS_DBW:
        here = sky(power_dbw, drop, seed)
        for structure, rho in STRATEGIES:
            w = precoder(here, structure, rho, reading)
            yield {"system": name(structure, rho), "power_dbw": power_dbw, **worth(here.p, w, reading)}
        found = codebook.design(scene(power_dbw, drop, seed), None, codebook.Params())
        w = joint.weights(found, SIDE, SIDE, here.p.waveform)
        yield {"system": DIRECTIONAL, "power_dbw": power_dbw, **worth(here.p, w, reading)}


WEIGHTS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0)
TARGETS_M = (2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 60.0, 120.0)


def figure_6(drop: int, seed: int = 1, reading: Reading | None = None) -> Iterator[Row]:
    """Not in the paper: spectral efficiency against bound, of Algorithm 1 over rho and of `hybrid` over its targets."""
    here, terminals = sky(POWER_DBW, drop, seed), scene(POWER_DBW, drop, seed)
    for structure in (FULLY, PARTIALLY):
        for rho in WEIGHTS:
            found = worth(here.p, precoder(here, structure, rho, reading), reading)
            yield {"system": f"Algorithm 1 over ρ, {structure}", "setting": rho, **found}
        for asked_m in TARGETS_M:
            params = hybrid.Params(chains=CHAINS, layout=settings(structure, 0.7, reading).layout)
            made = hybrid.design(terminals.replace(asked_m=asked_m), None, params)
            found = worth(here.p, joint.weights(made, SIDE, SIDE, here.p.waveform), reading)
            yield {"system": f"direct design over its target, {structure}", "setting": asked_m, **found}


SE, APEB, BUDGET = "spectral efficiency (bit/s/Hz)", "average position error bound (m)", "power budget (dBW)"
FIGURES = {
    3: Figure(
        figure_3,
        Plot(
            "convergence of Algorithm 1",
            "iteration",
            "iteration",
            "se",
            SE,
            "panels",
            second="apeb_m",
            second_label=APEB,
        ),
        reads=("sd", "bandwidth_mhz"),
    ),
    4: Figure(
        figure_4,
        Plot(
            "rate and position over power, fully connected",
            "power_dbw",
            BUDGET,
            "se",
            SE,
            "panels",
            second="apeb_m",
            second_label=APEB,
            marks="ergodic",
            marks_label="Monte Carlo",
        ),
        reads=("sd", "bandwidth_mhz"),
    ),
    5: Figure(
        figure_5,
        Plot(
            "rate and position of the structures",
            "power_dbw",
            BUDGET,
            "se",
            SE,
            "panels",
            second="apeb_m",
            second_label=APEB,
            family=3,
            under=DIGITAL,
        ),
        reads=("sd", "layout", "bandwidth_mhz"),
    ),
    6: Figure(
        figure_6,
        Plot(
            "what a position bound costs (not in the paper)",
            "apeb_m",
            APEB,
            "se",
            SE,
            "trade",
            second="setting",
        ),
        reads=("sd", "layout", "bandwidth_mhz"),
        note=f"{POWER_DBW} dBW",
    ),
}


# ---------------------------------------------------------------------------------------------
# What the text says of them


NO_LIMIT = math.inf
HEADLINE = "ρ = 0.7"
FITTED_WHY = (
    "one weight sd is fitted to both numbers, and a larger one moves along Algorithm 1's own trade: 1 bit/s/Hz costs "
    "about 0.2 m here"
)


def change(figure: int, column: str, over: str, under: str, **at: float) -> Callable[[Tables], Measured]:
    """How much more one system has than another at an abscissa, mean over the drops in the column's own unit."""
    return lambda tables: spread(
        values(tables[figure], column, over, **at) - values(tables[figure], column, under, **at)
    )


def times(figure: int, column: str, over: str, under: str, **at: float) -> Callable[[Tables], Measured]:
    """One system's mean over another's at an abscissa, less one (%)."""
    return lambda tables: ratio(*(values(tables[figure], column, system, **at) for system in (over, under)))


def spread(x: np.ndarray) -> Measured:
    """Mean over the drops and its standard error."""
    error = float(x.std(ddof=1)) / math.sqrt(x.size) if x.size > 1 else math.nan
    return float(x.mean()), error


def history(tables: Tables, column: str, system: str) -> np.ndarray:
    """A column of Fig. 3: [drop, iteration]."""
    return np.stack([values(tables[3], column, system, iteration=i) for i in SHOWN], axis=1)


def setback(column: str, system: str, better: float) -> Callable[[Tables], Measured]:
    """How far the last iteration is behind the best one (%); better: 1 if more is, -1 if less is."""

    def measure(tables: Tables) -> Measured:
        run = history(tables, column, system)
        best = (better * run).max(axis=1) * better
        return spread(100.0 * better * (best - run[:, -1]) / best)

    return measure


def settled(column: str, system: str) -> Callable[[Tables], Measured]:
    """How much the second half of the iterations still changes (%)."""

    def measure(tables: Tables) -> Measured:
        run = history(tables, column, system)[:, SHOWN.index(SHOWN[-1] // 2) :]
        return spread(100.0 * (run.max(axis=1) - run.min(axis=1)) / run[:, -1])

    return measure


def looseness(tables: Tables) -> Measured:
    """The largest mean gap of the bound (13) over the ergodic rate, of all powers and weights (%)."""
    table = tables[4].assign(gap=100.0 * (tables[4]["se"] / tables[4]["ergodic"] - 1.0))
    return max(spread(group["gap"].to_numpy()) for _, group in table.groupby(["system", "power_dbw"]))


def least_step(column: str, sign: float, system: str) -> Callable[[Tables], Measured]:
    """The least improvement from one power to the next (%), of the means."""

    def measure(tables: Tables) -> Measured:
        steps = [
            ratio(*(values(tables[4], column, system, power_dbw=x) for x in (high, low)))
            for low, high in pairwise(POWERS_DBW)
        ]
        value, error = min((sign * value, error) for value, error in steps)
        return value, error

    return measure


CLAIMS = (
    *(
        Claim(
            figure=3,
            text=f"{words} tends to be better with the iterations, {start}",
            paper="better",
            unit="%",
            measure=setback(column, system, better),
            near=(0.0, 2.0),
            right=(0.0, 20.0),
            how="what the last iteration is behind the best one, 26 dBW, ρ = 0.7",
            why="ADMM moves along the trade between the two: its copies need not agree before the end, and where one "
            "of the two is better on the way the other is worse",
        )
        for start, system in (("from the digital precoder", WARM), ("from zero forcing", COLD))
        for words, column, better in (("the SE", "se", 1.0), ("the APEB", "apeb_m", -1.0))
    ),
    *(
        Claim(
            figure=3,
            text=f"{words} converges, {start}",
            paper="yes",
            unit="%",
            measure=settled(column, system),
            near=(0.0, 2.0),
            right=(0.0, 10.0),
            how="range over iterations 100 to 200, 26 dBW, ρ = 0.7",
            why="not in 200 iterations from there; it does from the digital precoder of the same problem",
        )
        for start, system in (("from the digital precoder", WARM), ("from zero forcing", COLD))
        for words, column in (("the SE", "se"), ("the APEB", "apeb_m"))
    ),
    Claim(
        figure=4,
        text="the bound (13) of the ergodic rate is tight",
        paper="tight",
        unit="%",
        measure=looseness,
        near=(0.0, 1.0),
        right=(0.0, 5.0),
        how="bound over Monte Carlo, the largest over powers and weights",
    ),
    Claim(
        figure=4,
        text="26 dBW, ρ = 0.7: sum SE",
        paper="about 85 bit/s/Hz",
        unit="bit/s/Hz",
        measure=mean(4, "se", HEADLINE, power_dbw=26),
        near=(82.0, 88.0),
        right=(70.0, 100.0),
        how="fully connected, mean over the drops",
        why=FITTED_WHY,
    ),
    Claim(
        figure=4,
        text="26 dBW, ρ = 0.7: localisation precision of each UT",
        paper="< 5 m",
        unit="m",
        measure=mean(4, "worst_m", HEADLINE, power_dbw=26),
        near=(0.0, 5.0),
        right=(0.0, 7.5),
        how="the largest bound of a drop, mean over the drops",
        why=FITTED_WHY,
    ),
    Claim(
        figure=4,
        text="26 dBW, ρ = 0.7: the same on average, APEB",
        paper="< 5 m",
        unit="m",
        measure=mean(4, "apeb_m", HEADLINE, power_dbw=26),
        near=(0.0, 5.0),
        right=(0.0, 7.5),
        how="mean over the drops",
        why=FITTED_WHY,
    ),
    Claim(
        figure=4,
        text="26 dBW: ICAL (ρ = 0.7) has a lower APEB than pure communication",
        paper="outperforms",
        unit="%",
        measure=times(4, "apeb_m", HEADLINE, "ρ = 1", power_dbw=26),
        near=(-100.0, -50.0),
        right=(-100.0, 0.0),
        how="relative change of the mean",
    ),
    Claim(
        figure=4,
        text="26 dBW: ICAL (ρ = 0.7) has a higher SE than pure localisation",
        paper="outperforms",
        unit="bit/s/Hz",
        measure=change(4, "se", HEADLINE, "ρ = 0", power_dbw=26),
        near=(10.0, NO_LIMIT),
        right=(0.0, NO_LIMIT),
        how="mean difference",
    ),
    *(
        Claim(
            figure=4,
            text=f"the {words} improves with the power, {system}",
            paper="yes",
            unit="%",
            measure=least_step(column, sign, system),
            near=(0.0, NO_LIMIT),
            right=(-5.0, NO_LIMIT),
            how="least improvement of the mean from one power to the next, 6 to 30 dBW",
            why="the distance in (36) grows with the power and the MSE does not, so with a fixed weight ρ position "
            "gains on rate as the power grows",
        )
        for system in ("ρ = 0.3", HEADLINE)
        for words, column, sign in (("SE", "se", 1.0), ("APEB", "apeb_m", -1.0))
    ),
    *(
        Claim(
            figure=4,
            text=f"26 dBW: ρ = 0.3 has a {words} than ρ = 0.7",
            paper=words,
            unit="%",
            measure=times(4, column, "ρ = 0.3", HEADLINE, power_dbw=26),
            near=(-100.0, -10.0),
            right=(-100.0, 0.0),
            how="relative change of the mean",
        )
        for words, column in (("better (lower) APEB", "apeb_m"), ("lower SE", "se"))
    ),
    *(
        Claim(
            figure=5,
            text=f"fully connected as good as fully digital, {words}",
            paper="comparable",
            unit="%",
            measure=times(5, column, name(FULLY, rho), name(DIGITAL, rho), power_dbw=26),
            near=(-3.0, 3.0),
            right=(-15.0, 15.0),
            how="relative change of the mean, 26 dBW",
        )
        for words, column, rho in (
            ("SE of pure communication", "se", 1.0),
            ("APEB of pure localisation", "apeb_m", 0.0),
            ("SE at ρ = 0.7", "se", 0.7),
            ("APEB at ρ = 0.7", "apeb_m", 0.7),
        )
    ),
    *(
        Claim(
            figure=5,
            text=f"6 dBW: partially connected, ρ = 0, has a {words} than fully connected, ρ = 0.7",
            paper=words,
            unit="%",
            measure=times(5, column, name(PARTIALLY, 0.0), name(FULLY, 0.7), power_dbw=6),
            near=(-100.0, -10.0),
            right=(-100.0, 0.0),
            how="relative change of the mean",
        )
        for words, column in (("lower APEB", "apeb_m"), ("lower SE", "se"))
    ),
    *(
        Claim(
            figure=5,
            text=f"{power} dBW: directional beams have the {words} of all",
            paper="worst",
            unit="%",
            measure=times(5, column, DIRECTIONAL, name(PARTIALLY, 0.7), power_dbw=power),
            near=near,
            right=right,
            how="over the partially connected structure, ρ = 0.7, the next in line: relative change of the mean",
            why="36 contiguous sub-arrays of 16 antennas lose more than interference between 9 beams of 576 does",
        )
        for power in (16, 26)
        for words, column, near, right in (
            ("lowest SE", "se", (-100.0, 0.0), (-100.0, 5.0)),
            ("highest APEB", "apeb_m", (0.0, NO_LIMIT), (-5.0, NO_LIMIT)),
        )
    ),
)
