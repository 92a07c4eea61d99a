"""Orbital elements: TLE, 3LE and OMM (JSON, CSV, XML) files or a Walker pattern -> one Constellation.

Every record that cannot be trusted is kept out and named, with its reason, in the quarantine.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import fnmatch
import hashlib
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from sgp4.api import WGS72, Satrec

from leosim.records import Quarantine, Record, array
from leosim.units import (
    NS_PER_S,
    SECONDS_PER_DAY,
    WGS72_MU_M3_S2,
    WGS72_SEMI_MAJOR_M,
    deg_to_rad,
    rad_to_deg,
)

WGS72_J2 = 0.001_082_616
NS_PER_DAY = int(SECONDS_PER_DAY) * NS_PER_S
JD_1970 = 2_440_587.5
JD_1950 = 2_433_281.5  # 1949-12-31, the zero of SGP4's epoch argument
REV_PER_DAY_TO_RAD_MIN = 2.0 * math.pi / 1440.0

LARGEST_ALPHA5 = 339_999
LARGEST_NUMBER = 999_999_999
FASTEST_REV_DAY = 18.0  # a circular orbit at the surface makes 17.04
TLE_EPOCH_STEP_NS = 864_000  # 1e-8 day
WALKER_ECCENTRICITY = 1e-6  # SGP4's own floor, and ten steps of a TLE's last digit

_ALPHA5_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class ElementsError(ValueError):
    """Elements that cannot be used: the message says which file, what was expected and got, and the fix."""


class _RejectedError(ValueError):
    """One record that goes to quarantine; the message is the reason, `what: expected ..., got ...`."""


@dataclass(frozen=True)
class Source:
    """Where elements came from.

    file : name of the file (a walker: its description); sha256 : of the bytes of the file (a walker: of
    the description); format : "TLE", "3LE", "OMM JSON", "OMM CSV", "OMM XML" or "walker"; records : valid
    element sets read, before duplicates and selection; rejected : entries of this file that went to
    quarantine while reading; oldest_ns, median_ns, newest_ns : epochs of those read (ns since 1970 UTC).
    """

    file: str
    sha256: str
    format: str
    records: int
    rejected: int
    oldest_ns: int
    median_ns: int
    newest_ns: int


def _no_quarantine() -> Quarantine:
    """A quarantine without entries."""
    return _quarantine([])


@dataclass(frozen=True)
class Constellation(Record):
    """Mean elements (SGP4, TEME, WGS-72) of satellites, in strictly increasing order of catalogue number.

    `epoch_jd` + `epoch_fr` is the UTC Julian date split as sgp4 wants it (midnight, fraction of the day);
    `epoch_ns` is the same instant as an integer. `ndot_rad_min2` and `nddot_rad_min3` are as sgp4 takes
    them: the half of the first and the sixth of the second derivative of the mean motion (SGP4 ignores
    both). Raises ValueError when catalogue numbers are not strictly increasing.
    """

    sat: np.ndarray = array("sat", dtype="i4", doc="catalogue number, up to nine digits")
    name: np.ndarray = array("sat", dtype="str", doc="name; the catalogue number where the file has none")
    epoch_ns: np.ndarray = array("sat", dtype="i8", unit="ns", doc="epoch, since 1970-01-01 UTC")
    epoch_jd: np.ndarray = array("sat", unit="d", doc="Julian date of the epoch's midnight, UTC")
    epoch_fr: np.ndarray = array("sat", unit="d", doc="fraction of the epoch's day")
    mean_motion_rad_min: np.ndarray = array("sat", unit="rad min-1", doc="mean motion, Kozai")
    eccentricity: np.ndarray = array("sat", doc="eccentricity")
    inclination_rad: np.ndarray = array("sat", unit="rad", doc="inclination")
    raan_rad: np.ndarray = array("sat", unit="rad", doc="right ascension of the ascending node")
    argument_of_perigee_rad: np.ndarray = array("sat", unit="rad", doc="argument of perigee")
    mean_anomaly_rad: np.ndarray = array("sat", unit="rad", doc="mean anomaly")
    bstar: np.ndarray = array("sat", unit="earth_radius-1", doc="drag term B*")
    ndot_rad_min2: np.ndarray = array("sat", unit="rad min-2", doc="half the rate of the mean motion")
    nddot_rad_min3: np.ndarray = array("sat", unit="rad min-3", doc="a sixth of its second derivative")
    file: np.ndarray = array("sat", dtype="str", doc="name of the file the elements came from")
    line: np.ndarray = array("sat", dtype="i4", doc="line (TLE, CSV) or record (JSON, XML), from 1")
    sources: tuple[Source, ...] = ()
    quarantine: Quarantine = dataclasses.field(default_factory=_no_quarantine)

    def __post_init__(self) -> None:
        super().__post_init__()
        out_of_order = np.flatnonzero(np.diff(self.sat) <= 0)
        if out_of_order.size:
            before, after = self.sat[out_of_order[0] : out_of_order[0] + 2]
            raise ValueError(f"Constellation.sat: expected strictly increasing numbers, got {after} after {before}")

    def __len__(self) -> int:
        return int(self.sat.size)

    @property
    def median_epoch_ns(self) -> int:
        """Median epoch (ns since 1970 UTC); of an even number, the whole nanosecond between the middle two."""
        return _median_ns(self.epoch_ns)

    @property
    def semi_major_axis_m(self) -> np.ndarray:
        """Brouwer semi-major axis of each satellite : [sat] (m)."""
        return brouwer_semi_major_axis_m(self.mean_motion_rad_min, self.eccentricity, self.inclination_rad)

    @property
    def perigee_m(self) -> np.ndarray:
        """Height of the perigee a (1 - e) over 6378.135 km : [sat] (m)."""
        return self.semi_major_axis_m * (1.0 - self.eccentricity) - WGS72_SEMI_MAJOR_M

    @property
    def apogee_m(self) -> np.ndarray:
        """Height of the apogee a (1 + e) over 6378.135 km : [sat] (m)."""
        return self.semi_major_axis_m * (1.0 + self.eccentricity) - WGS72_SEMI_MAJOR_M

    def select(self, mask_or_rows: np.ndarray | Sequence[bool] | Sequence[int]) -> Constellation:
        """The satellites of a boolean mask [sat] or of row numbers, in order of catalogue number.

        Sources and quarantine stay those of the whole. Raises IndexError for a mask of the wrong length
        or a row out of range.
        """
        chosen = np.asarray(mask_or_rows)
        if chosen.dtype == np.bool_:
            if chosen.shape != self.sat.shape:
                raise IndexError(f"mask: expected shape {self.sat.shape}, got {chosen.shape}")
            rows = np.flatnonzero(chosen)
        else:
            rows = np.unique(np.arange(len(self))[chosen.astype(np.int64)])
        return self.replace(**{name: getattr(self, name)[rows] for name in self.array_fields()})

    def satrecs(self) -> list[Satrec]:
        """An sgp4 propagator for each satellite: WGS-72, improved mode.

        Equal to `Satrec.twoline2rv` of the same lines: the epoch argument is rounded as sgp4 does there,
        and the exact day and fraction are put back afterwards, since sgp4init recovers the fraction from
        the sum with an error of up to 20 microseconds (0.15 m). Catalogue numbers beyond Alpha-5 (339999),
        which sgp4 refuses, are 0 in the Satrec; the order of the list is that of `sat`.
        """
        columns = (
            np.where(self.sat <= LARGEST_ALPHA5, self.sat, 0),
            self.epoch_jd,
            self.epoch_fr,
            (self.epoch_jd + self.epoch_fr) - JD_1950,
            self.bstar,
            self.ndot_rad_min2,
            self.nddot_rad_min3,
            self.eccentricity,
            self.argument_of_perigee_rad,
            self.inclination_rad,
            self.mean_anomaly_rad,
            self.mean_motion_rad_min,
            self.raan_rad,
        )
        satrecs = []
        for number, jd, fr, *elements in zip(*(column.tolist() for column in columns), strict=True):
            satrec = Satrec()
            satrec.sgp4init(WGS72, "i", number, *elements)
            satrec.jdsatepoch, satrec.jdsatepochF = jd, fr
            satrecs.append(satrec)
        return satrecs


# ---------------------------------------------------------------------------------------------
# Kozai and Brouwer mean motion


def brouwer_semi_major_axis_m(
    mean_motion_rad_min: np.ndarray, eccentricity: np.ndarray, inclination_rad: np.ndarray
) -> np.ndarray:
    """Semi-major axis of the un-Kozai'd mean motion, as SGP4 initialises it.

    mean_motion_rad_min : [sat] Kozai (rad/min); eccentricity : [sat] (1); inclination_rad : [sat] (rad).
    Returns [sat] (m), with WGS-72 mu, radius and J2. Reference: Vallado et al., Revisiting Spacetrack
    Report #3, AIAA 2006-6753, routine initl, doi:10.2514/6.2006-6753.
    """
    n = mean_motion_rad_min / 60.0
    a1 = np.cbrt(WGS72_MU_M3_S2 / n**2) / WGS72_SEMI_MAJOR_M  # earth radii
    d = 0.75 * WGS72_J2 * (3.0 * np.cos(inclination_rad) ** 2 - 1.0) / (1.0 - eccentricity**2) ** 1.5
    delta = d / a1**2
    a0 = a1 * (1.0 - delta**2 - delta * (1.0 / 3.0 + 134.0 * delta**2 / 81.0))
    n_brouwer = n / (1.0 + d / a0**2)
    return np.cbrt(WGS72_MU_M3_S2 / n_brouwer**2)


def kozai_mean_motion_rad_min(semi_major_axis_m: float, eccentricity: float, inclination_rad: float) -> float:
    """Kozai mean motion (rad/min) whose Brouwer semi-major axis is the one given: the inverse, by iteration."""
    n_brouwer = 60.0 * math.sqrt(WGS72_MU_M3_S2 / semi_major_axis_m**3)
    n = n_brouwer
    for _ in range(10):  # each step gains four digits or more
        axis = float(brouwer_semi_major_axis_m(np.asarray(n), np.asarray(eccentricity), np.asarray(inclination_rad)))
        n *= (axis / semi_major_axis_m) ** 1.5
    return n


# ---------------------------------------------------------------------------------------------
# Reading


class _Row(NamedTuple):
    """One element set in the units of TLE and OMM (revolutions, days, degrees)."""

    sat: int
    name: str
    epoch_ns: int
    mean_motion: float
    eccentricity: float
    inclination: float
    raan: float
    argument_of_perigee: float
    mean_anomaly: float
    bstar: float
    ndot: float
    nddot: float
    line: int


class _Entry(NamedTuple):
    """One entry of the quarantine."""

    sat: int
    name: str
    file: str
    line: int
    reason: str


_Found = Iterator[_Row | _Entry]


def read_elements(
    files: Sequence[Path | str],
    include: Sequence[str] = (),
    altitude_km: tuple[float, float] | None = None,
) -> Constellation:
    """Read element files of any supported format, told apart by content, into one Constellation.

    files : one or several; include : name patterns (`STARLINK*`, as of a shell, case-insensitive), whole
    names or catalogue numbers (`25544`), all when empty; altitude_km : lowest and highest mean height
    (semi-major axis minus 6378.135 km). Of several element sets of one catalogue number the newest epoch
    is kept (of equal epochs the first read), the others are quarantined.

    Raises ElementsError when a file is missing, empty, no element file, or has no valid record, when a
    pattern of `include` matches nothing, or when nothing is left.
    """
    if isinstance(files, str | Path) or not files:
        raise ElementsError(f"elements: expected a list of files, got {files!r}; put the file in a list")
    rows: list[_Row] = []
    row_files: list[str] = []
    entries: list[_Entry] = []
    sources: list[Source] = []
    for path in map(Path, files):
        source, new_rows, new_entries = _read_file(path)
        sources.append(source)
        rows += new_rows
        row_files += [source.file] * len(new_rows)
        entries += new_entries
    constellation = _assemble(rows, row_files, sources, entries)
    if include:
        constellation = constellation.select(_included(constellation, include, files))
    if altitude_km is not None:
        low, high = altitude_km
        if not low <= high:
            raise ElementsError(f"altitude_km: expected [lowest, highest], got [{low:g}, {high:g}]; swap them")
        height_km = _mean_height_km(constellation)
        within = (height_km >= low) & (height_km <= high)
        if not within.any():
            raise ElementsError(
                f"{_names(files)}: expected satellites between {low:g} and {high:g} km, got none of "
                f"{len(constellation)} (their mean heights are {height_km.min():.0f} to "
                f"{height_km.max():.0f} km); widen altitude_km"
            )
        constellation = constellation.select(within)
    return constellation


def _read_file(path: Path) -> tuple[Source, list[_Row], list[_Entry]]:
    """Read one file: its Source, the valid records and those rejected. Raises ElementsError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ElementsError(f"{path}: expected an element file, got no such file; check the path") from None
    except OSError as error:
        raise ElementsError(f"{path}: expected a readable file, got {error.strerror}; check it") from error
    text = _decode(data).replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    if not text.strip():
        raise ElementsError(f"{path}: expected TLE, 3LE or OMM records, got an empty file; download it again")
    format_, found = _recognise(path, text)
    rows: list[_Row] = []
    entries: list[_Entry] = []
    for item in found:
        if isinstance(item, _Row):
            rows.append(item)
        else:
            entries.append(item._replace(file=path.name))
    if not rows:
        place = "record" if format_ in ("OMM JSON", "OMM XML") else "line"
        first = f"first, {place} {entries[0].line}: {entries[0].reason}" if entries else "the file holds no record"
        raise ElementsError(
            f"{path}: expected at least one valid {format_} record, got {len(entries)} rejected and none "
            f"accepted; {first}; mend the file or download it again"
        )
    epochs = np.array([row.epoch_ns for row in rows], dtype=np.int64)
    source = Source(
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        format=format_,
        records=len(rows),
        rejected=len(entries),
        oldest_ns=int(epochs.min()),
        median_ns=_median_ns(epochs),
        newest_ns=int(epochs.max()),
    )
    return source, rows, entries


