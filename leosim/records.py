"""Records: frozen dataclasses of arrays with named axes and units.

What flows between the steps of an epoch is what is logged and what a resumed run reads back.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import nan
from typing import Any, ClassVar, Self

import numpy as np

from leosim.ofdm import Waveform

# One vocabulary of axes. `pair`, `event`, `priced` and `entry` are ragged: their length differs from
# row to row, and the log keeps them as contiguous ragged arrays (CF conventions) with a size a row.
RAGGED_AXES = (
    "pair",
    "priced",
    "event",
    "beam",
    "direction",
    "stream",
    "term",
    "receiver",
    "coupling",
    "steady",
    "weight",
    "target",
    "model",
    "shifter",
)
# A matrix has each of its two axes by a name of its own.
MEASURE = ("u", "w", "bistatic_range", "doppler")
STATE = ("east", "north", "up", "vel_east", "vel_north", "vel_up")
FIXED_AXES = {
    "xyz": ("x", "y", "z"),
    "cosine": ("along", "cross"),
    "measure": MEASURE,
    "by_measure": MEASURE,
    "state": STATE,
    "by_state": STATE,
    "by_xyz": ("x", "y", "z"),
    "body": ("along", "cross", "nadir"),
}
STATIC_AXES = ("user", "sat", "entry")
_FIXED_LENGTHS = {name: len(labels) for name, labels in FIXED_AXES.items()}


@dataclass(frozen=True)
class Field:
    """What the log and a reader need to know of one array of a record."""

    axes: tuple[str, ...]
    dtype: str
    unit: str
    doc: str
    source: str
    logged: bool


def array(
    *axes: str,
    dtype: str = "f8",
    unit: str = "1",
    doc: str = "",
    source: str = "",
    logged: bool = True,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declare an array field of a record: its axes, dtype, unit, meaning and source equation.

    default : a number stands for that number all along the axes, () for an empty array
    """
    return dataclasses.field(
        default=default, metadata={"array": Field(axes, dtype, unit, doc, source, logged), "fill": np.isscalar(default)}
    )


_FIELDS_OF: dict[type[Record], dict[str, Field]] = {}  # each class is read once


@dataclass(frozen=True)
class Record:
    """Base of all records: casts each declared array to its dtype and checks that axes agree.

    Raises ValueError when an array has the wrong number of axes, or two arrays of one record
    disagree on the length of an axis they share.
    """

    GROUP: ClassVar[str] = ""

    def __post_init__(self) -> None:
        lengths = dict(_FIXED_LENGTHS)
        for name, spec in self.array_fields().items():
            given = getattr(self, name)
            if type(given) is np.ndarray and given.dtype == spec.dtype and given.flags.c_contiguous and given.ndim:
                value = given  # as nearly all are, hundreds of times an epoch
            elif spec.dtype == "str":
                value = np.asarray(given, dtype=np.str_)
            elif np.isscalar(given) and self.__dataclass_fields__[name].metadata["fill"]:
                value = np.full([lengths[axis] for axis in spec.axes], given, dtype=spec.dtype)
            else:
                value = np.ascontiguousarray(given, dtype=spec.dtype)
                value = value.reshape(()) if not spec.axes else value
            if value.ndim != len(spec.axes):
                raise ValueError(
                    f"{type(self).__name__}.{name}: expected axes {spec.axes}, got an array of shape {value.shape}"
                )
            for axis, length in zip(spec.axes, value.shape, strict=True):
                if lengths.setdefault(axis, length) != length:
                    raise ValueError(
                        f"{type(self).__name__}.{name}: axis {axis!r} has length {length}, "
                        f"but {lengths[axis]} elsewhere in the record"
                    )
            if value is not given:
                object.__setattr__(self, name, value)

    @classmethod
    def array_fields(cls) -> dict[str, Field]:
        """The declared arrays by name, in order."""
        known = _FIELDS_OF.get(cls)
        if known is None:
            known = {f.name: f.metadata["array"] for f in dataclasses.fields(cls) if "array" in f.metadata}
            _FIELDS_OF[cls] = known
        return known

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)


# ---------------------------------------------------------------------------------------------
# What a run knows before t = 0


@dataclass(frozen=True)
class Catalogue(Record):
    """The satellites a run flies, in order of catalogue number."""

    GROUP: ClassVar[str] = "satellites"
    sat: np.ndarray = array("sat", dtype="i4", doc="catalogue number")
    name: np.ndarray = array("sat", dtype="str", doc="name of the satellite")
    epoch_ns: np.ndarray = array("sat", dtype="i8", unit="ns", doc="epoch of the elements, since 1970 UTC")
    inclination_rad: np.ndarray = array("sat", unit="rad", doc="inclination of the elements")
    perigee_m: np.ndarray = array("sat", unit="m", doc="perigee height over 6378.135 km")
    apogee_m: np.ndarray = array("sat", unit="m", doc="apogee height over 6378.135 km")
    fail_ns: np.ndarray = array(
        "sat", dtype="i8", unit="ns", doc="time since the start from which the satellite is out; -1: never"
    )


