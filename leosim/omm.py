"""OMM: reading CSV, JSON and XML, one record at a time, and writing CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from leosim.tle import LARGEST_NUMBER, NS_PER_DAY, ORDINAL_1970, Entry, Found, RejectedError, Row, checked, new_year
from leosim.units import NS_PER_S

_OMM_NUMBERS = (
    "MEAN_MOTION",
    "ECCENTRICITY",
    "INCLINATION",
    "RA_OF_ASC_NODE",
    "ARG_OF_PERICENTER",
    "MEAN_ANOMALY",
    "BSTAR",
)
OMM_REQUIRED = ("NORAD_CAT_ID", "EPOCH", *_OMM_NUMBERS)
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
    """Epoch of an OMM (ISO calendar or day-of-year date, UTC) as ns since 1970. Raises RejectedError."""
    match = _OMM_EPOCH.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is not None and "1957" <= match[1] <= "2199":
        year, month, day, day_of_year, hour, minute, second, fraction = match.groups()
        try:
            if day_of_year is None:
                days = date(int(year), int(month), int(day)).toordinal() - ORDINAL_1970
            else:
                days = new_year(int(year), int(day_of_year)) + int(day_of_year) - 1
            whole = _second_of_day(int(hour), int(minute), int(second))
        except ValueError:
            pass
        else:
            nanoseconds = int(fraction.ljust(9, "0")) if fraction else 0
            return days * NS_PER_DAY + whole * NS_PER_S + nanoseconds
    raise RejectedError(f"EPOCH: expected YYYY-MM-DDThh:mm:ss.ffffff in UTC, from 1957 to 2199, got {text!r}")


def _second_of_day(hour: int, minute: int, second: int) -> int:
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("no time of day")
    return (hour * 60 + minute) * 60 + second


def _omm_record(fields: Mapping[str, object], number: int) -> Row:
    """The element set of the keys of one OMM. Raises RejectedError with the first thing wrong.

    MEAN_MOTION_DOT and MEAN_MOTION_DDOT, which SGP4 ignores, are 0 when absent.
    """
    for key, allowed in _OMM_FIXED.items():
        if key in fields and str(value := fields[key] or "").strip().upper() not in allowed:
            raise RejectedError(f"{key}: expected {' or '.join(allowed[:-1])}, got {value!r}")
    try:
        numbers = [float(fields[key]) for key in _OMM_NUMBERS]  # type: ignore[arg-type]
        ndot, nddot = (float(fields.get(key) or 0.0) for key in _OMM_IGNORED)  # type: ignore[arg-type]
        usable = math.isfinite(sum(numbers) + ndot + nddot)
    except (KeyError, TypeError, ValueError, OverflowError):
        usable = False
    sat = str(fields.get("NORAD_CAT_ID", "")).strip()
    if not usable or not fields.get("EPOCH") or not _OMM_SAT.fullmatch(sat):
        raise RejectedError(_omm_fault(fields))
    motion, eccentricity, inclination, raan, perigee, anomaly, bstar = numbers
    return checked(
        Row(
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


def _omm_row_or_entry(fields: Mapping[str, object], number: int) -> Row | Entry:
    try:
        return _omm_record(fields, number)
    except RejectedError as rejected:
        return _omm_entry(fields, number, str(rejected))


def _omm_entry(fields: Mapping[str, object], number: int, reason: str) -> Entry:
    """A rejected OMM, with its catalogue number and name as far as readable."""
    sat = str(fields.get("NORAD_CAT_ID", "")).strip()
    readable = _OMM_SAT.fullmatch(sat) is not None and int(sat) <= LARGEST_NUMBER
    return Entry(int(sat) if readable else -1, str(fields.get("OBJECT_NAME") or ""), "", number, reason)


def read_omm_csv(lines: Sequence[str], header_line: int, header: Sequence[str]) -> Found:
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
            yield Entry(-1, "", "", number, f"CSV row: expected closed quotes, got {error}")
            continue
        fields = dict(zip(header, values, strict=False))
        if len(values) != len(header):
            reason = f"CSV row: expected {len(header)} fields, got {len(values)}"
            yield _omm_entry(fields, number, reason)
            continue
        yield _omm_row_or_entry(fields, number)


def read_omm_json(text: str) -> Found:
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
                yield Entry(
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
                yield Entry(-1, "", "", number + 1, reason)
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
            yield Entry(-1, "", "", number, f"JSON: expected an object, got {str(fields)[:20]!r}")


def read_omm_xml(text: str) -> Found:
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
        yield Entry(-1, "", "", number + 1, f"cut XML: expected well-formed text to the end, got {error}")


# ---------------------------------------------------------------------------------------------
# Writing


def format_omm_csv(rows: Iterable[Row]) -> str:
    """Element sets as OMM CSV text in CelesTrak's columns: 13 significant digits, epochs to 1 ns.

    rows : those of a constellation are its `rows()`. Identifiers that a Row does not keep (OBJECT_ID) are
    empty, counters are 0.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_OMM_COLUMNS)
    for row in rows:
        angles = (row.inclination, row.raan, row.argument_of_perigee, row.mean_anomaly)
        motion, eccentricity, *degrees = (f"{value:.13g}" for value in (row.mean_motion, row.eccentricity, *angles))
        drag = (f"{value:.13g}" for value in (row.bstar, row.ndot, row.nddot))
        fixed = ("0", "U", row.sat, "999", "0")
        writer.writerow((row.name, "", iso(row.epoch_ns).rstrip("Z"), motion, eccentricity, *degrees, *fixed, *drag))
    return text.getvalue()


def iso(epoch_ns: int) -> str:
    """An instant as ISO text in UTC: microseconds, or nanoseconds where there are any."""
    seconds, nanoseconds = divmod(epoch_ns, NS_PER_S)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    decimals = f"{nanoseconds:09d}"
    return f"{text}.{decimals[:6] if decimals.endswith('000') else decimals}Z"