def _decode(data: bytes) -> str:
    """Text of a file: UTF-8 (with or without mark), UTF-16 with its mark, Latin-1 otherwise."""
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _recognise(path: Path, text: str) -> tuple[str, _Found]:
    """The format of a text, by content, and the records found in it. Raises ElementsError."""
    start = text.lstrip()
    if start[0] == "{" or re.match(r"\[\s*(?:[{\]]|$)", start):
        return "OMM JSON", _read_json(text)
    if start[0] == "<" and re.search(r"<(?:\w+:)?(?:ndm|omm|segment)\b", start):
        return "OMM XML", _read_xml(text)
    lines = text.split("\n")
    header_line = next(number for number, line in enumerate(lines) if line.strip())
    header = [key.strip().strip('"').upper() for key in lines[header_line].split(",")]
    if len(set(header) & set(_OMM_REQUIRED)) >= 3:
        missing = [key for key in _OMM_REQUIRED if key not in header]
        if missing:
            raise ElementsError(
                f"{path}: expected the OMM columns {', '.join(missing)}, got a header without them; "
                "download the CSV again"
            )
        return "OMM CSV", _read_csv(lines, header_line, header)
    used = _tle_lines(lines)
    kinds = {kind for _, _, kind in used}
    if not kinds & {"1", "2"}:
        shown = start.split("\n", 1)[0].strip()[:60]
        raise ElementsError(
            f"{path}: expected TLE, 3LE or OMM (JSON, CSV, XML) records, got text beginning {shown!r}; "
            "give an element file"
        )
    return "3LE" if "name" in kinds else "TLE", _read_tle(used)