@dataclass(frozen=True)
class Users(Record):
    """The users on the ground, WGS-84, where they are at the start."""

    GROUP: ClassVar[str] = "users"
    name: np.ndarray = array("user", dtype="str", doc="name of the site")
    lat_rad: np.ndarray = array("user", unit="rad", doc="geodetic latitude")
    lon_rad: np.ndarray = array("user", unit="rad", doc="longitude, east positive")
    alt_m: np.ndarray = array("user", unit="m", doc="height above the ellipsoid")
    mask_rad: np.ndarray = array("user", unit="rad", doc="lowest elevation at which a satellite may serve")
    pos_ecef: np.ndarray = array("user", "xyz", unit="m", doc="position, ITRS")
    speed_m_s: np.ndarray = array("user", unit="m s-1", doc="speed along a great circle at this height", default=0.0)
    heading_rad: np.ndarray = array(
        "user", unit="rad", doc="direction of travel at the start, from north to east", default=0.0
    )


@dataclass(frozen=True)
class Quarantine(Record):
    """Element sets and satellites kept out of the run, each with its reason."""

    GROUP: ClassVar[str] = "quarantine"
    sat: np.ndarray = array("entry", dtype="i4", doc="catalogue number; -1: not readable")
    name: np.ndarray = array("entry", dtype="str", doc="name, as far as readable")
    file: np.ndarray = array("entry", dtype="str", doc="name of the file")
    line: np.ndarray = array("entry", dtype="i4", doc="line (or record) of the file, from 1")
    reason: np.ndarray = array("entry", dtype="str", doc="why it is out")
    from_ns: np.ndarray = array(
        "entry", dtype="i8", unit="ns", doc="time since the start from which it is out; 0: from the beginning"
    )


# ---------------------------------------------------------------------------------------------
# What flows through one epoch; t_ns is the time since the start of the run


@dataclass(frozen=True)
class Satellites(Record):
    """Positions and velocities of the satellites alive at one instant."""

    t_ns: int
    sat: np.ndarray = array("sat", dtype="i4", doc="catalogue number")
    pos_ecef: np.ndarray = array("sat", "xyz", unit="m", doc="position, ITRS")
    vel_ecef: np.ndarray = array("sat", "xyz", unit="m s-1", doc="velocity in the rotating frame, ITRS")


@dataclass(frozen=True)
class Geometry(Record):
    """Every satellite above a user's mask: ragged pairs, users in order, satellites by catalogue number."""

    GROUP: ClassVar[str] = "geometry"
    t_ns: int
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    sat: np.ndarray = array("pair", dtype="i4", doc="catalogue number")
    range_m: np.ndarray = array("pair", unit="m", doc="slant range")
    elevation_rad: np.ndarray = array("pair", unit="rad", doc="elevation of the satellite at the user")
    azimuth_rad: np.ndarray = array("pair", unit="rad", doc="azimuth at the user, from north to east")
    range_rate_m_s: np.ndarray = array("pair", unit="m s-1", doc="rate of the slant range; positive: receding")
    cosines: np.ndarray = array(
        "pair",
        "cosine",
        doc="direction cosines of the user on the satellite's along-track and cross-track axes",
        logged=False,
    )


@dataclass(frozen=True)
class ChannelStats(Record):
    """Channel statistics of satellite-user pairs, satellites by catalogue number, then users in order."""

    t_ns: int
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    sat: np.ndarray = array("pair", dtype="i4", doc="catalogue number")
    range_m: np.ndarray = array("pair", unit="m", doc="slant range")
    elevation_rad: np.ndarray = array("pair", unit="rad", doc="elevation of the satellite at the user")
    cosines: np.ndarray = array("pair", "cosine", doc="direction cosines of the user at the satellite")
    beta: np.ndarray = array("pair", doc="large-scale power gain without the array gain", source="Eq. (6)")
    kappa: np.ndarray = array("pair", doc="Rician K-factor, linear; 0: no line of sight")
    phase_rad: np.ndarray = array("pair", unit="rad", doc="frozen phase of the line of sight")
    delay_s: np.ndarray = array("pair", unit="s", doc="propagation delay")
    doppler_hz: np.ndarray = array("pair", unit="Hz", doc="Doppler shift; positive: approaching")


@dataclass(frozen=True)
class Csi(ChannelStats):
    """Statistical CSI as the central node is told it: all users in view of every candidate satellite."""

    GROUP: ClassVar[str] = "csi"
    candidate: np.ndarray = array("pair", dtype="u1", doc="1: the satellite may serve this user")
    remaining_s: np.ndarray = array("pair", unit="s", doc="time until the satellite sets below the user's mask")


