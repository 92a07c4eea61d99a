"""The tables of a scenario: one class a TOML table, its keys with their units, limits, defaults and meanings.

Properties and methods give SI, linear and radians, once.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from leosim.channel import Radio
from leosim.flights import Flights, Route
from leosim.ofdm import Waveform
from leosim.rates import Coherence
from leosim.units import db_to_linear, dbm_to_w, deg_to_rad, noise_power_w, s_to_ns


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("a number, without quotes")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
Latitude = Annotated[float, BeforeValidator(_number), Field(ge=-90, le=90)]
Longitude = Annotated[float, BeforeValidator(_number), Field(ge=-180, le=360)]
Elevation = Annotated[float, BeforeValidator(_number), Field(ge=0, le=89)]
Array = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


def _within_the_period(table: Any) -> Any:
    """Check of a service: its offset is less than its period."""
    if table.offset_s >= table.period_s:
        raise ValueError(f"offset_s below period_s, {table.period_s:g} s, got {table.offset_s:g}")
    return table


class Table(BaseModel):
    """A TOML table: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeTable(Table):
    """When the run takes place."""

    start: datetime | Literal["elements"] = Field(
        "elements",
        description='"elements" (the median epoch of the elements) or a date and time with its zone',
    )
    duration_s: Positive = Field(600.0, description="length of the run (s)")
    step_s: Positive = Field(1.0, description="time step of geometry, statistical CSI and scoring (s)")

    @field_validator("start", mode="before")
    @classmethod
    def _zoned(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "elements":
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError('"elements" or a date and time such as 2026-08-22T02:00:00Z') from None
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError(f"a time with its zone, such as {value.isoformat()}Z")
        return value

    @model_validator(mode="after")
    def _whole_steps(self) -> TimeTable:
        steps = self.duration_s / self.step_s
        if abs(steps - round(steps)) > 1e-9 * steps or round(steps) < 1:
            nearest = max(1, round(steps)) * self.step_s
            raise ValueError(
                f"duration_s to be a whole number of steps of {self.step_s:g} s, such as {nearest:g}, "
                f"got {self.duration_s:g}"
            )
        return self

    @property
    def step_ns(self) -> int:
        """Time step (ns)."""
        return s_to_ns(self.step_s)

    @property
    def epochs(self) -> int:
        """Number of epochs of the run."""
        return round(self.duration_s / self.step_s)

    @property
    def start_utc(self) -> datetime | None:
        """The start in UTC, None where the elements decide."""
        return None if self.start == "elements" else self.start.astimezone(UTC)


class ElementsTable(Table):
    """Which satellites fly."""

    file: str | list[str] = Field(description="one or several files of elements: TLE, 3LE or OMM (JSON, CSV, XML)")
    include: list[str] = Field([], description='patterns of names, such as "STARLINK*"; empty: all')
    altitude_km: tuple[NonNegative, NonNegative] | None = Field(None, description="lowest and highest mean height (km)")
    max_age_days: Positive = Field(30.0, description="elements older than this at the start are quarantined")
    propagation: Literal["knots", "exact"] = Field(
        "knots", description="knots: cubic Hermite between knots (within 1 m); exact: SGP4 at each epoch"
    )
    knot_s: Annotated[float, BeforeValidator(_number), Field(ge=1, le=60)] = Field(
        30.0, description="distance of the knots (s)"
    )

    @property
    def files(self) -> tuple[str, ...]:
        """The files, as written."""
        return (self.file,) if isinstance(self.file, str) else tuple(self.file)


KIND_KEYS = {
    "circle": ("centre_deg", "radius_km", "count"),
    "sites": ("file",),
    "grid": ("lat_deg", "lon_deg", "step_deg"),
}


class UsersTable(Table):
    """Who is on the ground."""

    kind: Literal["circle", "sites", "grid"] = Field("circle", description="circle, sites (a CSV file) or grid")
    speed_m_s: NonNegative = Field(0.0, description="speed of the users along great circles (m/s)")
    heading_deg: Number | None = Field(
        None, description="their heading at the start, from north to east (degrees); none: drawn for each user"
    )
    mask_deg: Elevation = Field(25.0, description="lowest elevation of a serving satellite (degrees)")
    centre_deg: tuple[Latitude, Longitude] | None = Field(None, description="circle: latitude and longitude")
    radius_km: Positive | None = Field(None, description="circle: radius (km)")
    count: int | None = Field(None, ge=1, le=100_000, description="circle: number of users")
    file: str | None = Field(None, description="sites: CSV with name, lat_deg, lon_deg and, if wished, alt_m, mask_deg")
    lat_deg: tuple[Latitude, Latitude] | None = Field(None, description="grid: southern and northern latitude")
    lon_deg: tuple[Longitude, Longitude] | None = Field(None, description="grid: western and eastern longitude")
    step_deg: tuple[Positive, Positive] | None = Field(None, description="grid: steps of latitude and longitude")

    @model_validator(mode="after")
    def _complete(self) -> UsersTable:
        for kind, keys in KIND_KEYS.items():
            for key in keys:
                if kind == self.kind and getattr(self, key) is None:
                    raise ValueError(f'{key}, which kind = "{kind}" needs')
                if kind != self.kind and getattr(self, key) is not None:
                    raise ValueError(f'no {key}, which belongs to kind = "{kind}"')
        return self


class CoherenceTable(Table):
    """What is assumed of carrier phases between satellites."""

    cross_terms: Literal["ideal", "finite", "averaged", "noncoherent"] = Field(
        "averaged", description="how interference of several satellites adds up over a codeword"
    )
    slow_deg: Annotated[float, Field(ge=0, le=180)] = Field(0.0, description="rms phase error tracked by pilots")
    fast_deg: Annotated[float, Field(ge=0, le=180)] = Field(0.0, description="rms phase error within a codeword")
    codeword_s: Positive = Field(1e-3, description='duration of a codeword, for cross_terms = "finite" (s)')
    planned_share: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] | None = Field(
        None, description="share of cross terms decisions plan as coherent, the rest as power; none: as cross_terms"
    )

    @model_validator(mode="after")
    def _one_sum(self) -> CoherenceTable:
        if self.planned_share is not None and self.cross_terms == "noncoherent":
            raise ValueError('no planned_share beside cross_terms = "noncoherent", where useful powers add too')
        return self