def _assemble(rows: list[_Row], files: list[str], sources: Iterable[Source], entries: list[_Entry]) -> Constellation:
    """Rows in any order -> Constellation in SI and radians; the older of duplicates go to quarantine."""
    columns = dict(zip(_Row._fields, (np.array(column) for column in zip(*rows, strict=True)), strict=True))
    sat = columns["sat"].astype(np.int64)
    epoch_ns = columns["epoch_ns"].astype(np.int64)
    order = np.lexsort((np.arange(sat.size), -epoch_ns, sat))
    first = np.ones(sat.size, dtype=bool)
    first[1:] = sat[order][1:] != sat[order][:-1]
    keeper = order[np.maximum.accumulate(np.where(first, np.arange(sat.size), 0))]
    for lost, kept in sorted(zip(order[~first].tolist(), keeper[~first].tolist(), strict=True)):
        reason = (
            f"duplicate: expected one element set of a catalogue number, got another of epoch "
            f"{_iso(rows[lost].epoch_ns)}; kept that of {_iso(rows[kept].epoch_ns)} "
            f"({files[kept]}: {rows[kept].line})"
        )
        entries.append(_Entry(rows[lost].sat, rows[lost].name, files[lost], rows[lost].line, reason))
    keep = order[first]
    day, ns_of_day = np.divmod(epoch_ns[keep], NS_PER_DAY)
    minutes_per_rad = 1440.0 / (2.0 * math.pi)  # dividing by it, as sgp4 does, keeps every bit
    return Constellation(
        sat=sat[keep],
        name=columns["name"][keep],
        epoch_ns=epoch_ns[keep],
        epoch_jd=JD_1970 + day,
        epoch_fr=ns_of_day / NS_PER_DAY,
        mean_motion_rad_min=columns["mean_motion"][keep] / minutes_per_rad,
        eccentricity=columns["eccentricity"][keep],
        inclination_rad=deg_to_rad(columns["inclination"][keep]),
        raan_rad=deg_to_rad(columns["raan"][keep]),
        argument_of_perigee_rad=deg_to_rad(columns["argument_of_perigee"][keep]),
        mean_anomaly_rad=deg_to_rad(columns["mean_anomaly"][keep]),
        bstar=columns["bstar"][keep],
        ndot_rad_min2=columns["ndot"][keep] / (minutes_per_rad * 1440.0),
        nddot_rad_min3=columns["nddot"][keep] / (minutes_per_rad * 1440.0 * 1440.0),
        file=np.array(files)[keep],
        line=columns["line"][keep],
        sources=tuple(sources),
        quarantine=_quarantine(entries),
    )


def _quarantine(entries: Sequence[_Entry]) -> Quarantine:
    return Quarantine(
        sat=np.array([entry.sat for entry in entries], dtype=np.int32),
        name=np.array([entry.name for entry in entries], dtype=np.str_),
        file=np.array([entry.file for entry in entries], dtype=np.str_),
        line=np.array([entry.line for entry in entries], dtype=np.int32),
        reason=np.array([entry.reason for entry in entries], dtype=np.str_),
        from_ns=np.zeros(len(entries), dtype=np.int64),
    )


def _included(constellation: Constellation, include: Sequence[str], files: Sequence[Path | str]) -> np.ndarray:
    """Mask [sat] of the satellites that any pattern names. Raises ElementsError when one names none."""
    if isinstance(include, str):
        raise ElementsError(f"include: expected a list of patterns, got {include!r}; put it in a list")
    names = [name.upper() for name in constellation.name.tolist()]
    mask = np.zeros(len(constellation), dtype=bool)
    for pattern in include:
        wanted = pattern.strip().upper()
        matches = re.compile(fnmatch.translate(wanted)).match
        hit = np.array([name == wanted or matches(name) is not None for name in names], dtype=bool)
        if wanted.isdecimal():
            hit |= constellation.sat == int(wanted)
        if not hit.any():
            raise ElementsError(
                f"{_names(files)}: expected a satellite that matches {pattern!r}, got none of "
                f"{len(constellation)} read; {_nearest(wanted, names)}"
            )
        mask |= hit
    return mask


def _nearest(wanted: str, names: list[str]) -> str:
    """A hint with the names nearest to a pattern that matched nothing."""
    if any(mark in wanted for mark in "*?"):
        stem = re.sub(r"[*?].*", "", wanted)
        stems = Counter(re.match(r"[^-\s\d(]*", name).group() for name in names)  # type: ignore[union-attr]
        near = [f"{name}*" for name in difflib.get_close_matches(stem, [s for s in stems if s], n=3)]
        near = near or [f"{name}*" for name, _ in stems.most_common(3) if name]
    else:
        near = difflib.get_close_matches(wanted, names, n=3) or names[:3]
    return "nearest are " + ", ".join(near)


def _mean_height_km(constellation: Constellation) -> np.ndarray:
    """Semi-major axis minus 6378.135 km : [sat] (km), to the metre, so that 550 km is not 549.9999999."""
    return np.round((constellation.semi_major_axis_m - WGS72_SEMI_MAJOR_M) / 1e3, 3)