@dataclass(frozen=True)
class Beams(Record):
    """Unit-norm beams of each satellite, each a combination of a few steering vectors.

    The beam of stream j is `exp(i phase_j) sum_t coefficient_t a(cosines of direction_t) / sqrt(N)` over its
    terms t: beams are never written out over the antennas, because every product a^H w is a closed form.
    Directions, streams of a satellite and terms of a stream are neighbours, in the order of `sat` and of the
    streams; streams of a satellite are in order of users. A beam that is one steering vector has one term.

    With `pilots`, user i sends pilot `i mod pilots`, and the satellite scales the beam of stream j with what it
    estimates of the channel's one random scalar (see `rates.couplings`).
    """

    t_ns: int
    sat: np.ndarray = array("beam", dtype="i4", doc="catalogue number")
    direction_size: np.ndarray = array("beam", dtype="i8", doc="directions of the satellite")
    stream_size: np.ndarray = array("beam", dtype="i8", doc="streams of the satellite")
    cosines: np.ndarray = array("direction", "cosine", doc="direction cosines of a steering vector")
    user: np.ndarray = array("stream", dtype="i4", doc="row of the user the stream is for")
    phase_rad: np.ndarray = array("stream", unit="rad", doc="phase put on the stream")
    term_size: np.ndarray = array("stream", dtype="i8", doc="steering vectors the beam is made of")
    direction: np.ndarray = array("term", dtype="i8", doc="steering vector, counted within the satellite")
    coefficient: np.ndarray = array("term", doc="weight of that steering vector")
    spot: np.ndarray = array("stream", dtype="i4", doc="number of the regional beam; -1: a beam of its own", default=-1)
    pilots: np.ndarray = array(
        dtype="i4", doc="orthogonal uplink pilots; 0: beams from statistics alone, nothing is estimated", default=0
    )
    pilot_noise: np.ndarray = array(unit="1", doc="noise power of the satellite over the pilot's power", default=0.0)

    def of(self, sat: np.ndarray, user: np.ndarray) -> Beams:
        """The beams of some pairs of catalogue number and user only, without steering vectors that none of them has."""
        of_stream = np.repeat(np.arange(self.sat.size), self.stream_size)
        of_direction = np.repeat(np.arange(self.sat.size), self.direction_size)
        of_term = np.repeat(of_stream, self.term_size)
        stream = np.isin(pair_code(self.sat[of_stream], self.user), pair_code(sat, user))
        term = np.repeat(stream, self.term_size)
        first = np.cumsum(self.direction_size) - self.direction_size
        needed = np.zeros(of_direction.size, dtype=bool)
        needed[(first[of_term] + self.direction)[term]] = True
        stream_size = np.bincount(of_stream[stream], minlength=self.sat.size)
        direction_size = np.bincount(of_direction[needed], minlength=self.sat.size)
        place = np.cumsum(needed) - 1 - (np.cumsum(direction_size) - direction_size)[of_direction]
        keep = {"beam": stream_size > 0, "direction": needed, "stream": stream, "term": term}
        kept = {
            name: getattr(self, name)[keep[spec.axes[0]]] for name, spec in self.array_fields().items() if spec.axes
        }
        kept["stream_size"], kept["direction_size"] = stream_size[keep["beam"]], direction_size[keep["beam"]]
        kept["direction"] = place[(first[of_term] + self.direction)[term]]
        return self.replace(**kept)


def pair_code(sat: np.ndarray, user: np.ndarray) -> np.ndarray:
    """One integer a pair, in order of catalogue number, then user."""
    return sat.astype(np.int64) << 32 | user.astype(np.int64)


@dataclass(frozen=True)
class Estimates(Record):
    """Beams made from channel estimates: the random weight eps of each stream's steering vector, E |eps|^2 = 1.

    `eps_j = start_j + sum_i (fading_ji conj(alpha_i) + noise_ji z_i)` over the users i of its pilot, its terms:
    alpha_i is the fading of the gain from the satellite to user i, z_i standard complex normal too. Receivers
    and streams are those of the couplings.
    """

    t_ns: int
    root_kappa: np.ndarray = array("receiver", doc="square root of the K-factor")
    start_re: np.ndarray = array("stream", doc="real part of the mean weight")
    start_im: np.ndarray = array("stream", doc="imaginary part of the mean weight")
    random: np.ndarray = array("stream", doc="share of the weight's power that is random")
    member_size: np.ndarray = array("stream", dtype="i8", doc="users of its pilot in view")
    member: np.ndarray = array("term", dtype="i8", doc="receiver, counted within the satellite")
    fading_re: np.ndarray = array("term", doc="real part of the weight of its fading")
    fading_im: np.ndarray = array("term", doc="imaginary part of the weight of its fading")
    noise: np.ndarray = array("term", doc="weight of the pilots' noise")