class RadioTable(Table):
    """The radio side of a service's downlink."""

    carrier_hz: Positive = Field(5e9, description="carrier frequency (Hz)")
    bandwidth_hz: Positive = Field(20e6, description="bandwidth (Hz)")
    power_dbm: Number = Field(50.0, description="power of a satellite (dBm)")
    noise_figure_db: NonNegative | None = Field(None, description="noise figure of a user over 290 K (dB); default 7")
    noise_dbm: Number | None = Field(None, description="noise power of a user, instead of a noise figure (dBm)")
    array: Array = Field(
        (16, 16), description="rows (along track) and columns (across) of a satellite's half-wavelength array"
    )
    element: Literal["cosine", "isotropic"] = Field("cosine", description="pattern of an element: pi cos(theta) or 1")
    satellite_gain_db: Number = Field(0.0, description="constant gain besides element and array (dB)")
    user_gain_db: Number = Field(0.0, description="antenna gain of a user (dB)")
    zenith_absorption_db: NonNegative = Field(0.04, description="gas absorption at zenith (dB)")
    channel: Literal["tr38811", "rician"] = Field("tr38811", description="3GPP TR 38.811 suburban, or Rician")
    k_factor_db: tuple[Number, Number] = Field((15.0, 20.0), description="rician: limits of the uniform K-factor (dB)")

    @model_validator(mode="after")
    def _one_noise(self) -> RadioTable:
        if self.noise_dbm is not None and self.noise_figure_db is not None:
            raise ValueError("either noise_figure_db or noise_dbm, not both")
        if self.k_factor_db[0] > self.k_factor_db[1]:
            raise ValueError(f"k_factor_db with the lower limit first, got {list(self.k_factor_db)}")
        return self

    @property
    def noise_w(self) -> float:
        """Noise power of a user's receiver (W)."""
        if self.noise_dbm is not None:
            return dbm_to_w(self.noise_dbm)
        return noise_power_w(self.bandwidth_hz, 7.0 if self.noise_figure_db is None else self.noise_figure_db)

    def radio(self, seed: int) -> Radio:
        """The radio side in SI and linear units."""
        return Radio(
            carrier_hz=self.carrier_hz,
            bandwidth_hz=self.bandwidth_hz,
            power_w=dbm_to_w(self.power_dbm),
            noise_w=self.noise_w,
            rows=self.array[0],
            columns=self.array[1],
            element=self.element,
            satellite_gain=db_to_linear(self.satellite_gain_db),
            user_gain=db_to_linear(self.user_gain_db),
            zenith_absorption=db_to_linear(-self.zenith_absorption_db),
            model=self.channel,
            k_factor_db=self.k_factor_db,
            seed=seed,
        )