def _names(files: Sequence[Path | str]) -> str:
    return ", ".join(str(file) for file in files)


# ---------------------------------------------------------------------------------------------
# TLE and 3LE


def _padded(width: int, least: int = 1) -> str:
    """Pattern of a right-aligned whole number in `width` columns, blanks or zeros on its left."""
    return "|".join(f"{' ' * blanks}[0-9]{{{width - blanks}}}" for blanks in range(width - least + 1))


_ANGLE = rf"(?:{_padded(3, 0)})\.[0-9]{{4}}"
_POWER = r"[ +-][0-9]{5}[ +-][0-9]"
_NUMBER = rf"{_padded(5)}|[{_ALPHA5_LETTERS}][0-9]{{4}}"

# first column (from 0), end, pattern, name, layout shown in the reason
_LINE_1 = (
    (0, 2, "1 ", "", "'1 '"),
    (2, 7, _NUMBER, "catalogue number", "NNNNN or Alpha-5"),
    (7, 9, "[A-Z ] ", "", "a class and a blank"),
    (9, 18, "[ -~]{8} ", "", "a designator and a blank"),
    (18, 20, "[ 0-9][0-9]", "epoch year", "YY"),
    (20, 23, _padded(3), "epoch day", "DDD"),
    (23, 24, r"\.", "", "'.'"),
    (24, 32, "[0-9]{8}", "epoch fraction", "DDDDDDDD"),
    (32, 33, " ", "", "a blank"),
    (33, 43, r"[ +0-]\.[0-9]{8}", "first derivative", "+.NNNNNNNN"),
    (43, 44, " ", "", "a blank"),
    (44, 52, _POWER, "second derivative", "+NNNNN+N"),
    (52, 53, " ", "", "a blank"),
    (53, 61, _POWER, "B*", "+NNNNN+N"),
    (61, 62, " ", "", "a blank"),
    (62, 63, "[ 0-9]", "ephemeris type", "a digit"),
    (63, 64, " ", "", "a blank"),
    (64, 68, "[ 0-9]{4}", "", "NNNN"),
    (68, 69, "[0-9]", "checksum", "a digit"),
)
_LINE_2 = (
    (0, 2, "2 ", "", "'2 '"),
    (2, 7, _NUMBER, "catalogue number", "NNNNN or Alpha-5"),
    (7, 8, " ", "", "a blank"),
    (8, 16, _ANGLE, "inclination", "DDD.DDDD"),
    (16, 17, " ", "", "a blank"),
    (17, 25, _ANGLE, "right ascension", "DDD.DDDD"),
    (25, 26, " ", "", "a blank"),
    (26, 33, _padded(7), "eccentricity", "NNNNNNN"),
    (33, 34, " ", "", "a blank"),
    (34, 42, _ANGLE, "argument of perigee", "DDD.DDDD"),
    (42, 43, " ", "", "a blank"),
    (43, 51, _ANGLE, "mean anomaly", "DDD.DDDD"),
    (51, 52, " ", "", "a blank"),
    (52, 63, rf"(?:{_padded(2, 0)})\.[0-9]{{8}}", "mean motion", "NN.NNNNNNNN"),
    (63, 68, "[ 0-9]{5}", "", "NNNNN"),
    (68, 69, "[0-9]", "checksum", "a digit"),
)


def _line_pattern(fields: Sequence[tuple[int, int, str, str, str]]) -> re.Pattern[str]:
    """One pattern for a whole line; its groups are the named fields."""
    return re.compile("".join(f"({p})" if name else f"(?:{p})" for _, _, p, name, _ in fields))


_LINE_1_PATTERN = _line_pattern(_LINE_1)
_LINE_2_PATTERN = _line_pattern(_LINE_2)
_TRAILING_NUMBERS = re.compile(r"(?: +[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))+")
_CHECKSUM_WEIGHTS = bytes(code - 48 if 48 <= code <= 57 else 1 if code == ord("-") else 0 for code in range(256))


def alpha5(number: int) -> str:
    """A catalogue number in five columns: digits, or a letter for the first two (100000 is A0000).

    Raises ValueError above 339999 (Z9999).
    """
    if not 0 <= number <= LARGEST_ALPHA5:
        raise ValueError(
            f"catalogue number {number}: expected 0 to {LARGEST_ALPHA5}, the largest a TLE holds (Alpha-5); "
            "write OMM instead"
        )
    if number < 100_000:
        return f"{number:05d}"
    return f"{_ALPHA5_LETTERS[number // 10_000 - 10]}{number % 10_000:04d}"


def from_alpha5(text: str) -> int:
    """The catalogue number of five columns of a TLE. Raises ValueError when they hold none."""
    if not re.fullmatch(_NUMBER, text):
        raise ValueError(f"catalogue number: expected NNNNN or Alpha-5, got {text!r}")
    if text[0] in _ALPHA5_LETTERS:
        return (_ALPHA5_LETTERS.index(text[0]) + 10) * 10_000 + int(text[1:])
    return int(text)


def tle_checksum(line: str) -> int:
    """Sum modulo 10 of the digits of the first 68 columns, a minus counting as 1, all else as 0."""
    return sum(line[:68].encode("ascii", "replace").translate(_CHECKSUM_WEIGHTS)) % 10


def _line_kind(line: str) -> str:
    """What a line without trailing blanks is: "1", "2", "name", or "" for blank lines and comments.

    A line is an element line if it begins so and is longer than any name (24 columns) could be.
    """
    if not line or line[0] == "#":
        return ""
    return line[0] if line[:2] in ("1 ", "2 ") and len(line) > 30 else "name"


def _tle_lines(lines: Sequence[str]) -> list[tuple[int, str, str]]:
    """The lines of a TLE file that count: number from 1, text without trailing blanks, kind."""
    stripped = ((number, line.rstrip()) for number, line in enumerate(lines, 1))
    return [(number, line, kind) for number, line in stripped if (kind := _line_kind(line))]


def _read_tle(lines: Sequence[tuple[int, str, str]]) -> _Found:
    """Records of TLE (two lines) and 3LE (with a name line, also `0 NAME`) text, mixed at will.

    After anything out of sequence the reader goes on at the next line that can begin a record. Numbers
    separated by blanks after column 69 of line 2 (the start, stop and step of Vallado's verification set)
    are allowed and ignored.
    """
    used = [*lines, (0, "", "end")]
    words = {"1": "another line 1", "2": "line 2", "name": "a name", "end": "the end of the file"}
    name, name_line = "", 0
    row = 0
    while row < len(used) - 1:
        number, line, kind = used[row]
        _, next_line, next_kind = used[row + 1]
        row += 1
        if kind == "name":
            name, name_line = line.removeprefix("0 ").strip(), number
            if next_kind != "1":
                got = words[next_kind] if next_kind != "name" else "another name"
                yield _Entry(
                    _number_in(next_line) if next_kind == "2" else -1,
                    name,
                    "",
                    name_line,
                    f"missing line 1: expected it after the name, got {got}",
                )
                row += next_kind == "2"
                name = ""
            continue
        if kind == "2":
            reason = "missing line 1: expected it before line 2, got line 2 alone"
            yield _Entry(_number_in(line), name, "", number, reason)
        elif next_kind != "2":
            reason = f"missing line 2: expected it after line 1, got {words[next_kind]}"
            yield _Entry(_number_in(line), name, "", number, reason)
        else:
            row += 1
            try:
                yield _tle_record(line, next_line, name, number)
            except _RejectedError as rejected:
                yield _Entry(_number_in(line), name, "", number, str(rejected))
        name = ""