@dataclass(frozen=True)
class Couplings(Record):
    """Mean E and variance V of the gain from each stream to each user, a block a satellite, noise = 1.

    Block l is `[receiver, stream]` in C order; receivers and streams of one satellite are neighbours.
    Where beams are made from estimates, `spread` is that of their steering vectors, and `steady` is the part of E
    (real) that the phases of the channels do not turn: what a user's own pilot added to the beam.
    """

    t_ns: int
    sat: np.ndarray = array("beam", dtype="i4", doc="catalogue number")
    receiver_size: np.ndarray = array("beam", dtype="i8", doc="users in view of the satellite")
    stream_size: np.ndarray = array("beam", dtype="i8", doc="streams of the satellite")
    receiver: np.ndarray = array("receiver", dtype="i4", doc="row of the user in view")
    delay_s: np.ndarray = array("receiver", unit="s", doc="propagation delay to that user")
    doppler_hz: np.ndarray = array("receiver", unit="Hz", doc="Doppler shift at that user")
    stream: np.ndarray = array("stream", dtype="i4", doc="row of the user the stream is for")
    mean_re: np.ndarray = array("coupling", doc="real part of the mean gain", source="Eq. (22)")
    mean_im: np.ndarray = array("coupling", doc="imaginary part of the mean gain", source="Eq. (22)")
    variance: np.ndarray = array("coupling", doc="variance of the gain", source="Eq. (22)")
    spread_re: np.ndarray = array("coupling", doc="real part of the gain a unit of fading adds")
    spread_im: np.ndarray = array("coupling", doc="imaginary part of the gain a unit of fading adds")
    steady: np.ndarray = array("steady", doc="part of the mean that does not rotate, as long as E or empty", default=())
    estimates: Estimates | None = None


@dataclass(frozen=True)
class View(Record):
    """What a clustering policy sees: couplings built from belief, and the geometry of each candidate pair.

    Pairs are the streams of `couplings`: satellites by catalogue number, then users in order.
    cross_terms : how cross terms add (see `rates.Coherence`); gamma : [user, stream, sat, sat] their
    correlation under `finite`, else None.
    """

    t_ns: int
    csi_t_ns: int
    user_count: int
    couplings: Couplings
    cross_terms: str
    gamma: np.ndarray | None
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    sat: np.ndarray = array("pair", dtype="i4", doc="catalogue number")
    useful: np.ndarray = array("pair", doc="amplitude of the useful gain the allocation counts on")
    range_m: np.ndarray = array("pair", unit="m", doc="slant range")
    elevation_rad: np.ndarray = array("pair", unit="rad", doc="elevation")
    remaining_s: np.ndarray = array("pair", unit="s", doc="time until the satellite sets")


SERVED, NO_SATELLITE, NO_ROOM = 0, 1, 2
USER_STATUS = {SERVED: "served", NO_SATELLITE: "no satellite in view", NO_ROOM: "no room under K_max"}


@dataclass(frozen=True)
class Clusters(Record):
    """A decision: serving sets and powers, and all the memory the algorithm keeps for the next one."""

    GROUP: ClassVar[str] = "clusters"
    t_ns: int
    csi_t_ns: int
    effective_t_ns: int
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    sat: np.ndarray = array("pair", dtype="i4", doc="catalogue number of a serving satellite")
    amplitude: np.ndarray = array(
        "pair", doc="square root of the share of the satellite's power for this user", source="Eq. (22)"
    )
    status: np.ndarray = array("user", dtype="u1", doc="0 served, 1 no satellite in view, 2 no room under K_max")
    waited: np.ndarray = array("user", dtype="i4", doc="decisions in a row without room, this one included")
    challenger: np.ndarray = array("user", dtype="i4", doc="satellite waiting to take over; -1: none")
    challenger_since_ns: np.ndarray = array("user", dtype="i8", unit="ns", doc="since when it has been better")
    user_price: np.ndarray = array("user", doc="virtual uplink power, the dual price of the user's rate")
    priced_sat: np.ndarray = array("priced", dtype="i4", doc="catalogue number of a priced satellite")
    sat_price: np.ndarray = array("priced", doc="dual price of the satellite's power")
    spot: np.ndarray = array("pair", dtype="i4", doc="number of the regional beam; -1: a beam of its own", default=-1)


SOLVER_HELD = 6
SOLVER_STATUS = {
    0: "optimal",
    1: "fallback",
    2: "inaccurate",
    3: "nobody served",
    4: "uniform",
    5: "converged",
    SOLVER_HELD: "failed",
}


@dataclass(frozen=True)
class Solver(Record):
    """How a decision was found: status, effort, and the certificate of its quality."""

    GROUP: ClassVar[str] = "solver"
    t_ns: int
    status: np.ndarray = array(
        dtype="u1",
        doc="0 optimal, 1 conic fallback used, 2 inaccurate, 3 nobody served, 4 uniform powers, "
        "5 converged to a point, 6 failed: the decision before is held",
    )
    iterations: np.ndarray = array(dtype="i4", doc="iterations of the power allocation")
    min_rate: np.ndarray = array(unit="bit s-1 Hz-1", doc="least rate of a served user, as the node believes")
    upper_rate: np.ndarray = array(unit="bit s-1 Hz-1", doc="certified bound on it for the chosen serving sets")
    bound_rate: np.ndarray = array(unit="bit s-1 Hz-1", doc="certified bound on it without the limit K_max")
    bottleneck: np.ndarray = array(dtype="i4", doc="row of the user the least rate depends on most; -1: unknown")
    without_rate: np.ndarray = array(
        unit="bit s-1 Hz-1", doc="least rate the others can have at least when that user is left out; nan: unknown"
    )


ACCESS, SOFT, HARD, DROP, BEAM = 0, 1, 2, 3, 4
HANDOVER_KIND = {ACCESS: "access", SOFT: "soft", HARD: "hard", DROP: "drop", BEAM: "beam"}


