"""TLE and 3LE: every line checked against its layout, and written again.

Also what one element set is, in the units that TLE and OMM share, and what is checked in either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from leosim.units import NS_PER_S, SECONDS_PER_DAY

NS_PER_DAY = int(SECONDS_PER_DAY) * NS_PER_S
ORDINAL_1970 = date(1970, 1, 1).toordinal()
LARGEST_ALPHA5 = 339_999
LARGEST_NUMBER = 999_999_999
FASTEST_REV_DAY = 18.0  # a circular orbit at the surface makes 17.04
TLE_EPOCH_STEP_NS = 864_000  # 1e-8 day

_ALPHA5_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


# ---------------------------------------------------------------------------------------------
# One element set


class RejectedError(ValueError):
    """One record that goes to quarantine; the message is the reason, `what: expected ..., got ...`."""


class Row(NamedTuple):
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


class Entry(NamedTuple):
    """One entry of the quarantine."""

    sat: int
    name: str
    file: str
    line: int
    reason: str


Found = Iterator[Row | Entry]


def checked(row: Row) -> Row:
    """The row, its numbers being in range. Raises RejectedError otherwise."""
    if not 1 <= row.sat <= LARGEST_NUMBER:
        raise RejectedError(f"catalogue number: expected 1 to {LARGEST_NUMBER}, got {row.sat}")
    if not 0.0 < row.mean_motion <= FASTEST_REV_DAY:
        raise RejectedError(
            f"mean motion: expected more than 0, at most {FASTEST_REV_DAY:g} rev/day, got {row.mean_motion:g}"
        )
    if not 0.0 <= row.eccentricity < 1.0:
        raise RejectedError(f"eccentricity: expected 0 to below 1, got {row.eccentricity:g}")
    if not 0.0 <= row.inclination <= 180.0:
        raise RejectedError(f"inclination: expected 0 to 180 degrees, got {row.inclination:g}")
    for what, angle in (
        ("right ascension", row.raan),
        ("argument of perigee", row.argument_of_perigee),
        ("mean anomaly", row.mean_anomaly),
    ):
        if not 0.0 <= angle <= 360.0:
            raise RejectedError(f"{what}: expected 0 to 360 degrees, got {angle:g}")
    return row


def new_year(year: int, day_of_year: int) -> int:
    """Days from 1970 to the first of January. Raises ValueError when the year has no such day."""
    first = date(year, 1, 1).toordinal()
    length = 366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365
    if not 1 <= day_of_year <= length:
        raise ValueError(f"expected 1 to {length} in {year}, got {day_of_year}")
    return first - ORDINAL_1970


# ---------------------------------------------------------------------------------------------
# Reading


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


def tle_lines(lines: Sequence[str]) -> list[tuple[int, str, str]]:
    """The lines of a TLE file that count: number from 1, text without trailing blanks, kind."""
    stripped = ((number, line.rstrip()) for number, line in enumerate(lines, 1))
    return [(number, line, kind) for number, line in stripped if (kind := _line_kind(line))]


def read_tle(lines: Sequence[tuple[int, str, str]]) -> Found:
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
                yield Entry(
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
            yield Entry(_number_in(line), name, "", number, reason)
        elif next_kind != "2":
            reason = f"missing line 2: expected it after line 1, got {words[next_kind]}"
            yield Entry(_number_in(line), name, "", number, reason)
        else:
            row += 1
            try:
                yield _tle_record(line, next_line, name, number)
            except RejectedError as rejected:
                yield Entry(_number_in(line), name, "", number, str(rejected))
        name = ""


def _number_in(line: str) -> int:
    """The catalogue number of a line that may be damaged; -1: not readable."""
    try:
        return from_alpha5(line[2:7])
    except ValueError:
        return -1


def _tle_record(line_1: str, line_2: str, name: str, number: int) -> Row:
    """The element set of two lines. Raises RejectedError with the first thing wrong.

    Columns are checked one by one against the layout, then the checksums, so that within columns 1 to 69
    no single changed character can alter a number unnoticed: the checksum misses only exchanges of equal
    weight (`1` and `-`; `0` and blank, `+`, `.` or a letter), and of these the layout admits only those
    that leave the value, or the catalogue number that the other line then contradicts.
    """
    if len(line_2) > 69 and _TRAILING_NUMBERS.fullmatch(line_2, 69):
        line_2 = line_2[:69]
    match_1, match_2 = _LINE_1_PATTERN.fullmatch(line_1), _LINE_2_PATTERN.fullmatch(line_2)
    if match_1 is None or match_2 is None:
        raise RejectedError(_layout_fault(line_1, _LINE_1) or _layout_fault(line_2, _LINE_2))
    number_1, year, day, fraction, ndot, nddot, bstar, ephemeris, sum_1 = match_1.groups()
    number_2, inclination, raan, eccentricity, perigee, anomaly, motion, sum_2 = match_2.groups()
    for which, line, given in (("1", line_1, sum_1), ("2", line_2, sum_2)):
        if (summed := tle_checksum(line)) != int(given):
            raise RejectedError(f"checksum of line {which}: expected {summed}, got {given}")
    if number_1 != number_2:
        raise RejectedError(f"catalogue number of line 2: expected {number_1} as on line 1, got {number_2}")
    sat = int(number_1) if number_1[0] in " 0123456789" else from_alpha5(number_1)
    if ephemeris not in " 023":
        raise RejectedError(f"ephemeris type: expected 0, 2 or 3 (SGP4), got {ephemeris}")
    try:
        first_day = new_year(int(year) + (2000 if int(year) < 57 else 1900), int(day))
    except ValueError as error:
        raise RejectedError(f"epoch day: {error}") from None
    epoch_ns = (first_day + int(day) - 1) * NS_PER_DAY + int(fraction) * TLE_EPOCH_STEP_NS
    return checked(
        Row(
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


# ---------------------------------------------------------------------------------------------
# Writing


def format_tle(rows: Iterable[Row]) -> str:
    """Element sets as 3LE text: epochs to 1e-8 day, angles to 1e-4 degree, eccentricity to 1e-7.

    rows : those of a constellation are its `rows()`. The international designator, which a Row does not
    keep, is blank. Raises ValueError for what a TLE cannot hold: a catalogue number above 339999, an epoch
    outside 1957 to 2056, or a derivative or drag term too large; format_omm_csv holds them all.
    """
    lines: list[str] = []
    for row in rows:
        number = alpha5(row.sat)
        steps = (row.epoch_ns + TLE_EPOCH_STEP_NS // 2) // TLE_EPOCH_STEP_NS
        day, fraction = divmod(steps, 100_000_000)
        when = date.fromordinal(ORDINAL_1970 + day)
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