class CommunicationTable(RadioTable):
    """Radio and timing of the communication service."""

    period_s: Positive = Field(1.0, description="time between two decisions (s)")
    offset_s: NonNegative = Field(
        0.0, description="when the period begins (s); one decision more is in force at the start"
    )
    csi_delay_s: NonNegative = Field(0.12, description="delay of the CSI on its way to the central node (s)")
    decision_delay_s: NonNegative = Field(0.12, description="delay of a decision on its way to the satellites (s)")
    compute_s: NonNegative = Field(0.05, description="declared compute time of a decision (s)")
    ergodic_draws: int = Field(32, ge=1, le=100_000, description="fading draws of the ergodic rate, an epoch")
    coherence: CoherenceTable = CoherenceTable()

    _offset = model_validator(mode="after")(_within_the_period)

    def coherence_model(self) -> Coherence:
        """The coherence model, in radians."""
        return Coherence(
            cross_terms=self.coherence.cross_terms,
            slow_rad=math.radians(self.coherence.slow_deg),
            fast_rad=math.radians(self.coherence.fast_deg),
            bandwidth_hz=self.bandwidth_hz,
            codeword_s=self.coherence.codeword_s,
            planned_share=self.coherence.planned_share,
        )


class ReceiverTable(Table):
    """The radar receiver on the ground: a planar half-wavelength array that looks up."""

    site_deg: tuple[Latitude, Longitude] = Field(description="latitude and longitude of the receiver")
    alt_m: Annotated[float, BeforeValidator(_number), Field(ge=-1_000, le=50_000)] = Field(
        0.0, description="height above the ellipsoid (m)"
    )
    mask_deg: Elevation = Field(25.0, description="lowest elevation of a sensing satellite (degrees)")
    array: Array = Field((32, 32), description="antennas along east and along north")
    subarray: Array = Field((4, 4), description="antennas combined into one channel, along east and along north")
    gain_db: Number = Field(5.0, description="gain of an antenna (dB)")
    noise_temperature_k: Positive = Field(500.0, description="noise temperature (K)")

    @model_validator(mode="after")
    def _whole_subarrays(self) -> ReceiverTable:
        if any(n % m for n, m in zip(self.array, self.subarray, strict=True)):
            raise ValueError(f"subarray to divide the array {list(self.array)}, got {list(self.subarray)}")
        return self


class TargetTable(Table):
    """A target over the receiver: in straight flight, turning, or on a route through waypoints."""

    name: str = Field("", description="name in reports; target-1 on, if empty")
    position_km: tuple[Number, Number, Number] | None = Field(
        None, description="position at the start: east, north and up of the receiver (km)"
    )
    velocity_m_s: tuple[Number, Number, Number] = Field((0.0, 0.0, 0.0), description="velocity: east, north, up (m/s)")
    turn_deg_s: Number = Field(0.0, description="rate of turn about the vertical, positive to the right (degrees/s)")
    waypoints: list[tuple[Number, Number, Number, Number]] | None = Field(
        None, description="instead of a position: time (s), east, north, up (km) of each point of a smooth route"
    )
    rcs_m2: Positive = Field(20.0, description="monostatic radar cross-section (m^2)")

    @model_validator(mode="after")
    def _somewhere(self) -> TargetTable:
        if (self.position_km is None) == (self.waypoints is None):
            raise ValueError("either position_km or waypoints")
        if self.waypoints is not None and (self.turn_deg_s or any(self.velocity_m_s)):
            raise ValueError("no velocity_m_s and no turn_deg_s beside waypoints, which say it all")
        return self

    @property
    def route(self) -> Route | None:
        """The route of waypoints, None without; raises ValueError for one that cannot be flown."""
        if self.waypoints is None:
            return None
        points = np.array(self.waypoints, dtype=float)
        return Route(points[:, 0], 1e3 * points[:, 1:])