@dataclass(frozen=True)
class Handovers(Record):
    """Changes of serving sets that took effect during one epoch, one event a user and decision."""

    GROUP: ClassVar[str] = "handovers"
    t_ns: int
    event_t_ns: np.ndarray = array("event", dtype="i8", unit="ns", doc="when the decision arrived, since the start")
    user: np.ndarray = array("event", dtype="i4", doc="row of the user")
    kind: np.ndarray = array("event", dtype="u1", doc="0 first access, 1 soft, 2 hard, 3 drop, 4 beam")
    joins: np.ndarray = array("event", dtype="i4", doc="satellites that joined the serving set")
    leaves: np.ndarray = array("event", dtype="i4", doc="satellites that left it")
    stays: np.ndarray = array("event", dtype="i4", doc="satellites that stayed in it")
    beams: np.ndarray = array("event", dtype="i4", doc="those of them that serve with another beam now", default=0)


@dataclass(frozen=True)
class Rates(Record):
    """Time-weighted rates of one epoch, integrated over the decisions in force in it."""

    GROUP: ClassVar[str] = "rates"
    t_ns: int
    hardening: np.ndarray = array(
        "user", unit="bit s-1 Hz-1", doc="hardening (use-and-then-forget) bound", source="Eq. (22)"
    )
    ergodic: np.ndarray = array("user", unit="bit s-1 Hz-1", doc="ergodic rate of a receiver that tracks the gain")
    serving: np.ndarray = array("user", dtype="i4", doc="satellites serving at the end of the epoch")
    outage_s: np.ndarray = array("user", unit="s", doc="time in the epoch without any active serving satellite")
    interruption_s: np.ndarray = array("user", unit="s", doc="the part of it due to a handover or an access")


# ---------------------------------------------------------------------------------------------
# Sensing: one satellite serves users and illuminates a target with one dual-functional precoder


@dataclass(frozen=True)
class DownlinkUsers(Record):
    """The users one satellite serves while it senses, as the designer of its precoder knows them.

    sat : catalogue number; rows, columns : of its half-wavelength array; power_w : its power budget (W)
    """

    t_ns: int
    sat: int
    rows: int
    columns: int
    power_w: float
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    cosines: np.ndarray = array("pair", "cosine", doc="direction cosines of the user at the satellite")
    noise_w: np.ndarray = array(
        "pair", unit="W", doc="noise power over the mean power gain of one antenna's channel", source="Eq. (16)"
    )


@dataclass(frozen=True)
class Illumination(Record):
    """What a dwell asks of the precoder: `||P^H a_tar||^2 >= gain_w` towards the predicted direction of a target."""

    t_ns: int
    target: int
    gain_w: float
    cosines: np.ndarray = array("cosine", doc="direction cosines of the target at the satellite")


COMMON_STREAM, RADAR_SEQUENCE = -1, -2
MET, CAPPED, HELD, NO_SATELLITE_IN_VIEW, NO_TARGET_IN_VIEW, ARRAY_BUSY = 0, 1, 2, 3, 4, 5
ISAC_STATUS = {
    MET: "met",
    CAPPED: "capped",
    HELD: "held",
    NO_SATELLITE_IN_VIEW: "no satellite in view",
    NO_TARGET_IN_VIEW: "no target in view",
    ARRAY_BUSY: "array busy",
}


@dataclass(frozen=True)
class IsacPrecoder(Record):
    """A dual-functional precoder of one dwell, and all the memory its algorithm keeps for the next one.

    Streams: one private stream a user in order, the common stream (user -1), the radar sequence (user -2).
    Directions: the users in order, the target last. The precoder of stream j is
    `p_j = sum_d (weight_re + i weight_im)[d, j] a(cosines_d)` with a the centred steering vector.
    """

    GROUP: ClassVar[str] = "isac"
    t_ns: int
    sat: np.ndarray = array(dtype="i4", doc="catalogue number of the sensing satellite; -1: none")
    target: np.ndarray = array(dtype="i4", doc="the target that is illuminated; -1: none")
    status: np.ndarray = array(
        dtype="u1",
        doc="0 threshold met, 1 capped to what the power allows, 2 held, 3 no satellite, 4 no target in view, "
        "5 array busy",
    )
    iterations: np.ndarray = array(dtype="i4", doc="iterations of the design, all its starts together")
    min_rate: np.ndarray = array(unit="bit s-1 Hz-1", doc="least rate of a user, as designed")
    gain_asked_w: np.ndarray = array(unit="W", doc="power times array gain the threshold asks for", source="Eq. (27)")
    gain_w: np.ndarray = array(unit="W", doc="power times array gain towards the predicted direction")
    power_needed_w: np.ndarray = array(unit="W", doc="least power that meets the threshold, all of it on the target")
    user: np.ndarray = array(
        "stream", dtype="i4", doc="row of the user of a private stream; -1: common stream, -2: radar sequence"
    )
    power_w: np.ndarray = array("stream", unit="W", doc="power of the stream")
    rate: np.ndarray = array(
        "stream", unit="bit s-1 Hz-1", doc="rate of the stream, as designed", source="Eqs. (16), (17)"
    )
    split: np.ndarray = array("stream", unit="bit s-1 Hz-1", doc="the user's portion of the common rate")
    cosines: np.ndarray = array("direction", "cosine", doc="direction cosines of a steering vector")
    weight_re: np.ndarray = array("weight", unit="W0.5", doc="real part of the weights [direction, stream]")
    weight_im: np.ndarray = array("weight", unit="W0.5", doc="imaginary part of the weights [direction, stream]")
    cancelled: np.ndarray = array(dtype="u1", doc="1: users cancel the radar sequence before they decode", default=0)
    ergodic: np.ndarray = array(
        "stream", unit="bit s-1 Hz-1", doc="rate of the stream averaged over the fading, as it is", default=nan
    )
    min_ergodic: np.ndarray = array(
        unit="bit s-1 Hz-1", doc="least rate of a user averaged over the fading, as it is", default=nan
    )
    cross_range_asked_m: np.ndarray = array(unit="m", doc="bound asked of the rms cross-range error", default=nan)
    cross_range_m: np.ndarray = array(
        unit="m", doc="bound met at the true target: R_Rx sqrt(sin^2 phi CRB_theta + CRB_phi)", default=nan
    )
    snr: np.ndarray = array(doc="matched-filter SNR of the echo, N L |alpha|^2 ||P^H a||^2 / sigma^2", default=nan)

    @property
    def weights(self) -> np.ndarray:
        """Weights of the steering vectors, [direction, stream] complex (square root of a watt)."""
        return (self.weight_re + 1j * self.weight_im).reshape(len(self.cosines), len(self.user))