def _number_in(line: str) -> int:
    """The catalogue number of a line that may be damaged; -1: not readable."""
    try:
        return from_alpha5(line[2:7])
    except ValueError:
        return -1


def _tle_record(line_1: str, line_2: str, name: str, number: int) -> _Row:
    """The element set of two lines. Raises _RejectedError with the first thing wrong.

    Columns are checked one by one against the layout, then the checksums, so that within columns 1 to 69
    no single changed character can alter a number unnoticed: the checksum misses only exchanges of equal
    weight (`1` and `-`; `0` and blank, `+`, `.` or a letter), and of these the layout admits only those
    that leave the value, or the catalogue number that the other line then contradicts.
    """
    if len(line_2) > 69 and _TRAILING_NUMBERS.fullmatch(line_2, 69):
        line_2 = line_2[:69]
    match_1, match_2 = _LINE_1_PATTERN.fullmatch(line_1), _LINE_2_PATTERN.fullmatch(line_2)
    if match_1 is None or match_2 is None:
        raise _RejectedError(_layout_fault(line_1, _LINE_1) or _layout_fault(line_2, _LINE_2))
    number_1, year, day, fraction, ndot, nddot, bstar, ephemeris, sum_1 = match_1.groups()
    number_2, inclination, raan, eccentricity, perigee, anomaly, motion, sum_2 = match_2.groups()
    for which, line, given in (("1", line_1, sum_1), ("2", line_2, sum_2)):
        if (summed := tle_checksum(line)) != int(given):
            raise _RejectedError(f"checksum of line {which}: expected {summed}, got {given}")
    if number_1 != number_2:
        raise _RejectedError(f"catalogue number of line 2: expected {number_1} as on line 1, got {number_2}")
    sat = int(number_1) if number_1[0] in " 0123456789" else from_alpha5(number_1)
    if ephemeris not in " 023":
        raise _RejectedError(f"ephemeris type: expected 0, 2 or 3 (SGP4), got {ephemeris}")
    try:
        new_year = _new_year(int(year) + (2000 if int(year) < 57 else 1900), int(day))
    except ValueError as error:
        raise _RejectedError(f"epoch day: {error}") from None
    epoch_ns = (new_year + int(day) - 1) * NS_PER_DAY + int(fraction) * TLE_EPOCH_STEP_NS
    return _checked(
        _Row(
            sat,
            name or str(sat),
            epoch_ns,
            float(motion),
            int(eccentricity) / 1e7,
            float(inclination),
            float(raan),
            float(perigee),
            float(anomaly),
            _power(bstar),
            float(ndot),
            _power(nddot),
            number,
        )
    )


def _power(field: str) -> float:
    """The number of `+NNNNN+N`: sign, decimals after an unwritten point, power of ten."""
    return float(f"{field[0]}.{field[1:6]}e{field[6:]}".replace(" ", ""))


def _layout_fault(line: str, fields: Sequence[tuple[int, int, str, str, str]]) -> str:
    """What is wrong with the layout of a line; empty: nothing."""
    which = fields[0][2][0]
    if len(line) != 69:
        return f"length of line {which}: expected 69 columns, got {len(line)}"
    for start, end, pattern, name, layout in fields:
        if not re.fullmatch(pattern, line[start:end]):
            what = f"{name or 'layout'} of line {which}"
            return f"{what}: expected {layout} in columns {start + 1} to {end}, got {line[start:end]!r}"
    return ""


_ORDINAL_1970 = date(1970, 1, 1).toordinal()


def _new_year(year: int, day_of_year: int) -> int:
    """Days from 1970 to the first of January. Raises ValueError when the year has no such day."""
    first = date(year, 1, 1).toordinal()
    length = 366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365
    if not 1 <= day_of_year <= length:
        raise ValueError(f"expected 1 to {length} in {year}, got {day_of_year}")
    return first - _ORDINAL_1970


def _checked(row: _Row) -> _Row:
    """The row, its numbers being in range. Raises _RejectedError otherwise."""
    if not 1 <= row.sat <= LARGEST_NUMBER:
        raise _RejectedError(f"catalogue number: expected 1 to {LARGEST_NUMBER}, got {row.sat}")
    if not 0.0 < row.mean_motion <= FASTEST_REV_DAY:
        raise _RejectedError(
            f"mean motion: expected more than 0, at most {FASTEST_REV_DAY:g} rev/day, got {row.mean_motion:g}"
        )
    if not 0.0 <= row.eccentricity < 1.0:
        raise _RejectedError(f"eccentricity: expected 0 to below 1, got {row.eccentricity:g}")
    if not 0.0 <= row.inclination <= 180.0:
        raise _RejectedError(f"inclination: expected 0 to 180 degrees, got {row.inclination:g}")
    for what, angle in (
        ("right ascension", row.raan),
        ("argument of perigee", row.argument_of_perigee),
        ("mean anomaly", row.mean_anomaly),
    ):
        if not 0.0 <= angle <= 360.0:
            raise _RejectedError(f"{what}: expected 0 to 360 degrees, got {angle:g}")
    return row


# ---------------------------------------------------------------------------------------------
# OMM


_OMM_NUMBERS = (
    "MEAN_MOTION",
    "ECCENTRICITY",
    "INCLINATION",
    "RA_OF_ASC_NODE",
    "ARG_OF_PERICENTER",
    "MEAN_ANOMALY",
    "BSTAR",
)
_OMM_REQUIRED = ("NORAD_CAT_ID", "EPOCH", *_OMM_NUMBERS)
_OMM_IGNORED = ("MEAN_MOTION_DOT", "MEAN_MOTION_DDOT")
# values allowed where the key is given; CelesTrak leaves most of them out
_OMM_FIXED = {
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4", ""),
    "REF_FRAME": ("TEME", ""),
    "TIME_SYSTEM": ("UTC", ""),
    "CENTER_NAME": ("EARTH", ""),
    "EPHEMERIS_TYPE": ("0", "2", "3", ""),  # 4 is SGP4-XP, whose elements are others
}
_OMM_COLUMNS = (
    *("OBJECT_NAME", "OBJECT_ID", "EPOCH", "MEAN_MOTION", "ECCENTRICITY", "INCLINATION", "RA_OF_ASC_NODE"),
    *("ARG_OF_PERICENTER", "MEAN_ANOMALY", "EPHEMERIS_TYPE", "CLASSIFICATION_TYPE", "NORAD_CAT_ID"),
    *("ELEMENT_SET_NO", "REV_AT_EPOCH", "BSTAR", "MEAN_MOTION_DOT", "MEAN_MOTION_DDOT"),
)
_OMM_SAT = re.compile("[0-9]{1,12}")
_OMM_EPOCH = re.compile(
    r"([0-9]{4})-(?:([0-9]{2})-([0-9]{2})|([0-9]{3}))[T ]"
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|\+00:00)?"
)