class SensingTable(RadioTable):
    """The sensing service: one satellite at a time serves users near a receiver and illuminates targets."""

    carrier_hz: Positive = Field(2e9, description="carrier frequency (Hz)")
    bandwidth_hz: Positive = Field(10e6, description="bandwidth (Hz)")
    array: Array = Field(
        (24, 24), description="rows (along track) and columns (across) of a satellite's half-wavelength array"
    )
    period_s: Positive = Field(1.0, description="time between two dwells (s)")
    offset_s: NonNegative = Field(0.0, description="when the first of them begins (s)")
    dwell_s: Positive = Field(6.5536e-3, description="length of a dwell (s): 65,536 samples at 10 MHz")
    satellite: Literal["highest", "best_snr"] = Field(
        "highest", description="which satellite senses: highest at the receiver, or best echo SNR of the target"
    )
    user_radius_km: Positive = Field(50.0, description="users this close to the receiver are served (km)")
    max_users: int = Field(8, ge=0, le=32, description="at most so many of them, the nearest ones")
    cross_range_m: Positive = Field(30.0, description="bound asked of the rms cross-range error (m)")
    crb: Literal["nuisance", "known_gain"] = Field(
        "nuisance", description="Cramer-Rao bound with the echo's complex gain unknown, or known"
    )
    rcs_model: Literal["monostatic", "cos_half"] = Field(
        "monostatic", description="bistatic cross-section: the monostatic one, or times cos(beta / 2)"
    )
    ergodic_draws: int = Field(256, ge=1, le=100_000, description="fading draws of the ergodic rates, a dwell")
    receiver: ReceiverTable
    aim: Literal["track", "cue"] = Field(
        "track", description="what aims a dwell: the track where there is one, or an announcement each time"
    )
    cue_position_m: NonNegative = Field(
        100.0, description="rms error of each coordinate of a target announced to be looked for (m)"
    )
    cue_speed_m_s: NonNegative = Field(20.0, description="the same of its velocity (m/s)")
    gate_km: Positive = Field(100.0, description="longest excess of an echo's way over the direct path recorded (km)")
    direct_path_db: Number = Field(0.0, description="direct path in what is recorded, over what arrives (dB)")
    clutter_db: Number | None = Field(
        None, description="clutter from the ground over the direct path that arrives (dB); none: no clutter"
    )
    fluctuation: Literal["none", "swerling_1"] = Field("none", description="of the cross-section from dwell to dwell")
    targets: list[TargetTable] = Field(min_length=1, description="[[sensing.targets]] tables, illuminated in turn")

    _offset = model_validator(mode="after")(_within_the_period)

    @model_validator(mode="after")
    def _dwell_within_the_period(self) -> SensingTable:
        if self.dwell_s > self.period_s:
            raise ValueError(f"dwell_s of at most period_s, {self.period_s:g} s, got {self.dwell_s:g}")
        return self

    def flights(self) -> Flights:
        """Where the targets fly; raises ValueError for a route that cannot be flown."""
        start = [target.position_km or (0.0, 0.0, 0.0) for target in self.targets]
        return Flights(
            name=tuple(target.name or f"target-{k + 1}" for k, target in enumerate(self.targets)),
            start_enu=1e3 * np.array(start),
            vel_enu=np.array([target.velocity_m_s for target in self.targets]),
            rcs_m2=np.array([target.rcs_m2 for target in self.targets]),
            turn_rad_s=deg_to_rad(np.array([target.turn_deg_s for target in self.targets])),
            routes=tuple(target.route for target in self.targets),
        )

    @property
    def samples(self) -> int:
        """Samples L of a dwell."""
        return max(1, round(self.dwell_s * self.bandwidth_hz))