@dataclass(frozen=True)
class Targets(Record):
    """Where the targets truly are at a dwell, as the receiver and the sensing satellite see them."""

    GROUP: ClassVar[str] = "targets"
    t_ns: int
    target: np.ndarray = array("target", dtype="i4", doc="row of the target in the scenario")
    pos_enu: np.ndarray = array("target", "xyz", unit="m", doc="position: east, north, up of the receiver")
    vel_enu: np.ndarray = array("target", "xyz", unit="m s-1", doc="velocity: east, north, up of the receiver")
    range_rx_m: np.ndarray = array("target", unit="m", doc="distance to the receiver")
    range_tx_m: np.ndarray = array("target", unit="m", doc="distance to the sensing satellite; nan: no satellite")
    elevation_rad: np.ndarray = array("target", unit="rad", doc="elevation at the receiver")
    bistatic_angle_rad: np.ndarray = array("target", unit="rad", doc="angle satellite-target-receiver")


FOUND, BELOW_THRESHOLD, REFUSED = 0, 1, 2
DETECTION_STATUS = {FOUND: "found", BELOW_THRESHOLD: "below the threshold", REFUSED: "refused"}


@dataclass(frozen=True)
class Detection(Record):
    """What the receiver finds of a target's echo in one dwell.

    The measurement: direction cosines u (east) and w (north) at the receiver, bistatic range satellite-target-
    receiver in m, and Doppler shift of the echo in Hz before any compensation, `-f/c d(range_tx + range_rx)/dt` with
    satellite and target both moving. Its covariance is in products of these units.
    """

    GROUP: ClassVar[str] = "detections"
    t_ns: int
    sat: np.ndarray = array(dtype="i4", doc="catalogue number of the satellite that illuminates; -1: none")
    target: np.ndarray = array(dtype="i4", doc="row of the target looked for; -1: none")
    status: np.ndarray = array(dtype="u1", doc="0 found, 1 below the threshold, 2 refused: echo too weak")
    statistic: np.ndarray = array(doc="SNR at the peak of the matched filter")
    value: np.ndarray = array("measure", doc="u, w (1), bistatic range (m), Doppler (Hz)", default=nan)
    covariance: np.ndarray = array("measure", "by_measure", doc="covariance of the measurement", default=nan)
    expected_error_m: np.ndarray = array(
        unit="m", doc="distance of where the target was looked for from where it was", default=nan
    )


TENTATIVE, CONFIRMED, COASTING, LOST, NO_TRACK = 0, 1, 2, 3, 4
TRACK_STATUS = {
    TENTATIVE: "tentative",
    CONFIRMED: "confirmed",
    COASTING: "coasting",
    LOST: "lost",
    NO_TRACK: "no track",
}