def _omm_epoch_ns(text: object) -> int:
    """Epoch of an OMM (ISO calendar or day-of-year date, UTC) as ns since 1970. Raises _RejectedError."""
    match = _OMM_EPOCH.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is not None and "1957" <= match[1] <= "2199":
        year, month, day, day_of_year, hour, minute, second, fraction = match.groups()
        try:
            if day_of_year is None:
                days = date(int(year), int(month), int(day)).toordinal() - _ORDINAL_1970
            else:
                days = _new_year(int(year), int(day_of_year)) + int(day_of_year) - 1
            whole = _second_of_day(int(hour), int(minute), int(second))
        except ValueError:
            pass
        else:
            nanoseconds = int(fraction.ljust(9, "0")) if fraction else 0
            return days * NS_PER_DAY + whole * NS_PER_S + nanoseconds
    raise _RejectedError(f"EPOCH: expected YYYY-MM-DDThh:mm:ss.ffffff in UTC, from 1957 to 2199, got {text!r}")


def _second_of_day(hour: int, minute: int, second: int) -> int:
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("no time of day")
    return (hour * 60 + minute) * 60 + second


def _omm_record(fields: Mapping[str, object], number: int) -> _Row:
    """The element set of the keys of one OMM. Raises _RejectedError with the first thing wrong.

    MEAN_MOTION_DOT and MEAN_MOTION_DDOT, which SGP4 ignores, are 0 when absent.
    """
    for key, allowed in _OMM_FIXED.items():
        if key in fields and str(value := fields[key] or "").strip().upper() not in allowed:
            raise _RejectedError(f"{key}: expected {' or '.join(allowed[:-1])}, got {value!r}")
    try:
        numbers = [float(fields[key]) for key in _OMM_NUMBERS]  # type: ignore[arg-type]
        ndot, nddot = (float(fields.get(key) or 0.0) for key in _OMM_IGNORED)  # type: ignore[arg-type]
        usable = math.isfinite(sum(numbers) + ndot + nddot)
    except (KeyError, TypeError, ValueError, OverflowError):
        usable = False
    sat = str(fields.get("NORAD_CAT_ID", "")).strip()
    if not usable or not fields.get("EPOCH") or not _OMM_SAT.fullmatch(sat):
        raise _RejectedError(_omm_fault(fields))
    motion, eccentricity, inclination, raan, perigee, anomaly, bstar = numbers
    return _checked(
        _Row(
            int(sat),
            str(fields.get("OBJECT_NAME") or "").strip() or str(int(sat)),
            _omm_epoch_ns(fields["EPOCH"]),
            motion,
            eccentricity,
            inclination,
            raan,
            perigee,
            anomaly,
            bstar,
            ndot,
            nddot,
            number,
        )
    )


def _omm_fault(fields: Mapping[str, object]) -> str:
    """Which key of an OMM is missing or no number, and what stands there."""
    for key in ("NORAD_CAT_ID", "EPOCH", *_OMM_NUMBERS):
        if fields.get(key) in (None, ""):
            return f"{key}: expected a value, got none"
    for key in (*_OMM_NUMBERS, *_OMM_IGNORED):
        try:
            finite = math.isfinite(float(fields.get(key) or 0.0))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            finite = False
        if not finite:
            return f"{key}: expected a finite number, got {fields[key]!r}"
    return f"NORAD_CAT_ID: expected a whole number, got {fields['NORAD_CAT_ID']!r}"


def _omm_row_or_entry(fields: Mapping[str, object], number: int) -> _Row | _Entry:
    try:
        return _omm_record(fields, number)
    except _RejectedError as rejected:
        return _omm_entry(fields, number, str(rejected))


def _omm_entry(fields: Mapping[str, object], number: int, reason: str) -> _Entry:
    """A rejected OMM, with its catalogue number and name as far as readable."""
    sat = str(fields.get("NORAD_CAT_ID", "")).strip()
    readable = _OMM_SAT.fullmatch(sat) is not None and int(sat) <= LARGEST_NUMBER
    return _Entry(int(sat) if readable else -1, str(fields.get("OBJECT_NAME") or ""), "", number, reason)


def _read_csv(lines: Sequence[str], header_line: int, header: Sequence[str]) -> _Found:
    """Records of OMM CSV text, a line each; a line with a wrong number of fields is rejected.

    A last line cut inside its last field cannot be told from a whole one; in CelesTrak's files that
    field is MEAN_MOTION_DDOT, which SGP4 ignores.
    """
    for number, line in enumerate(lines[header_line + 1 :], header_line + 2):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            values = next(csv.reader([line], strict=True)) if '"' in line else line.rstrip().split(",")
        except csv.Error as error:
            yield _Entry(-1, "", "", number, f"CSV row: expected closed quotes, got {error}")
            continue
        fields = dict(zip(header, values, strict=False))
        if len(values) != len(header):
            reason = f"CSV row: expected {len(header)} fields, got {len(values)}"
            yield _omm_entry(fields, number, reason)
            continue
        yield _omm_row_or_entry(fields, number)


def _read_json(text: str) -> _Found:
    """Records of OMM JSON text (an array, one object, or objects in a row), decoded one by one.

    A damaged object is rejected and reading goes on at the next one; so a file cut in the middle gives
    its complete records.
    """
    decoder = json.JSONDecoder()
    between = re.compile(r"[\s,]*")
    position = between.match(text).end()  # type: ignore[union-attr]
    is_array = text.startswith("[", position)
    position += is_array
    number = 0
    while True:
        position = between.match(text, position).end()  # type: ignore[union-attr]
        if position >= len(text):
            if is_array:
                yield _Entry(
                    -1,
                    "",
                    "",
                    number + 1,
                    f"cut JSON: expected ']' after {number} records, got the end of the file; "
                    "later records may be missing",
                )
            return
        if is_array and text[position] == "]":
            rest = text[position + 1 :].strip()
            if rest:
                reason = f"JSON: expected nothing after ']', got {rest[:20]!r}"
                yield _Entry(-1, "", "", number + 1, reason)
            return
        number += 1
        try:
            fields, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            shown = text[position : position + 500]
            yield _omm_entry(
                dict(re.findall(r'"(OBJECT_NAME|NORAD_CAT_ID)"\s*:\s*"?([^",}]*)[",}]', shown)),
                number,
                f"cut JSON: expected a complete object, got {error}",
            )
            position = text.find("{", position + 1)
            if position < 0:
                return
            continue
        if isinstance(fields, dict):
            # float(True) would be 1
            fields = {key: str(value) if isinstance(value, bool) else value for key, value in fields.items()}
            yield _omm_row_or_entry(fields, number)
        else:
            yield _Entry(-1, "", "", number, f"JSON: expected an object, got {str(fields)[:20]!r}")