class LocalisationTable(RadioTable):
    """The localisation service: one satellite at a time serves and localises a group of terminals."""

    carrier_hz: Positive = Field(2.02e9, description="carrier frequency (Hz)")
    bandwidth_hz: Positive = Field(15.36e6, description="bandwidth of all subcarriers (Hz)")
    power_dbm: Number = Field(52.0, description="power of a satellite (dBm)")
    array: Array = Field(
        (24, 24), description="rows (along track) and columns (across) of a satellite's half-wavelength array"
    )
    period_s: Positive = Field(1.0, description="time between two fixes (s)")
    offset_s: NonNegative = Field(0.0, description="when the first of them begins (s)")
    frames: int = Field(16, ge=1, le=1000, description="frames of a fix, one after the other")
    target_m: Positive = Field(20.0, description="average position error bound asked of a fix (m)")
    mask_deg: Elevation = Field(50.0, description="lowest elevation of the anchor satellite at a terminal (degrees)")
    group_size: int = Field(9, ge=1, le=32, description="terminals a satellite serves at once, at most")
    belief: Literal["fixes", "prior", "truth"] = Field(
        "fixes", description="what precoders and CSI are made from: fixes, the first belief all the way, or the truth"
    )
    prior_km: tuple[NonNegative, NonNegative] = Field(
        (1.0, 10.0), description="limits of the horizontal error of the first belief (km)"
    )
    drift_m_s: NonNegative = Field(
        0.1, description="rms error of each horizontal component of what a terminal takes for its velocity (m/s)"
    )
    clock_s: NonNegative = Field(10e-9, description="rms clock offset between satellite and terminal (s)")
    attitude_arcsec: NonNegative = Field(2.0, description="rms attitude error about each axis of the array (arcsec)")
    carrier_offset_hz: NonNegative = Field(200.0, description="rms carrier offset of a terminal (Hz)")
    ionosphere_m: NonNegative = Field(3.0, description="rms delay of the ionosphere that is left (m)")
    scatter: Literal["independent", "block"] = Field(
        "independent", description="paths beside the line of sight: new on every subcarrier, or constant over a block"
    )
    subcarriers: int = Field(512, ge=1, le=8192, description="number of subcarriers")
    blocks: int = Field(8, ge=1, description="blocks of subcarriers that share a precoder")
    cyclic_prefix_s: NonNegative = Field(72 / 30.72e6, description="cyclic prefix of a symbol (s)")
    slots: int = Field(20, ge=1, le=10_000, description="slots of a frame")
    slot_symbols: int = Field(14, ge=1, description="symbols of a slot")
    slot_pilots: int = Field(2, ge=1, description="symbols of a slot that are pilots")

    _offset = model_validator(mode="after")(_within_the_period)

    @model_validator(mode="after")
    def _possible(self) -> LocalisationTable:
        if self.prior_km[0] > self.prior_km[1]:
            raise ValueError(f"prior_km with the lower limit first, got {list(self.prior_km)}")
        held_s = self.waveform.frames * self.waveform.frame_s
        if held_s > self.period_s:
            raise ValueError(f"frames that fit into period_s, {self.period_s:g} s, got {held_s:g} s of them")
        return self

    @property
    def waveform(self) -> Waveform:
        """The waveform; raises ValueError for blocks or pilots that cannot be."""
        spacing_hz = self.bandwidth_hz / self.subcarriers
        return Waveform(
            carrier_hz=self.carrier_hz,
            spacing_hz=spacing_hz,
            subcarriers=self.subcarriers,
            blocks=self.blocks,
            symbol_s=1.0 / spacing_hz + self.cyclic_prefix_s,
            slots=self.slots,
            slot_symbols=self.slot_symbols,
            slot_pilots=self.slot_pilots,
            frames=self.frames,
        )


class HandoverTable(Table):
    """What a change of the serving set costs."""

    acquisition_s: NonNegative = Field(0.02, description="time a joining satellite is mute for (s)")
    interruption_s: NonNegative = Field(0.05, description="outage of a hard change (s)")
    access_slots: int = Field(4, ge=1, description="users a satellite can acquire at once")
    ping_pong_window_s: Positive = Field(10.0, description="a satellite that comes back within this time (s)")


FAULT_KEYS = {  # those of each kind besides when, and whether it cannot do without
    "satellite": {"satellite": True},
    "feeder_link": {"satellite": False},
    "central_node": {"late_s": True},
    "solver": {},
    "elements": {"file": True, "satellite": False},
}


class FaultTable(Table):
    """Something that fails during the run."""

    kind: Literal["satellite", "feeder_link", "central_node", "solver", "elements"] = Field(
        description="what fails: a satellite, feeder links, the central node, the solvers, or the age of element sets"
    )
    at_s: NonNegative = Field(0.0, description="when it begins (s)")
    duration_s: Positive | None = Field(None, description="how long it lasts (s); none: to the end")
    satellite: int | str | None = Field(
        None, description='satellite, feeder_link, elements: catalogue number, or pattern of names such as "LEO-1*"'
    )
    late_s: Positive | None = Field(None, description="central_node: how much longer a decision takes (s)")
    file: str | None = Field(None, description="elements: old element sets of the same satellites, believed instead")

    @model_validator(mode="after")
    def _of_its_kind(self) -> FaultTable:
        keys = FAULT_KEYS[self.kind]
        for key in ("satellite", "late_s", "file"):
            given = getattr(self, key) is not None
            if given and key not in keys:
                raise ValueError(f'no {key} beside kind = "{self.kind}"')
            if keys.get(key) and not given:
                raise ValueError(f'{key} beside kind = "{self.kind}"')
        if self.kind == "solver" and self.at_s == 0.0:
            raise ValueError('at_s above 0 beside kind = "solver": at the start there is no decision to hold')
        return self


class AlgorithmTable(BaseModel):
    """Which algorithm, and its parameters (checked against the algorithm's own `Params`)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    algorithm: str = Field(min_length=1, description="name of a file in the folder, a path, or a dotted name")

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters as written."""
        return dict(self.__pydantic_extra__ or {})
