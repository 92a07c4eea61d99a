"""TLE and 3LE: every digit, every fault of a line, one changed character, and what is written."""

from __future__ import annotations

import json
import math
import string
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from element_sets import (
    EPOCH,
    ISS,
    NUMBERS,
    STARLINK_A5,
    VANGUARD,
    assert_same_numbers,
    catalogue,
    lines,
    quarantined,
    read_text,
    with_checksum,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leosim.elements import REV_PER_DAY_TO_RAD_MIN, Constellation, read_elements
from leosim.omm import format_omm_csv
from leosim.tle import (
    TLE_EPOCH_STEP_NS,
    Entry,
    Row,
    alpha5,
    format_tle,
    from_alpha5,
    read_tle,
    tle_lines,
)
from leosim.units import rad_to_deg
from leosim.walkers import walker

# ---------------------------------------------------------------------------------------------
# What a TLE says


def changed(line: str, column: int, text: str) -> str:
    """The line with `text` from `column` (from 1, as the TLE format counts), its checksum made right."""
    return with_checksum(line[: column - 1] + text + line[column - 1 + len(text) :])


def test_a_tle_is_read_to_the_last_digit(tmp_path: Path) -> None:
    c = read_text(tmp_path, lines(ISS, VANGUARD, STARLINK_A5))
    assert c.sat.tolist() == [25544, 69999, 100404]
    assert c.name.tolist() == ["ISS (ZARYA)", "VANGUARD DEB", "STARLINK-37821"]
    assert c.line.tolist() == [2, 5, 8]
    assert len(c.quarantine.sat) == 0
    # day 324.28472222 of 1998 is 20 November, 24,600 s - 0.000192 s after midnight
    assert c.epoch_ns[0] == 911_520_000 * 10**9 + 24_600 * 10**9 - 192_000
    assert c.epoch_jd[0] == 2_451_137.5
    assert c.epoch_fr[0] == 0.28472222
    assert c.eccentricity[1] == 0.1487004
    assert c.bstar[1] == -0.70517e-5
    np.testing.assert_allclose(c.mean_motion_rad_min[0], 16.05064833 * 2 * math.pi / 1440, rtol=1e-15)
    np.testing.assert_allclose(rad_to_deg(c.inclination_rad), [51.5908, 34.2417, 53.1597], rtol=1e-15)
    np.testing.assert_allclose(rad_to_deg(c.raan_rad), [168.3788, 341.8745, 307.1840], rtol=1e-15)
    np.testing.assert_allclose(rad_to_deg(c.argument_of_perigee_rad), [86.4185, 19.9191, 61.6382], rtol=1e-15)
    np.testing.assert_allclose(rad_to_deg(c.mean_anomaly_rad), [359.7454, 345.3718, 298.4729], rtol=1e-15)
    np.testing.assert_allclose(c.ndot_rad_min2[0], -0.00003657 * 2 * math.pi / 1440**2, rtol=1e-14)
    np.testing.assert_allclose(c.nddot_rad_min3[0], 0.11563e-4 * 2 * math.pi / 1440**3, rtol=1e-14)
    (source,) = c.sources
    assert (source.file, source.format, source.records, source.rejected) == ("elements.txt", "3LE", 3, 0)


def test_two_lines_without_names_are_called_by_their_number(tmp_path: Path) -> None:
    c = read_text(tmp_path, lines(ISS[1:], STARLINK_A5[1:]))
    assert c.name.tolist() == ["25544", "100404"]
    assert c.sources[0].format == "TLE"


def test_names_that_look_like_line_numbers_stay_names(tmp_path: Path) -> None:
    c = read_text(tmp_path, lines(("1 KUNS-PF", *ISS[1:]), ("2 BE", *VANGUARD[1:])))
    assert c.name.tolist() == ["1 KUNS-PF", "2 BE"]


def test_alpha5_follows_the_published_table() -> None:
    table = {5: "00005", 99999: "99999", 100000: "A0000", 148493: "E8493", 182931: "J2931", 234018: "P4018"}
    table |= {301928: "W1928", 339999: "Z9999"}
    for number, text in table.items():
        assert alpha5(number) == text
        assert from_alpha5(text) == number
    assert all(from_alpha5(alpha5(number)) == number for number in range(0, 340_000, 997))
    assert from_alpha5("    5") == 5
    for bad in ("I0000", "O1234", "a0000", "1234", "12 45", "A00 0"):
        with pytest.raises(ValueError, match="expected NNNNN or Alpha-5"):
            from_alpha5(bad)
    with pytest.raises(ValueError, match="OMM instead"):
        alpha5(340_000)


LINE_FAULTS = [
    (1, ISS[1][:-1] + "1", "checksum of line 1: expected 0, got 1"),
    (2, ISS[2][:-1] + "6", "checksum of line 2: expected 5, got 6"),
    (1, ISS[1][:40] + ISS[1][41:], "length of line 1: expected 69 columns, got 68"),
    (1, ISS[1] + "0", "length of line 1: expected 69 columns, got 70"),
    (2, ISS[2] + " 1.0 x", "length of line 2: expected 69 columns, got 75"),
    (2, changed(ISS[2], 3, "25545"), "catalogue number of line 2: expected 25544 as on line 1, got 25545"),
    (1, changed(ISS[1], 19, "99366"), "epoch day: expected 1 to 365 in 1999, got 366"),
    (1, changed(ISS[1], 21, "000"), "epoch day: expected 1 to 365 in 1998, got 0"),
    (1, changed(ISS[1], 24, ","), "layout of line 1: expected '.' in columns 24 to 24, got ','"),
    (1, changed(ISS[1], 34, "?"), "first derivative of line 1: expected +.NNNNNNNN in columns 34 to 43"),
    (1, changed(ISS[1], 45, "x"), "second derivative of line 1: expected +NNNNN+N in columns 45 to 52"),
    (1, changed(ISS[1], 58, "."), "B* of line 1: expected +NNNNN+N in columns 54 to 61"),
    (1, changed(ISS[1], 63, "4"), "ephemeris type: expected 0, 2 or 3 (SGP4), got 4"),
    (2, changed(ISS[2], 9, "180.0001"), "inclination: expected 0 to 180 degrees, got 180"),
    (2, changed(ISS[2], 9, " -1.0000"), "inclination of line 2: expected DDD.DDDD in columns 9 to 16"),
    (2, changed(ISS[2], 18, "360.0001"), "right ascension: expected 0 to 360 degrees, got 360"),
    (2, changed(ISS[2], 35, "999.0000"), "argument of perigee: expected 0 to 360 degrees, got 999"),
    (2, changed(ISS[2], 44, "400.0000"), "mean anomaly: expected 0 to 360 degrees, got 400"),
    (2, changed(ISS[2], 27, "01 5362"), "eccentricity of line 2: expected NNNNNNN in columns 27 to 33"),
    (2, changed(ISS[2], 53, " 0.00000000"), "mean motion: expected more than 0, at most 18 rev/day, got 0"),
    (2, changed(ISS[2], 53, "18.00000001"), "mean motion: expected more than 0, at most 18 rev/day, got 18"),
]


@pytest.mark.parametrize(("which", "line", "reason"), LINE_FAULTS, ids=[f[2][:40] for f in LINE_FAULTS])
def test_a_faulty_line_goes_to_quarantine_with_what_was_expected(
    tmp_path: Path, which: int, line: str, reason: str
) -> None:
    record = list(ISS)
    record[which] = line
    c = read_text(tmp_path, lines(STARLINK_A5, tuple(record), VANGUARD))
    assert c.sat.tolist() == [69999, 100404]
    ((sat, name, at_line, got),) = quarantined(c)
    assert (sat, name, at_line) == (25544, "ISS (ZARYA)", 5)
    assert got.startswith(reason)
    assert c.quarantine.file.tolist() == ["elements.txt"]


def test_numbers_after_column_69_of_line_2_are_ignored(tmp_path: Path) -> None:
    plain = read_text(tmp_path, lines(ISS))
    trailing = read_text(tmp_path, lines((*ISS[:2], ISS[2] + "  -5184.0     -4896.0        120.00")))
    assert_same_numbers(trailing, plain)


SEQUENCES = {
    "line 2 missing": (
        lines(ISS, VANGUARD[:2], STARLINK_A5),
        [(69999, 5, "missing line 2: expected it after line 1, got a name")],
    ),
    "line 2 missing, no names": (
        lines(ISS[1:], VANGUARD[1:2], STARLINK_A5[1:]),
        [(69999, 3, "missing line 2: expected it after line 1, got another line 1")],
    ),
    "line 1 missing": (
        lines(ISS, (VANGUARD[0], VANGUARD[2]), STARLINK_A5),
        [(69999, 4, "missing line 1: expected it after the name, got line 2")],
    ),
    "line 1 missing, no names": (
        lines(ISS[1:], VANGUARD[2:], STARLINK_A5[1:]),
        [(69999, 3, "missing line 1: expected it before line 2, got line 2 alone")],
    ),
    "a lone name": (
        lines(ISS, VANGUARD[:1], STARLINK_A5),
        [(-1, 4, "missing line 1: expected it after the name, got another name")],
    ),
    "a lone name at the end": (
        lines(ISS, STARLINK_A5, VANGUARD[:1]),
        [(-1, 7, "missing line 1: expected it after the name, got the end of the file")],
    ),
    "a lone line 1 at the end": (
        lines(ISS, STARLINK_A5, VANGUARD[:2]),
        [(69999, 8, "missing line 2: expected it after line 1, got the end of the file")],
    ),
    "lines exchanged": (
        lines(ISS, (VANGUARD[0], VANGUARD[2], VANGUARD[1]), STARLINK_A5),
        [
            (69999, 4, "missing line 1: expected it after the name, got line 2"),
            (69999, 6, "missing line 2: expected it after line 1, got a name"),
        ],
    ),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_the_reader_goes_on_at_the_next_valid_record(tmp_path: Path, case: str) -> None:
    text, wanted = SEQUENCES[case]
    c = read_text(tmp_path, text)
    assert c.sat.tolist() == [25544, 100404]
    assert [(sat, line, reason) for sat, _, line, reason in quarantined(c)] == wanted


# ---------------------------------------------------------------------------------------------
# One changed character


def records_of(text: str) -> list[Row | Entry]:
    return list(read_tle(tle_lines(text.split("\n"))))


@pytest.mark.parametrize("record", [ISS, VANGUARD, STARLINK_A5], ids=["iss", "vanguard", "alpha5"])
def test_no_single_ascii_character_alters_an_orbit_unnoticed(record: tuple[str, str, str]) -> None:
    """Every printable character in every one of the 138 columns: the same numbers, or quarantine.

    The modulo-10 checksum alone is blind to exchanges of equal weight: '1' and '-', '0' and any of
    blank, '+', '.', letters. The layout of the columns, and the number repeated on line 2, close these.
    """
    (original,) = records_of(lines(record[1:]))
    assert isinstance(original, Row)
    unchanged = 0
    for which in (1, 2):
        for column in range(69):
            for character in string.printable.strip() + " ":
                if record[which][column] == character:
                    continue
                pair = list(record[1:])
                pair[which - 1] = record[which][:column] + character + record[which][column + 1 :]
                found = records_of(lines(tuple(pair)))
                rows = [item for item in found if isinstance(item, Row)]
                if rows:
                    assert found == [original]
                    unchanged += 1
                else:
                    assert found, pair
    assert unchanged >= 25 + 26  # at least the class, and a blank of the designator, may be any letter


@settings(max_examples=150, deadline=None)
@given(
    which=st.integers(1, 2),
    column=st.integers(0, 68),
    character=st.characters(codec="utf-8"),
)
@example(which=1, column=2, character="\u0666")  # an Arabic six: int() would read it
@example(which=1, column=0, character="#")
@example(which=2, column=0, character="\n")
@example(which=1, column=2, character="A")
@example(which=2, column=11, character="\xa0")
def test_one_changed_character_gives_the_same_orbit_or_quarantine(
    tmp_path_factory: pytest.TempPathFactory, which: int, column: int, character: str
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    whole = read_text(folder, lines(VANGUARD, ISS))
    record = list(ISS)
    record[which] = record[which][:column] + character + record[which][column + 1 :]
    got = read_text(folder, lines(VANGUARD, tuple(record)))
    if len(got) == 2:
        assert_same_numbers(got, whole)
        assert len(got.quarantine.sat) == 0
    else:
        assert_same_numbers(got, whole.select([1]))
        assert len(got.quarantine.sat) > 0


# ---------------------------------------------------------------------------------------------
# Writing


def assert_same_to_tle_resolution(got: Constellation, wanted: Constellation) -> None:
    half_a_step = 0.5 + 1e-6
    for name in ("inclination_rad", "raan_rad", "argument_of_perigee_rad", "mean_anomaly_rad"):
        difference = np.abs(rad_to_deg(getattr(got, name) - getattr(wanted, name)))
        assert np.minimum(difference, 360 - difference).max() <= half_a_step * 1e-4, name
    assert np.abs(got.eccentricity - wanted.eccentricity).max() <= half_a_step * 1e-7
    step = 1e-8 * REV_PER_DAY_TO_RAD_MIN
    assert np.abs(got.mean_motion_rad_min - wanted.mean_motion_rad_min).max() <= half_a_step * step
    assert np.abs(got.epoch_ns - wanted.epoch_ns).max() <= TLE_EPOCH_STEP_NS // 2
    np.testing.assert_allclose(got.bstar, wanted.bstar, rtol=0.51e-4, atol=0.51e-14)
    nddot_step = 6 * 1e-14 * REV_PER_DAY_TO_RAD_MIN / 1440**2  # a sixth is written, to 1e-14 at least
    np.testing.assert_allclose(got.nddot_rad_min3, wanted.nddot_rad_min3, rtol=0.51e-4, atol=0.51 * nddot_step)
    ndot_step = 1e-8 * REV_PER_DAY_TO_RAD_MIN / 1440
    assert np.abs(got.ndot_rad_min2 - wanted.ndot_rad_min2).max() <= half_a_step * ndot_step


any_orbit = st.fixed_dictionaries(
    {
        "NORAD_CAT_ID": st.integers(1, 339_999),
        "EPOCH": st.datetimes(datetime(1957, 1, 1), datetime(2056, 12, 31)).map(
            lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.%f")
        ),
        "MEAN_MOTION": st.floats(0.1, 17.0),
        "ECCENTRICITY": st.floats(0, 0.9999999),
        "INCLINATION": st.floats(0, 180),
        "RA_OF_ASC_NODE": st.floats(0, 360),
        "ARG_OF_PERICENTER": st.floats(0, 360),
        "MEAN_ANOMALY": st.floats(0, 360),
        "BSTAR": st.floats(-1, 1),
        "MEAN_MOTION_DOT": st.floats(-0.9, 0.9),
        "MEAN_MOTION_DDOT": st.floats(-1, 1),
    }
)


@settings(max_examples=60, deadline=None)
@given(orbits=st.lists(any_orbit, min_size=1, max_size=3, unique_by=lambda orbit: orbit["NORAD_CAT_ID"]))
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, orbits: list[dict[str, object]]) -> None:
    folder = tmp_path_factory.mktemp("written")
    c = read_text(folder, json.dumps(orbits))
    tle = read_text(folder, format_tle(c.rows()))
    assert len(tle.quarantine.sat) == 0
    assert tle.sat.tolist() == c.sat.tolist()
    assert_same_to_tle_resolution(tle, c)
    assert_same_numbers(read_text(folder, format_tle(tle.rows())), tle)
    omm = read_text(folder, format_omm_csv(c.rows()))
    assert omm.epoch_ns.tolist() == c.epoch_ns.tolist()
    for name in NUMBERS[4:]:
        np.testing.assert_allclose(getattr(omm, name), getattr(c, name), rtol=1e-12, err_msg=name)


def test_a_tle_written_is_the_tle_read(tmp_path: Path) -> None:
    text = format_tle(read_text(tmp_path, lines(ISS, VANGUARD, STARLINK_A5)).rows())
    written = text.splitlines()
    for row, line in enumerate((*ISS, *VANGUARD, *STARLINK_A5)):
        if row % 3 == 0:
            assert written[row] == line.strip()
        elif row % 3 == 1:
            assert written[row][18:63] == line[18:63]
        else:
            assert written[row][:63] == line[:63]


def test_names_that_would_be_misread_are_written_with_a_zero(tmp_path: Path) -> None:
    names = ["0 A", "1 " + "B" * 40, "2 C", "#D"]
    w = walker("53:4/2/1", 550, EPOCH).replace(name=np.array(names))
    back = read_text(tmp_path, format_tle(w.rows()))
    assert back.name.tolist() == names
    csv_back = read_text(tmp_path, format_omm_csv(w.replace(name=np.array(['A, "B"', "C", "D", "E,F"])).rows()))
    assert csv_back.name.tolist() == ['A, "B"', "C", "D", "E,F"]


def test_angles_that_round_to_a_whole_turn_are_written_as_zero() -> None:
    w = walker("53:4/2/1", 550, EPOCH).replace(raan_rad=np.radians([359.99996, 359.99994, -0.00004, -1.0]))
    written = [line[17:25] for line in format_tle(w.rows()).splitlines() if line.startswith("2 ")]
    assert written == ["  0.0000", "359.9999", "  0.0000", "359.0000"]


def test_what_a_tle_cannot_hold_is_refused() -> None:
    w = walker("53:4/2/1", 550, EPOCH, first_number=339_997)
    with pytest.raises(ValueError, match=r"catalogue number 340000: .* write OMM instead"):
        format_tle(w.rows())
    assert format_tle(w.select([0, 1, 2]).rows()).split("\n")[7][:7] == "1 Z9999"
    late = walker("53:4/2/1", 550, datetime(2057, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="expected an epoch from 1957 to 2056, got 2057-01-01"):
        format_tle(late.rows())
    with pytest.raises(ValueError, match="first derivative below 1 rev/day2"):
        format_tle(walker("53:4/2/1", 550, EPOCH).replace(ndot_rad_min2=np.ones(4)).rows())
    with pytest.raises(ValueError, match="expected a drag term below 1e9"):
        format_tle(walker("53:4/2/1", 550, EPOCH).replace(bstar=np.full(4, 1e9)).rows())


def test_the_shipped_walker_is_the_one_of_its_name() -> None:
    path = Path(__file__).parents[1] / "tle" / "walker-53-1584-72-39-550km-20260822.tle"
    w = walker("53:1584/72/39", 550, EPOCH)
    assert path.read_text() == format_tle(w.rows())
    shipped = read_elements([path])
    assert shipped.name.tolist() == w.name.tolist()
    assert_same_to_tle_resolution(shipped, w)


# ---------------------------------------------------------------------------------------------
# Real catalogues


@pytest.mark.catalogue
def test_alpha5_files_hold_the_numbers_they_say() -> None:
    recent = read_elements([catalogue("alpha5-last30days-20260921.tle")])
    assert recent.sat.min() == 100_404
    assert np.all(recent.sat < 110_000)
    analyst = read_elements([catalogue("alpha5-analyst-20260921.tle")])
    assert np.all(analyst.sat // 10_000 == 27)


@pytest.mark.catalogue
def test_a_whole_catalogue_is_written_as_it_was_read() -> None:
    path = catalogue("starlink-20260822.tle")
    text = path.read_text().splitlines()
    c = read_elements([path])
    written = format_tle(c.rows()).splitlines()
    for row, line in enumerate(c.line.tolist()):
        assert written[3 * row + 1][18:44] == text[line - 1][18:44].replace("-.00000000", " .00000000")
        assert written[3 * row + 1][53:61] == text[line - 1][53:61].replace("00000-0", "00000+0")
        assert written[3 * row + 2][:63] == text[line][:63]


@pytest.mark.catalogue
def test_the_verification_set_is_read_but_for_its_false_checksums() -> None:
    c = read_elements([catalogue("SGP4-VER.TLE")])
    assert len(c) == 29
    assert [(sat, reason.split(",")[0]) for sat, _, _, reason in quarantined(c)][:3] == [
        (33333, "checksum of line 1: expected 2"),
        (33334, "checksum of line 1: expected 6"),
        (33335, "checksum of line 1: expected 3"),
    ]
    assert quarantined(c)[3][3].startswith("duplicate: ")