def _read_xml(text: str) -> _Found:
    """Records of OMM XML text (CCSDS NDM or OMM, with or without namespace), a segment each.

    A file cut in the middle gives its complete segments; what follows a fault is rejected as a whole.
    """
    parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(events=("end",))
    parser.feed(text)
    number = 0
    try:
        for event in parser.read_events():
            element: Any = event[1]  # type: ignore[misc]
            if element.tag.rpartition("}")[2] == "segment":
                number += 1
                fields = {leaf.tag.rpartition("}")[2]: (leaf.text or "").strip() for leaf in element.iter()}
                yield _omm_row_or_entry(fields, number)
                element.clear()
        parser.close()
        for _ in parser.read_events():
            pass
    except ElementTree.ParseError as error:
        yield _Entry(-1, "", "", number + 1, f"cut XML: expected well-formed text to the end, got {error}")


# ---------------------------------------------------------------------------------------------
# Walker patterns


def walker(
    pattern: str,
    altitude_km: float,
    epoch: datetime,
    kind: Literal["delta", "star"] = "delta",
    name: str = "WALKER",
    first_number: int = 1,
) -> Constellation:
    """A Walker constellation `inclination:T/P/F`, such as `53:1584/72/39`.

    T satellites in P planes, circular, without drag; the nodes of the planes are spread over 360 degrees
    (delta) or 180 (star), the first at right ascension 0; satellite s of plane p is at mean anomaly
    360 s P / T + 360 p F / T degrees, with the perigee at the node. Names are NAME-plane-slot, catalogue
    numbers count from `first_number`, plane by plane. The Brouwer semi-major axis is 6378.135 km +
    `altitude_km`; eccentricity 1e-6. Raises ValueError for a bad pattern, an epoch without a time zone,
    or a value out of range. Reference: J. G. Walker, Satellite constellations, J. British
    Interplanetary Society 37 (1984) 559-571.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*:\s*([0-9]+)\s*/\s*([0-9]+)\s*/\s*([0-9]+)\s*", pattern, re.ASCII)
    if match is None:
        raise ValueError(
            f"walker pattern: expected inclination:T/P/F such as '53:1584/72/39', got {pattern!r}; mend it"
        )
    inclination_deg = float(match[1])
    T, P, F = int(match[2]), int(match[3]), int(match[4])
    if inclination_deg > 180.0:
        raise ValueError(f"walker inclination: expected 0 to 180 degrees, got {inclination_deg:g}")
    if T < 1 or P < 1 or T % P:
        nearest = f"; try T = {max(round(T / P), 1) * P}" if P else ""
        raise ValueError(f"walker T/P: expected T a multiple of P, got T = {T}, P = {P}{nearest}")
    if F >= P:
        raise ValueError(f"walker F: expected 0 to P - 1 = {P - 1}, got {F}; try F = {F % P}")
    if kind not in ("delta", "star"):
        raise ValueError(f"walker kind: expected 'delta' or 'star', got {kind!r}")
    if epoch.tzinfo is None:
        raise ValueError(f"walker epoch: expected a time zone, got {epoch.isoformat()}; append Z for UTC")
    if not 0.0 < altitude_km < 100_000.0:
        raise ValueError(f"walker altitude_km: expected more than 0, below 100000, got {altitude_km:g}")
    if not 1 <= first_number <= LARGEST_NUMBER - T + 1:
        raise ValueError(f"walker first_number: expected 1 to {LARGEST_NUMBER - T + 1}, got {first_number}")
    S = T // P
    plane, slot = np.divmod(np.arange(T), S)
    spread = 360.0 if kind == "delta" else 180.0
    anomaly_deg = np.mod(slot * P + plane * F, T) * 360.0 / T  # whole numbers first: no rounding piles up
    mean_motion = kozai_mean_motion_rad_min(
        WGS72_SEMI_MAJOR_M + altitude_km * 1e3, WALKER_ECCENTRICITY, deg_to_rad(inclination_deg)
    )
    epoch_ns = _ns_since_1970(epoch)
    day, ns_of_day = divmod(epoch_ns, NS_PER_DAY)
    wide_plane, wide_slot = max(len(str(P)), 2), max(len(str(S)), 2)
    description = f"walker {kind} {match[1]}:{T}/{P}/{F} {altitude_km:g} km {_iso(epoch_ns)}"
    return Constellation(
        sat=first_number + np.arange(T),
        name=np.array(
            [
                f"{name}-{p + 1:0{wide_plane}d}-{s + 1:0{wide_slot}d}"
                for p, s in zip(plane.tolist(), slot.tolist(), strict=True)
            ]
        ),
        epoch_ns=np.full(T, epoch_ns),
        epoch_jd=np.full(T, JD_1970 + day),
        epoch_fr=np.full(T, ns_of_day / NS_PER_DAY),
        mean_motion_rad_min=np.full(T, mean_motion),
        eccentricity=np.full(T, WALKER_ECCENTRICITY),
        inclination_rad=np.full(T, deg_to_rad(inclination_deg)),
        raan_rad=deg_to_rad(plane * spread / P),
        argument_of_perigee_rad=np.zeros(T),
        mean_anomaly_rad=deg_to_rad(anomaly_deg),
        bstar=np.zeros(T),
        ndot_rad_min2=np.zeros(T),
        nddot_rad_min3=np.zeros(T),
        file=np.full(T, description),
        line=np.arange(1, T + 1),
        sources=(
            Source(
                file=description,
                sha256=hashlib.sha256(description.encode()).hexdigest(),
                format="walker",
                records=T,
                rejected=0,
                oldest_ns=epoch_ns,
                median_ns=epoch_ns,
                newest_ns=epoch_ns,
            ),
        ),
    )


# ---------------------------------------------------------------------------------------------
# Writing


def format_tle(constellation: Constellation) -> str:
    """The constellation as 3LE text: epochs to 1e-8 day, angles to 1e-4 degree, eccentricity to 1e-7.

    The international designator, which a Constellation does not keep, is blank. Raises ValueError for
    what a TLE cannot hold: a catalogue number above 339999, an epoch outside 1957 to 2056, or a
    derivative or drag term too large; format_omm_csv holds them all.
    """
    lines: list[str] = []
    for row in _rows(constellation):
        number = alpha5(row.sat)
        steps = (row.epoch_ns + TLE_EPOCH_STEP_NS // 2) // TLE_EPOCH_STEP_NS
        day, fraction = divmod(steps, 100_000_000)
        when = date.fromordinal(_ORDINAL_1970 + day)
        if not 1957 <= when.year <= 2056:
            raise ValueError(f"{row.name}: expected an epoch from 1957 to 2056, got {when}; write OMM instead")
        if abs(row.ndot) >= 0.999_999_995:
            raise ValueError(
                f"{row.name}: expected a first derivative below 1 rev/day2, got {row.ndot:g}; write OMM instead"
            )
        ndot = f"{row.ndot:+.8f}".replace("+0.", " .").replace("-0.", "-.")
        line_1 = (
            f"1 {number}U          {when.year % 100:02d}{when.timetuple().tm_yday:03d}.{fraction:08d} {ndot} "
            f"{_as_power(row.nddot, row.name)} {_as_power(row.bstar, row.name)} 0  999"
        )
        eccentricity = min(round(row.eccentricity * 1e7), 9_999_999)
        raan, perigee, anomaly = (
            round(angle, 4) % 360.0 for angle in (row.raan, row.argument_of_perigee, row.mean_anomaly)
        )
        line_2 = (
            f"2 {number} {row.inclination:8.4f} {raan:8.4f} {eccentricity:07d} {perigee:8.4f} "
            f"{anomaly:8.4f} {row.mean_motion:11.8f}    0"
        )
        name = f"0 {row.name}" if re.match(r"[012] |#", row.name) else row.name
        lines += [name, f"{line_1}{tle_checksum(line_1)}", f"{line_2}{tle_checksum(line_2)}"]
    return "".join(f"{line}\n" for line in lines)


def format_omm_csv(constellation: Constellation) -> str:
    """The constellation as OMM CSV text in CelesTrak's columns: 13 significant digits, epochs to 1 ns.

    Identifiers that a Constellation does not keep (OBJECT_ID) are empty, counters are 0.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_OMM_COLUMNS)
    for row in _rows(constellation):
        angles = (row.inclination, row.raan, row.argument_of_perigee, row.mean_anomaly)
        motion, eccentricity, *degrees = (f"{value:.13g}" for value in (row.mean_motion, row.eccentricity, *angles))
        drag = (f"{value:.13g}" for value in (row.bstar, row.ndot, row.nddot))
        fixed = ("0", "U", row.sat, "999", "0")
        writer.writerow((row.name, "", _iso(row.epoch_ns).rstrip("Z"), motion, eccentricity, *degrees, *fixed, *drag))
    return text.getvalue()