@dataclass(frozen=True)
class Track(Record):
    """Where a target is believed to be, and all the memory its tracker keeps.

    A state is position (m) and velocity (m/s), east, north and up of the receiver. A tracker of several motion models
    keeps the state of each; with one model, the axis is empty.
    """

    GROUP: ClassVar[str] = "tracks"
    t_ns: int
    target: np.ndarray = array(dtype="i4", doc="row of the target")
    status: np.ndarray = array(dtype="u1", doc="0 tentative, 1 confirmed, 2 coasting, 3 lost, 4 no track")
    hits: np.ndarray = array(dtype="i4", doc="detections taken since the track began")
    misses: np.ndarray = array(dtype="i4", doc="misses: since a tentative track began, since the last hit of another")
    mean: np.ndarray = array("state", doc="position (m) and velocity (m/s)")
    covariance: np.ndarray = array("state", "by_state", doc="covariance of the state")
    gate: np.ndarray = array(doc="normalised innovation squared of the last detection; nan: none", default=nan)
    probability: np.ndarray = array("model", doc="probability of the motion model", default=())
    model_mean: np.ndarray = array("model", "state", doc="state under the model", default=nan)
    model_covariance: np.ndarray = array(
        "model", "state", "by_state", doc="covariance of the state under the model", default=nan
    )
    error_m: np.ndarray = array(unit="m", doc="distance of the position from the true one", default=nan)
    nees: np.ndarray = array(doc="normalised estimation error squared of the state; 6 on average", default=nan)

    @property
    def pos_enu(self) -> np.ndarray:
        """Position [xyz] east, north, up of the receiver (m)."""
        return self.mean[:3]

    @property
    def vel_enu(self) -> np.ndarray:
        """Velocity [xyz] east, north, up of the receiver (m/s)."""
        return self.mean[3:]


# ---------------------------------------------------------------------------------------------
# Localisation: one satellite sends rate and pilots to terminals that find their positions from it


@dataclass(frozen=True)
class Terminals(Record):
    """The terminals one satellite serves and localises, as the designer of its precoder believes them to be.

    sat : catalogue number; rows, columns : of its half-wavelength array; power_w : over all subcarriers (W)
    asked_m : average position error bound asked of a fix (m)
    attitude_rad, clock_s, carrier_offset_hz : standard deviations of what is not known: of each direction cosine, of
    the clock, of the carrier; infinite: unknown
    """

    t_ns: int
    sat: int
    rows: int
    columns: int
    power_w: float
    asked_m: float
    waveform: Waveform
    sat_pos_ecef: np.ndarray = array("xyz", unit="m", doc="position of the satellite, ITRS")
    sat_vel_ecef: np.ndarray = array("xyz", unit="m s-1", doc="its velocity in the rotating frame, ITRS")
    axes: np.ndarray = array("body", "xyz", doc="its axes along-track, cross-track and nadir, ITRS")
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    pos_ecef: np.ndarray = array("pair", "xyz", unit="m", doc="position of the terminal, ITRS")
    vel_ecef: np.ndarray = array("pair", "xyz", unit="m s-1", doc="its velocity in the rotating frame, ITRS")
    gamma: np.ndarray = array("pair", doc="mean power gain of the whole array with a unit-norm beam", source="Eq. (50)")
    kappa: np.ndarray = array("pair", doc="Rician K-factor, linear")
    noise_w: np.ndarray = array("pair", unit="W", doc="noise power a subcarrier")
    attitude_rad: float = 0.0
    clock_s: float = 0.0
    carrier_offset_hz: float = 0.0


REACHED, SHORT, KEPT, NO_ANCHOR, NO_TERMINAL = 0, 1, 2, 3, 4
ICAL_STATUS = {
    REACHED: "target reached",
    SHORT: "target out of reach",
    KEPT: "held",
    NO_ANCHOR: "no satellite in view",
    NO_TERMINAL: "no terminal in view",
    ARRAY_BUSY: "array busy",
}


@dataclass(frozen=True)
class IcalPrecoder(Record):
    """A wideband precoder for rate and position, and all the memory its algorithm keeps for the next one.

    One stream a terminal, in order. With `chains` > 0 it is hybrid, `W_b = F B_b`: `F = exp(i phase)` where an antenna
    is connected to a chain ([ant, chain] if fully connected, else one chain an antenna, by the layout), and the weights
    are B [block, chain, stream]. Without, the weights are coefficients on the responses of the terminals and their
    two derivatives, [block, 3 terminal, stream], terminal by terminal, at the `cosines` it was designed for.
    """

    GROUP: ClassVar[str] = "ical"
    t_ns: int
    sat: np.ndarray = array(dtype="i4", doc="catalogue number of the satellite; -1: none")
    status: np.ndarray = array(
        dtype="u1",
        doc="0 target reached, 1 target out of reach, 2 held, 3 no satellite, 4 no terminal in view, 5 array busy",
    )
    iterations: np.ndarray = array(dtype="i4", doc="iterations of the design, all its stages together")
    layout: np.ndarray = array(
        dtype="u1", doc="0 digital, 1 fully connected, partially connected: 2 contiguous, 3 tiles, 4 interleaved"
    )
    chains: np.ndarray = array(dtype="i4", doc="RF chains; 0: one an antenna")
    asked_m: np.ndarray = array(unit="m", doc="average position error bound asked of a fix")
    apeb_m: np.ndarray = array(unit="m", doc="average position error bound, as designed")
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    cosines: np.ndarray = array("pair", "cosine", doc="direction cosines the precoder was designed for")
    rate: np.ndarray = array("pair", unit="bit s-1 Hz-1", doc="spectral efficiency, as designed", source="Eq. (13)")
    bound_m: np.ndarray = array("pair", unit="m", doc="position error bound, as designed", source="Eq. (21)")
    phase_rad: np.ndarray = array("shifter", dtype="f4", unit="rad", doc="phase shifters, [ant, chain] in C order")
    weight_re: np.ndarray = array("weight", unit="W0.5", doc="real part of the weights")
    weight_im: np.ndarray = array("weight", unit="W0.5", doc="imaginary part of the weights")
    true_rate: np.ndarray = array(
        "pair",
        unit="bit s-1 Hz-1",
        doc="spectral efficiency where the terminal truly is, after pilots and prefixes",
        default=nan,
    )
    true_bound_m: np.ndarray = array("pair", unit="m", doc="position error bound where it truly is", default=nan)


