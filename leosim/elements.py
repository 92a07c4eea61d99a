"""Orbital elements: TLE, 3LE and OMM (JSON, CSV, XML) files -> one Constellation.

Every record that cannot be trusted is kept out and named, with its reason, in the quarantine.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sgp4.api import WGS72, Satrec

from leosim.omm import OMM_REQUIRED, iso, read_omm_csv, read_omm_json, read_omm_xml
from leosim.records import Quarantine, Record, array
from leosim.tle import LARGEST_ALPHA5, NS_PER_DAY, Entry, Found, Row, read_tle, tle_lines
from leosim.units import WGS72_MU_M3_S2, WGS72_SEMI_MAJOR_M, deg_to_rad, rad_to_deg

WGS72_J2 = 0.001_082_616
JD_1970 = 2_440_587.5
JD_1950 = 2_433_281.5  # 1949-12-31, the zero of SGP4's epoch argument
REV_PER_DAY_TO_RAD_MIN = 2.0 * math.pi / 1440.0


class ElementsError(ValueError):
    """Elements that cannot be used: the message says which file, what was expected and got, and the fix."""


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

    def rows(self) -> Iterator[Row]:
        """The satellites one by one, in the units of TLE and OMM."""
        columns = (
            self.sat,
            self.name,
            self.epoch_ns,
            self.mean_motion_rad_min / REV_PER_DAY_TO_RAD_MIN,
            self.eccentricity,
            rad_to_deg(self.inclination_rad),
            rad_to_deg(self.raan_rad),
            rad_to_deg(self.argument_of_perigee_rad),
            rad_to_deg(self.mean_anomaly_rad),
            self.bstar,
            self.ndot_rad_min2 / REV_PER_DAY_TO_RAD_MIN * 1440.0,
            self.nddot_rad_min3 / REV_PER_DAY_TO_RAD_MIN * 1440.0**2,
            self.line,
        )
        return map(Row._make, zip(*(column.tolist() for column in columns), strict=True))


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


# ---------------------------------------------------------------------------------------------
# Reading


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
    rows: list[Row] = []
    row_files: list[str] = []
    entries: list[Entry] = []
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


def _read_file(path: Path) -> tuple[Source, list[Row], list[Entry]]:
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
    rows: list[Row] = []
    entries: list[Entry] = []
    for item in found:
        if isinstance(item, Row):
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


def _recognise(path: Path, text: str) -> tuple[str, Found]:
    """The format of a text, by content, and the records found in it. Raises ElementsError."""
    start = text.lstrip()
    if start[0] == "{" or re.match(r"\[\s*(?:[{\]]|$)", start):
        return "OMM JSON", read_omm_json(text)
    if start[0] == "<" and re.search(r"<(?:\w+:)?(?:ndm|omm|segment)\b", start):
        return "OMM XML", read_omm_xml(text)
    lines = text.split("\n")
    header_line = next(number for number, line in enumerate(lines) if line.strip())
    header = [key.strip().strip('"').upper() for key in lines[header_line].split(",")]
    if len(set(header) & set(OMM_REQUIRED)) >= 3:
        missing = [key for key in OMM_REQUIRED if key not in header]
        if missing:
            raise ElementsError(
                f"{path}: expected the OMM columns {', '.join(missing)}, got a header without them; "
                "download the CSV again"
            )
        return "OMM CSV", read_omm_csv(lines, header_line, header)
    used = tle_lines(lines)
    kinds = {kind for _, _, kind in used}
    if not kinds & {"1", "2"}:
        shown = start.split("\n", 1)[0].strip()[:60]
        raise ElementsError(
            f"{path}: expected TLE, 3LE or OMM (JSON, CSV, XML) records, got text beginning {shown!r}; "
            "give an element file"
        )
    return "3LE" if "name" in kinds else "TLE", read_tle(used)


def _assemble(rows: list[Row], files: list[str], sources: Iterable[Source], entries: list[Entry]) -> Constellation:
    """Rows in any order -> Constellation in SI and radians; the older of duplicates go to quarantine."""
    columns = dict(zip(Row._fields, (np.array(column) for column in zip(*rows, strict=True)), strict=True))
    sat = columns["sat"].astype(np.int64)
    epoch_ns = columns["epoch_ns"].astype(np.int64)
    order = np.lexsort((np.arange(sat.size), -epoch_ns, sat))
    first = np.ones(sat.size, dtype=bool)
    first[1:] = sat[order][1:] != sat[order][:-1]
    keeper = order[np.maximum.accumulate(np.where(first, np.arange(sat.size), 0))]
    for lost, kept in sorted(zip(order[~first].tolist(), keeper[~first].tolist(), strict=True)):
        reason = (
            f"duplicate: expected one element set of a catalogue number, got another of epoch "
            f"{iso(rows[lost].epoch_ns)}; kept that of {iso(rows[kept].epoch_ns)} "
            f"({files[kept]}: {rows[kept].line})"
        )
        entries.append(Entry(rows[lost].sat, rows[lost].name, files[lost], rows[lost].line, reason))
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


def _quarantine(entries: Sequence[Entry]) -> Quarantine:
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
    mask = np.zeros(len(constellation), dtype=bool)
    for pattern in include:
        hit = named(constellation, pattern)
        if not hit.any():
            raise ElementsError(
                f"{_names(files)}: expected a satellite that matches {pattern!r}, got none of "
                f"{len(constellation)} read; {nearest_names(constellation, pattern)}"
            )
        mask |= hit
    return mask


def named(constellation: Constellation, pattern: str) -> np.ndarray:
    """Which satellites a name, a pattern of names or a catalogue number stands for, capitals or not: [sat] bool."""
    wanted = pattern.strip().upper()
    matches = re.compile(fnmatch.translate(wanted)).match
    names = [name.upper() for name in constellation.name.tolist()]
    hit = np.array([name == wanted or matches(name) is not None for name in names], dtype=bool)
    if wanted.isdecimal():
        hit |= constellation.sat == int(wanted)
    return hit


def nearest_names(constellation: Constellation, pattern: str) -> str:
    """A hint with the names nearest to a pattern that matched nothing."""
    wanted, names = pattern.strip().upper(), [name.upper() for name in constellation.name.tolist()]
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
    reference = newest if at is None else ns_since_1970(at)
    report["epoch"] = _epochs(oldest, constellation.median_epoch_ns, newest)
    report["age_days"] = {
        "from": iso(reference),
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


def ns_since_1970(instant: datetime) -> int:
    """A zoned instant as nanoseconds since 1970-01-01 UTC."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _epochs(oldest_ns: int, median_ns: int, newest_ns: int) -> dict[str, str]:
    return {"min": iso(oldest_ns), "median": iso(median_ns), "max": iso(newest_ns)}


def _median_ns(epoch_ns: np.ndarray) -> int:
    ordered = np.sort(epoch_ns)
    low, high = int(ordered[(ordered.size - 1) // 2]), int(ordered[ordered.size // 2])
    return (low + high) // 2