def _rows(constellation: Constellation) -> Iterator[_Row]:
    """The satellites one by one, in the units of TLE and OMM."""
    c = constellation
    columns = (
        c.sat,
        c.name,
        c.epoch_ns,
        c.mean_motion_rad_min / REV_PER_DAY_TO_RAD_MIN,
        c.eccentricity,
        rad_to_deg(c.inclination_rad),
        rad_to_deg(c.raan_rad),
        rad_to_deg(c.argument_of_perigee_rad),
        rad_to_deg(c.mean_anomaly_rad),
        c.bstar,
        c.ndot_rad_min2 / REV_PER_DAY_TO_RAD_MIN * 1440.0,
        c.nddot_rad_min3 / REV_PER_DAY_TO_RAD_MIN * 1440.0**2,
        c.line,
    )
    return map(_Row._make, zip(*(column.tolist() for column in columns), strict=True))


def _as_power(value: float, name: str) -> str:
    """A number as `+NNNNN+N`; below 1e-10 the digits that fit, then zero."""
    exponent = math.floor(math.log10(abs(value))) + 1 if value else 0
    exponent = max(exponent, -9)
    digits = round(abs(value) * 10.0 ** (5 - exponent))
    if digits == 100_000:
        digits, exponent = 10_000, exponent + 1
    if digits == 0:
        return " 00000+0"
    if exponent > 9:
        raise ValueError(f"{name}: expected a drag term below 1e9, got {value:g}; write OMM instead")
    return f"{'-' if value < 0 else ' '}{digits:05d}{'-' if exponent < 0 else '+'}{abs(exponent)}"


# ---------------------------------------------------------------------------------------------
# Reporting


def check_report(constellation: Constellation, at: datetime | None = None, shell_km: float = 10.0) -> dict[str, Any]:
    """What a set of elements holds, as plain numbers and text that JSON can carry.

    at : instant from which ages are counted (with a time zone), by default the newest epoch of the set.
    `shells` counts satellites by mean height in bins of `shell_km`, up to 2,000 km, empty ones left out.
    Reasons of the quarantine are counted by kind, the words before their first colon.
    Raises ValueError for `at` without a time zone.
    """
    if at is not None and at.tzinfo is None:
        raise ValueError(f"at: expected a time zone, got {at.isoformat()}; append Z for UTC")
    quarantine = constellation.quarantine
    formats: Counter[str] = Counter()
    for source in constellation.sources:
        formats[source.format] += source.records
    reasons = Counter(reason.split(":", 1)[0] for reason in quarantine.reason.tolist())
    report: dict[str, Any] = {
        "satellites": len(constellation),
        "files": [
            {
                "file": source.file,
                "format": source.format,
                "sha256": source.sha256,
                "records": source.records,
                "rejected": source.rejected,
                "epoch": _epochs(source.oldest_ns, source.median_ns, source.newest_ns),
            }
            for source in constellation.sources
        ],
        "formats": dict(formats),
        "quarantined": int(quarantine.sat.size),
        "quarantine_reasons": dict(reasons.most_common()),
        "numbers_from_100000": int(np.count_nonzero(constellation.sat >= 100_000)),
        "epoch": None,
        "age_days": None,
        "shells": [],
        "above_2000_km": 0,
    }
    if len(constellation) == 0:
        return report
    oldest, newest = int(constellation.epoch_ns.min()), int(constellation.epoch_ns.max())
    reference = newest if at is None else _ns_since_1970(at)
    report["epoch"] = _epochs(oldest, constellation.median_epoch_ns, newest)
    report["age_days"] = {
        "from": _iso(reference),
        "min": (reference - newest) / NS_PER_DAY,
        "median": (reference - constellation.median_epoch_ns) / NS_PER_DAY,
        "max": (reference - oldest) / NS_PER_DAY,
    }
    height_km = _mean_height_km(constellation)
    low = np.floor(height_km[height_km < 2000.0] / shell_km) * shell_km
    report["shells"] = [
        {"from_km": float(start), "to_km": float(start + shell_km), "satellites": int(count)}
        for start, count in zip(*np.unique(low, return_counts=True), strict=True)
    ]
    report["above_2000_km"] = int(np.count_nonzero(height_km >= 2000.0))
    return report


def _ns_since_1970(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _epochs(oldest_ns: int, median_ns: int, newest_ns: int) -> dict[str, str]:
    return {"min": _iso(oldest_ns), "median": _iso(median_ns), "max": _iso(newest_ns)}


def _median_ns(epoch_ns: np.ndarray) -> int:
    ordered = np.sort(epoch_ns)
    low, high = int(ordered[(ordered.size - 1) // 2]), int(ordered[ordered.size // 2])
    return (low + high) // 2


def _iso(epoch_ns: int) -> str:
    """An instant as ISO text in UTC: microseconds, or nanoseconds where there are any."""
    seconds, nanoseconds = divmod(epoch_ns, NS_PER_S)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    decimals = f"{nanoseconds:09d}"
    return f"{text}.{decimals[:6] if decimals.endswith('000') else decimals}Z"