FIXED, REFUSED_FIX, OUTLIER, NO_FIX = 0, 1, 2, 3
FIX_STATUS = {
    FIXED: "fixed",
    REFUSED_FIX: "refused: pilots too weak",
    OUTLIER: "flagged as an outlier",
    NO_FIX: "no pilots",
}


@dataclass(frozen=True)
class Fix(Record):
    """Where terminals believe to be, after their pilots: all the memory localisation keeps.

    A terminal without a fix keeps its position, moved on by its own velocity, with a covariance that grows.
    """

    GROUP: ClassVar[str] = "fixes"
    t_ns: int
    user: np.ndarray = array("pair", dtype="i4", doc="row of the user")
    sat: np.ndarray = array("pair", dtype="i4", doc="catalogue number of the satellite that sent the pilots; -1: none")
    status: np.ndarray = array(
        "pair", dtype="u1", doc="0 fixed, 1 refused: too weak, 2 flagged as outlier, 3 no pilots"
    )
    pos_ecef: np.ndarray = array("pair", "xyz", unit="m", doc="believed position, ITRS")
    covariance_m2: np.ndarray = array("pair", "xyz", "by_xyz", unit="m2", doc="covariance of the believed position")
    statistic: np.ndarray = array(
        "pair", doc="share of the pilots' power the fix explains; nan: no pilots", default=nan
    )
    fix_ns: np.ndarray = array("pair", dtype="i8", unit="ns", doc="time of the last fix; -1: never", default=-1)
    error_m: np.ndarray = array(
        "pair", unit="m", doc="distance of the believed position from the true one", default=nan
    )
    nees: np.ndarray = array(
        "pair", doc="normalised estimation error squared of the position; 3 on average", default=nan
    )
    bound_m: np.ndarray = array(
        "pair", unit="m", doc="position error bound where it truly is; nan: no pilots or no line of sight", default=nan
    )


# ---------------------------------------------------------------------------------------------
# Faults


SATELLITE, FEEDER_LINK, CENTRAL_NODE, SOLVER, ELEMENTS = 0, 1, 2, 3, 4
FAULT_KIND = {
    SATELLITE: "satellite",
    FEEDER_LINK: "feeder_link",
    CENTRAL_NODE: "central_node",
    SOLVER: "solver",
    ELEMENTS: "elements",
}
BEGINS, ENDS, CSI_LOST, DECISION_LOST, DECISION_LATE, DECISION_HELD, DWELL_LOST, PRECODER_HELD, FIXES_LOST = range(9)
EVENT_ACTION = {
    BEGINS: "begins",
    ENDS: "ends",
    CSI_LOST: "CSI not delivered",
    DECISION_LOST: "decision not received",
    DECISION_LATE: "decision late",
    DECISION_HELD: "decision held",
    DWELL_LOST: "dwell lost",
    PRECODER_HELD: "precoder held",
    FIXES_LOST: "fixes lost",
}


@dataclass(frozen=True)
class Event(Record):
    """A fault of the scenario begins or ends, or the system does something because of it."""

    GROUP: ClassVar[str] = "events"
    t_ns: int
    kind: np.ndarray = array(
        dtype="u1", doc="fault: 0 satellite, 1 feeder link, 2 central node, 3 solver, 4 element sets"
    )
    action: np.ndarray = array(
        dtype="u1",
        doc="0 begins, 1 ends, 2 CSI not delivered, 3 decision not received, 4 decision late, 5 decision held, "
        "6 dwell lost, 7 precoder held, 8 fixes lost",
    )
    sat: np.ndarray = array(dtype="i4", doc="catalogue number of the satellite concerned; -1: several, or none")
    count: np.ndarray = array(dtype="i4", doc="pairs of satellite and user concerned; of CSI: satellites")
    text: np.ndarray = array(dtype="str", doc="what happened, in words")


@dataclass(frozen=True)
class Timing(Record):
    """Wall time of one epoch and each of its stages, a field `<stage>_s` a stage; not part of the digest."""

    GROUP: ClassVar[str] = "timing"
    t_ns: int
    csi_s: np.ndarray = array(unit="s", doc="geometry and CSI")
    decide_s: np.ndarray = array(unit="s", doc="beams, couplings and clustering")
    score_s: np.ndarray = array(unit="s", doc="scoring")
    sense_s: np.ndarray = array(unit="s", doc="choice of a satellite, precoder and its score")
    localise_s: np.ndarray = array(unit="s", doc="choice of anchors, precoders, pilots and fixes")
    log_s: np.ndarray = array(unit="s", doc="writing the epoch before")
    wall_s: np.ndarray = array(unit="s", doc="all since the row before: the stages and the event loop between them")
