"""Elements: every format, every fault, Walker patterns, and equality with sgp4's own reader."""

from __future__ import annotations

import json
import math
import string
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sgp4.api import WGS72, Satrec, SatrecArray

from leosim import elements
from leosim.elements import (
    Constellation,
    ElementsError,
    alpha5,
    check_report,
    format_omm_csv,
    format_tle,
    from_alpha5,
    read_elements,
    tle_checksum,
    walker,
)
from leosim.units import WGS72_SEMI_MAJOR_M, rad_to_deg

CATALOGUE = Path(__file__).parents[2] / "shared" / "tle"
EPOCH = datetime(2026, 8, 22, tzinfo=UTC)

ISS = (
    "ISS (ZARYA)             ",
    "1 25544U 98067A   98324.28472222 -.00003657  11563-4  00000+0 0    10",
    "2 25544  51.5908 168.3788 0125362  86.4185 359.7454 16.05064833    05",
)
VANGUARD = (
    "VANGUARD DEB            ",
    "1 69999U 58002D   26189.70990935 -.00000023  00000+0 -70517-5 0  9996",
    "2 69999  34.2417 341.8745 1487004  19.9191 345.3718 11.62373363189308",
)
STARLINK_A5 = (
    "STARLINK-37821          ",
    "1 A0404U 26192A   26263.38590896  .00031477  00000+0  57128-3 0  9992",
    "2 A0404  53.1597 307.1840 0001009  61.6382 298.4729 15.49331404  5885",
)
ISS_OMM = {
    "OBJECT_NAME": "ISS (ZARYA)",
    "OBJECT_ID": "1998-067A",
    "EPOCH": "1998-11-20T06:49:59.999808",
    "MEAN_MOTION": 16.05064833,
    "ECCENTRICITY": 0.0125362,
    "INCLINATION": 51.5908,
    "RA_OF_ASC_NODE": 168.3788,
    "ARG_OF_PERICENTER": 86.4185,
    "MEAN_ANOMALY": 359.7454,
    "EPHEMERIS_TYPE": 0,
    "NORAD_CAT_ID": 25544,
    "BSTAR": 0,
    "MEAN_MOTION_DOT": -0.00003657,
    "MEAN_MOTION_DDOT": 0.000011563,
}
NUMBERS = (
    "sat",
    "epoch_ns",
    "epoch_jd",
    "epoch_fr",
    "mean_motion_rad_min",
    "eccentricity",
    "inclination_rad",
    "raan_rad",
    "argument_of_perigee_rad",
    "mean_anomaly_rad",
    "bstar",
    "ndot_rad_min2",
    "nddot_rad_min3",
)


def lines(*records: tuple[str, ...], end: str = "\n") -> str:
    return "".join(f"{line}{end}" for record in records for line in record)


def with_checksum(line: str) -> str:
    return f"{line[:68]}{tle_checksum(line)}"


def changed(line: str, column: int, text: str) -> str:
    """The line with `text` from `column` (from 1, as the TLE format counts), its checksum made right."""
    return with_checksum(line[: column - 1] + text + line[column - 1 + len(text) :])


def read_text(tmp_path: Path, text: str | bytes, name: str = "elements.txt") -> Constellation:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_elements([path])


def catalogue(name: str) -> Path:
    path = CATALOGUE / name
    if not path.exists():
        pytest.skip(f"no catalogue snapshot {name}")
    return path


def assert_same_numbers(got: Constellation, wanted: Constellation) -> None:
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)


def quarantined(constellation: Constellation) -> list[tuple[int, str, int, str]]:
    q = constellation.quarantine
    return list(zip(q.sat.tolist(), q.name.tolist(), q.line.tolist(), q.reason.tolist(), strict=True))


# ---------------------------------------------------------------------------------------------
# What a TLE says


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


def test_bom_crlf_blank_lines_comments_and_non_breaking_spaces_change_nothing(tmp_path: Path) -> None:
    plain = read_text(tmp_path, lines(ISS, VANGUARD))
    dressed: list[str | bytes] = [
        "\ufeff" + lines(ISS, VANGUARD, end="\r\n"),
        "\n# a comment\n\n" + lines(ISS, VANGUARD).replace("\n", "   \n\n# more\n"),
        lines(ISS, VANGUARD).replace(" ", "\xa0"),
        lines(ISS, VANGUARD).replace(" ", "\xa0").encode("latin-1"),
        ("\ufeff" + lines(ISS, VANGUARD)).encode("utf-16-le"),
        lines(ISS, VANGUARD, end="\r"),
        lines(ISS, VANGUARD).rstrip(),
        lines(("0 " + ISS[0], *ISS[1:]), VANGUARD),
    ]
    for text in dressed:
        got = read_text(tmp_path, text)
        assert_same_numbers(got, plain)
        assert got.name.tolist() == plain.name.tolist()
        assert len(got.quarantine.sat) == 0


def test_line_numbers_are_those_of_an_editor(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        text = lines(("# a comment",), ("",), ISS, VANGUARD[:2], STARLINK_A5, end=end)
        c = read_text(tmp_path, text)
        assert c.line.tolist() == [4, 9]
        assert c.quarantine.line.tolist() == [7]


def test_satrecs_are_those_of_twoline2rv(tmp_path: Path) -> None:
    records = (ISS, VANGUARD, STARLINK_A5)
    c = read_text(tmp_path, lines(*records))
    for ours, record in zip(c.satrecs(), records, strict=True):
        theirs = Satrec.twoline2rv(record[1], record[2], WGS72)
        assert (ours.jdsatepoch, ours.jdsatepochF) == (theirs.jdsatepoch, theirs.jdsatepochF)
        at = theirs.jdsatepoch + 3, 0.25
        a_micrometre_km = 1e-9
        np.testing.assert_allclose(ours.sgp4(*at)[1], theirs.sgp4(*at)[1], rtol=0, atol=a_micrometre_km)


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


def records_of(text: str) -> list[elements._Row | elements._Entry]:
    return list(elements._read_tle(elements._tle_lines(text.split("\n"))))


@pytest.mark.parametrize("record", [ISS, VANGUARD, STARLINK_A5], ids=["iss", "vanguard", "alpha5"])
def test_no_single_ascii_character_alters_an_orbit_unnoticed(record: tuple[str, str, str]) -> None:
    """Every printable character in every one of the 138 columns: the same numbers, or quarantine.

    The modulo-10 checksum alone is blind to exchanges of equal weight: '1' and '-', '0' and any of
    blank, '+', '.', letters. The layout of the columns, and the number repeated on line 2, close these.
    """
    (original,) = records_of(lines(record[1:]))
    assert isinstance(original, elements._Row)
    unchanged = 0
    for which in (1, 2):
        for column in range(69):
            for character in string.printable.strip() + " ":
                if record[which][column] == character:
                    continue
                pair = list(record[1:])
                pair[which - 1] = record[which][:column] + character + record[which][column + 1 :]
                found = records_of(lines(tuple(pair)))
                rows = [item for item in found if isinstance(item, elements._Row)]
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
# OMM


def csv_text(*records: dict[str, object]) -> str:
    rows = [",".join(records[0])] + [",".join(str(value) for value in record.values()) for record in records]
    return "\n".join(rows) + "\n"


def xml_text(*records: dict[str, object], root: str = '<ndm xmlns="urn:ccsds:schema:ndmxml">') -> str:
    segments = ""
    for record in records:
        at = {key: f"<{key}>{value}</{key}>" for key, value in record.items()}
        metadata = "".join(at[key] for key in at if key in ("OBJECT_NAME", "OBJECT_ID", "REF_FRAME", "TIME_SYSTEM"))
        mean = "".join(at[key] for key in at if key in ("EPOCH", "ECCENTRICITY", "INCLINATION", "MEAN_ANOMALY"))
        mean += "".join(at[key] for key in ("MEAN_MOTION", "RA_OF_ASC_NODE", "ARG_OF_PERICENTER"))
        tle = "".join(at[key] for key in ("NORAD_CAT_ID", "EPHEMERIS_TYPE", "BSTAR", "MEAN_MOTION_DOT"))
        tle += at["MEAN_MOTION_DDOT"]
        segments += (
            f"<omm id='CCSDS_OMM_VERS' version='2.0'><header><ORIGINATOR/></header><body><segment>"
            f"<metadata>{metadata}<CENTER_NAME>EARTH</CENTER_NAME>"
            f"<MEAN_ELEMENT_THEORY>SGP4</MEAN_ELEMENT_THEORY></metadata>"
            f"<data><meanElements>{mean}</meanElements><tleParameters>{tle}</tleParameters></data>"
            f"</segment></body></omm>\n"
        )
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{root}{segments}</ndm>"


def formats_of(*records: dict[str, object]) -> dict[str, str]:
    return {
        "OMM JSON": json.dumps(list(records)),
        "OMM CSV": csv_text(*records),
        "OMM XML": xml_text(*records),
    }


FORMATS = ["OMM JSON", "OMM CSV", "OMM XML"]


@pytest.mark.parametrize("format_", FORMATS)
def test_omm_and_tle_of_one_record_are_equal(tmp_path: Path, format_: str) -> None:
    tle = read_text(tmp_path, lines(ISS))
    omm = read_text(tmp_path, formats_of(ISS_OMM)[format_])
    assert omm.sources[0].format == format_
    assert omm.name.tolist() == ["ISS (ZARYA)"]
    assert len(omm.quarantine.sat) == 0
    assert_same_numbers(omm, tle)


def test_other_shapes_of_omm(tmp_path: Path) -> None:
    plain = read_text(tmp_path, json.dumps([ISS_OMM]))
    texts = [
        json.dumps(ISS_OMM),
        "\ufeff" + json.dumps([{key: str(value) for key, value in ISS_OMM.items()}], indent=2),
        csv_text(ISS_OMM).replace("\n", "\r\n\r\n"),
        csv_text(ISS_OMM | {"OBJECT_NAME": '"ISS (ZARYA)"'}),
        xml_text(ISS_OMM, root="<ndm>"),
        xml_text(ISS_OMM | {"REF_FRAME": "TEME", "TIME_SYSTEM": "UTC"}),
    ]
    for text in texts:
        got = read_text(tmp_path, text)
        assert_same_numbers(got, plain)
        assert got.name.tolist() == ["ISS (ZARYA)"]


@pytest.mark.parametrize(
    ("text", "ns_after_midnight"),
    [
        ("2026-08-22T00:00:00", 0),
        ("2026-08-22T00:00:00Z", 0),
        ("2026-08-22T00:00:00.5Z", 500_000_000),
        ("2026-08-22T23:59:59.999999", 86_400 * 10**9 - 1000),
        ("2026-08-22T00:00:00.123456789+00:00", 123_456_789),
        ("2026-234T01:00:00.000", 3600 * 10**9),
    ],
)
def test_epochs_of_omm(tmp_path: Path, text: str, ns_after_midnight: int) -> None:
    c = read_text(tmp_path, json.dumps([ISS_OMM | {"EPOCH": text}]))
    midnight = int(EPOCH.timestamp()) * 10**9
    assert c.epoch_ns.tolist() == [midnight + ns_after_midnight]
    assert c.epoch_jd.tolist() == [2_461_274.5]
    assert c.epoch_fr.tolist() == [ns_after_midnight / 86_400e9]


OMM_FAULTS: list[tuple[dict[str, object], str]] = [
    ({"EPOCH": "2026-08-22T00:00:00+02:00"}, "EPOCH: expected YYYY-MM-DDThh:mm:ss.ffffff in UTC"),
    ({"EPOCH": "2026-02-29T00:00:00"}, "EPOCH: expected YYYY-MM-DD"),
    ({"EPOCH": "2026-366T00:00:00"}, "EPOCH: expected YYYY-MM-DD"),
    ({"EPOCH": "2026-08-22T24:00:00"}, "EPOCH: expected YYYY-MM-DD"),
    ({"EPOCH": "1900-01-01T00:00:00"}, "EPOCH: expected YYYY-MM-DD"),
    ({"EPOCH": ""}, "EPOCH: expected a value, got none"),
    ({"MEAN_MOTION": "nan"}, "MEAN_MOTION: expected a finite number, got 'nan'"),
    ({"BSTAR": "x"}, "BSTAR: expected a finite number, got 'x'"),
    ({"MEAN_MOTION_DDOT": "inf"}, "MEAN_MOTION_DDOT: expected a finite number, got 'inf'"),
    ({"MEAN_MOTION": 0}, "mean motion: expected more than 0"),
    ({"ECCENTRICITY": 1.0}, "eccentricity: expected 0 to below 1, got 1"),
    ({"ECCENTRICITY": -0.1}, "eccentricity: expected 0 to below 1, got -0.1"),
    ({"INCLINATION": 181}, "inclination: expected 0 to 180 degrees, got 181"),
    ({"MEAN_ANOMALY": -1}, "mean anomaly: expected 0 to 360 degrees, got -1"),
    ({"NORAD_CAT_ID": "T0001"}, "NORAD_CAT_ID: expected a whole number, got 'T0001'"),
    ({"NORAD_CAT_ID": 1_000_000_000}, "catalogue number: expected 1 to 999999999, got 1000000000"),
    ({"EPHEMERIS_TYPE": 4}, "EPHEMERIS_TYPE: expected 0 or 2 or 3, got"),
]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("change", "reason"), OMM_FAULTS, ids=[str(change) for change, _ in OMM_FAULTS])
def test_a_faulty_omm_goes_to_quarantine(tmp_path: Path, format_: str, change: dict[str, object], reason: str) -> None:
    good = ISS_OMM | {"NORAD_CAT_ID": 1}
    c = read_text(tmp_path, formats_of(good, ISS_OMM | change)[format_])
    assert c.sat.tolist() == [1]
    ((_, name, line, got),) = quarantined(c)
    assert (name, line) == ("ISS (ZARYA)", 3 if format_ == "OMM CSV" else 2)
    assert got.startswith(reason)


@pytest.mark.parametrize(
    ("key", "value"),
    [("REF_FRAME", "GCRF"), ("TIME_SYSTEM", "TAI"), ("MEAN_ELEMENT_THEORY", "DSST"), ("CENTER_NAME", "MOON")],
)
def test_omm_of_another_theory_or_frame_goes_to_quarantine(tmp_path: Path, key: str, value: str) -> None:
    good = ISS_OMM | {"NORAD_CAT_ID": 1}
    c = read_text(tmp_path, json.dumps([good, ISS_OMM | {key: value}]))
    assert c.sat.tolist() == [1]
    ((sat, _, _, reason),) = quarantined(c)
    assert sat == 25544
    assert reason.startswith(f"{key}: expected ")
    assert reason.endswith(f"got {value!r}")


@pytest.mark.parametrize("key", ["NORAD_CAT_ID", "EPOCH", "MEAN_MOTION", "ECCENTRICITY", "MEAN_ANOMALY", "BSTAR"])
def test_an_omm_without_a_required_key_goes_to_quarantine(tmp_path: Path, key: str) -> None:
    good = ISS_OMM | {"NORAD_CAT_ID": 1}
    for lacking in ({k: v for k, v in ISS_OMM.items() if k != key}, ISS_OMM | {key: None}):
        c = read_text(tmp_path, json.dumps([lacking, good]))
        assert c.sat.tolist() == [1]
        ((_, _, line, reason),) = quarantined(c)
        assert (line, reason) == (1, f"{key}: expected a value, got none")


def test_derivatives_that_sgp4_ignores_and_names_may_be_absent(tmp_path: Path) -> None:
    left_out = ("MEAN_MOTION_DOT", "MEAN_MOTION_DDOT", "OBJECT_NAME", "EPHEMERIS_TYPE")
    c = read_text(tmp_path, json.dumps({k: v for k, v in ISS_OMM.items() if k not in left_out}))
    assert (c.name.tolist(), c.ndot_rad_min2.tolist(), c.nddot_rad_min3.tolist()) == (["25544"], [0.0], [0.0])


@pytest.mark.parametrize(
    "strange",
    ["1e999", "1" * 400, "1" * 5000, "[" * 100_000, '{"MEAN_MOTION": ' * 2000, "[1, 2]", '"text"', "null", "true"],
    ids=lambda text: text[:8],
)
def test_strange_json_is_one_entry_of_the_quarantine(tmp_path: Path, strange: str) -> None:
    """As a value and in place of an object: never a crash, and the record before is kept."""
    good = json.dumps(ISS_OMM | {"NORAD_CAT_ID": 1})
    for text in (strange, json.dumps(ISS_OMM).replace("16.05064833", strange)):
        c = read_text(tmp_path, f"[{good},{text}]")
        assert c.sat.tolist() == [1]
        assert len(c.quarantine.sat) >= 1


def test_a_cut_json_gives_its_complete_records(tmp_path: Path) -> None:
    records = [ISS_OMM | {"NORAD_CAT_ID": number} for number in (1, 2, 3)]
    text = json.dumps(records)
    for cut in range(text.index("}") + 1, len(text), 29):
        complete = text[:cut].count("}")
        c = read_text(tmp_path, text[:cut])
        assert c.sat.tolist() == [1, 2, 3][:complete]
        ((_, _, line, reason),) = quarantined(c)
        assert line == complete + 1
        assert reason.startswith("cut JSON: expected ")


def test_a_damaged_object_amid_json_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    text = json.dumps([ISS_OMM | {"NORAD_CAT_ID": number} for number in (1, 2, 3)])
    second = text.index('"NORAD_CAT_ID": 2')
    c = read_text(tmp_path, text[:second] + text[second:].replace("}", "", 1))
    assert c.sat.tolist() == [1, 3]
    ((sat, name, line, _),) = quarantined(c)
    assert (sat, name, line) == (2, "ISS (ZARYA)", 2)


def test_a_cut_xml_gives_its_complete_segments(tmp_path: Path) -> None:
    text = xml_text(*(ISS_OMM | {"NORAD_CAT_ID": number} for number in (1, 2, 3)))
    for cut in range(text.index("</segment>") + 10, len(text), 97):
        complete = text[:cut].count("</segment>")
        c = read_text(tmp_path, text[:cut])
        assert c.sat.tolist() == [1, 2, 3][:complete]
        ((_, _, line, reason),) = quarantined(c)
        assert line == complete + 1
        assert reason.startswith("cut XML: expected ")


def test_csv_rows_with_a_wrong_number_of_fields_go_to_quarantine(tmp_path: Path) -> None:
    rows = csv_text(*(ISS_OMM | {"NORAD_CAT_ID": number} for number in (1, 2, 3, 4))).split("\n")
    rows[2] += ",0"
    rows[3] = rows[3].replace("ISS", '"ISS')
    rows[4] = rows[4][: rows[4].rindex(",") - 3]
    c = read_text(tmp_path, "\n".join(rows))
    assert c.sat.tolist() == [1]
    assert [(sat, line) for sat, _, line, _ in quarantined(c)] == [(2, 3), (-1, 4), (4, 5)]
    assert [reason.split(",")[0] for *_, reason in quarantined(c)] == [
        "CSV row: expected 14 fields",
        "CSV row: expected closed quotes",
        "CSV row: expected 14 fields",
    ]


def test_nine_digit_numbers_stay_ours_and_propagate(tmp_path: Path) -> None:
    c = read_text(tmp_path, json.dumps([ISS_OMM | {"NORAD_CAT_ID": n} for n in (25544, 339_999, 799_500_123)]))
    assert c.sat.tolist() == [25544, 339_999, 799_500_123]
    satrecs = c.satrecs()
    assert [satrec.satnum for satrec in satrecs] == [25544, 339_999, 0]
    error, position, _ = satrecs[2].sgp4(c.epoch_jd[2], c.epoch_fr[2])
    assert error == 0
    assert position == satrecs[0].sgp4(c.epoch_jd[0], c.epoch_fr[0])[1]


# ---------------------------------------------------------------------------------------------
# Several files, selection, errors


def test_of_duplicates_the_newest_is_kept_whatever_the_order(tmp_path: Path) -> None:
    newer = ISS_OMM | {"EPOCH": "1998-11-21T00:00:00"}
    (tmp_path / "old.tle").write_text(lines(ISS, VANGUARD))
    (tmp_path / "new.json").write_text(json.dumps([newer]))
    for files in (["old.tle", "new.json"], ["new.json", "old.tle"]):
        c = read_elements([tmp_path / file for file in files])
        assert c.sat.tolist() == [25544, 69999]
        assert c.file.tolist() == ["new.json", "old.tle"]
        assert c.quarantine.file.tolist() == ["old.tle"]
        ((sat, name, line, reason),) = quarantined(c)
        assert (sat, name, line) == (25544, "ISS (ZARYA)", 2)
        assert reason == (
            "duplicate: expected one element set of a catalogue number, got another of epoch "
            "1998-11-20T06:49:59.999808Z; kept that of 1998-11-21T00:00:00.000000Z (new.json: 1)"
        )
        assert [source.file for source in c.sources] == files


def test_of_equal_epochs_the_first_read_is_kept(tmp_path: Path) -> None:
    c = read_text(tmp_path, json.dumps([ISS_OMM | {"BSTAR": bstar} for bstar in (1e-4, 2e-4, 3e-4)]))
    assert c.bstar.tolist() == [1e-4]
    assert c.quarantine.line.tolist() == [2, 3]


def test_include_by_pattern_name_and_number(tmp_path: Path) -> None:
    path = tmp_path / "e.tle"
    path.write_text(lines(("STARLINK-1 [DTC]", *ISS[1:]), VANGUARD, STARLINK_A5))
    for include, wanted in [
        (["starlink*"], [25544, 100404]),
        (["STARLINK-?????"], [100404]),
        (["Starlink-1 [DTC]"], [25544]),
        (["100404", "vanguard deb"], [69999, 100404]),
        (["*DEB", "69999"], [69999]),
    ]:
        assert read_elements([path], include).sat.tolist() == wanted


def test_altitude_limits_are_of_the_mean_height(tmp_path: Path) -> None:
    path = tmp_path / "e.tle"
    path.write_text(lines(ISS, VANGUARD, STARLINK_A5))
    c = read_elements([path])
    mean_km = (c.perigee_m + c.apogee_m) / 2e3
    assert read_elements([path], altitude_km=(mean_km[2] - 1, mean_km[2] + 1)).sat.tolist() == [100404]
    assert read_elements([path], altitude_km=(0, mean_km[2] + 1)).sat.tolist() == [25544, 100404]
    path.write_text(format_tle(walker("53:4/2/1", 550, EPOCH)))
    assert len(read_elements([path], altitude_km=(550, 550))) == 4


def test_errors_name_the_file_the_fault_and_the_fix(tmp_path: Path) -> None:
    def message(text: str | None, include: tuple[str, ...] = (), altitude_km: object = None) -> str:
        path = tmp_path / "e.txt"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(ElementsError) as caught:
            read_elements([path], include, altitude_km)  # type: ignore[arg-type]
        got = str(caught.value)
        assert "\n" not in got
        assert got.startswith((f"{path}: expected ", "altitude_km: expected "))
        return got

    assert "got no such file; check the path" in message(None)
    assert "got an empty file" in message(" \n\r\n")
    assert "got text beginning 'No GP data found'; give an element file" in message("No GP data found\n")
    assert "got text beginning '<!DOCTYPE html>'" in message("<!DOCTYPE html>\n<p>Forbidden</p>")
    assert "got text beginning '[project]'" in message('[project]\nname = "x"\n')
    assert "got 0 rejected and none accepted; the file holds no record" in message("[]")
    assert "expected the OMM columns BSTAR, got a header without them" in message(
        csv_text({key: value for key, value in ISS_OMM.items() if key != "BSTAR"})
    )
    got = message(lines(("A", ISS[1], ISS[2][:60]), ("B", VANGUARD[1][:-1] + "0", VANGUARD[2])))
    assert "valid 3LE record, got 2 rejected and none accepted" in got
    assert "first, line 2: length of line 2: expected 69 columns, got 60" in got
    assert "first, record 1: EPOCH" in message(json.dumps([ISS_OMM | {"EPOCH": "yesterday"}]))
    three = lines(ISS, VANGUARD, STARLINK_A5)
    assert "matches 'STARLNK*', got none of 3 read; nearest are STARLINK*" in message(three, ("STARLNK*",))
    assert "nearest are STARLINK-37821" in message(three, ("starlink-37281",))
    assert "'VANGARD*'" in message(three, ("ISS*", "VANGARD*"))
    assert "between 900 and 901 km, got none of 3 (their mean heights are " in message(three, (), (900, 901))
    assert "expected [lowest, highest], got [600, 500]" in message(three, (), (600, 500))
    no_lists: list[object] = [[], "e.txt", Path("e.txt")]
    for files in no_lists:
        with pytest.raises(ElementsError, match="expected a list of files"):
            read_elements(files)  # type: ignore[arg-type]
    with pytest.raises(ElementsError, match="readable file"):
        read_elements([tmp_path])


def test_select_by_mask_and_rows(tmp_path: Path) -> None:
    c = read_text(tmp_path, lines(ISS, VANGUARD, STARLINK_A5, VANGUARD))
    assert c.select(c.sat > 50_000).sat.tolist() == [69999, 100404]
    assert c.select([2, 0]).sat.tolist() == [25544, 100404]
    assert c.select([-1]).name.tolist() == ["STARLINK-37821"]
    assert len(c.select(np.zeros(3, dtype=bool))) == 0
    assert len(c.select([])) == 0
    assert c.select([1]).quarantine is c.quarantine
    assert c.select([1]).sources == c.sources
    with pytest.raises(IndexError, match="expected shape"):
        c.select([True, False])
    with pytest.raises(IndexError):
        c.select([3])
    with pytest.raises(ValueError, match="strictly increasing"):
        c.replace(sat=[1, 1, 2])


def test_the_median_epoch_is_a_whole_nanosecond() -> None:
    w = walker("53:4/2/1", 550, EPOCH)
    odd = w.select([0, 1, 2]).replace(epoch_ns=[3, 1, 1_787_356_800_000_000_001])
    assert odd.median_epoch_ns == 3
    even = w.replace(epoch_ns=np.array([1, 2, 3, 4]) + 1_787_356_800_000_000_000)
    assert even.median_epoch_ns == 1_787_356_800_000_000_002


# ---------------------------------------------------------------------------------------------
# Kozai and Brouwer


def test_axis_and_heights_are_those_of_sgp4(tmp_path: Path) -> None:
    c = read_text(tmp_path, lines(ISS, VANGUARD, STARLINK_A5))
    satrecs = c.satrecs()
    a_micrometre = 1e-6
    radius = WGS72_SEMI_MAJOR_M
    np.testing.assert_allclose(c.semi_major_axis_m, [s.a * radius for s in satrecs], atol=a_micrometre)
    np.testing.assert_allclose(c.perigee_m, [s.altp * radius for s in satrecs], atol=a_micrometre)
    np.testing.assert_allclose(c.apogee_m, [s.alta * radius for s in satrecs], atol=a_micrometre)


@given(
    axis_km=st.floats(6500, 45_000),
    eccentricity=st.floats(0, 0.5),
    inclination_rad=st.floats(0, math.pi),
)
def test_kozai_mean_motion_is_the_inverse(axis_km: float, eccentricity: float, inclination_rad: float) -> None:
    n = elements.kozai_mean_motion_rad_min(axis_km * 1e3, eccentricity, inclination_rad)
    back = elements.brouwer_semi_major_axis_m(np.array([n]), np.array([eccentricity]), np.array([inclination_rad]))
    np.testing.assert_allclose(back, axis_km * 1e3, rtol=1e-13)


# ---------------------------------------------------------------------------------------------
# Walker


def test_a_walker_delta_is_where_its_definition_puts_it() -> None:
    w = walker("56:24/3/1", 23_222, EPOCH)  # Galileo's reference pattern
    assert len(w) == 24
    assert w.sat.tolist() == list(range(1, 25))
    assert w.name[[0, 7, 8, 23]].tolist() == ["WALKER-01-01", "WALKER-01-08", "WALKER-02-01", "WALKER-03-08"]
    raan, anomaly = rad_to_deg(w.raan_rad).reshape(3, 8), rad_to_deg(w.mean_anomaly_rad).reshape(3, 8)
    np.testing.assert_allclose(raan, [[0] * 8, [120] * 8, [240] * 8])
    np.testing.assert_allclose(anomaly[0], np.arange(8) * 45)
    np.testing.assert_allclose(anomaly[1], np.arange(8) * 45 + 15)
    np.testing.assert_allclose(anomaly[2], np.arange(8) * 45 + 30)
    np.testing.assert_allclose(rad_to_deg(w.inclination_rad), 56)
    np.testing.assert_array_equal(w.epoch_ns, int(EPOCH.timestamp()) * 10**9)
    assert w.sources[0].format == "walker"


@settings(max_examples=40)
@given(planes=st.integers(1, 12), per_plane=st.integers(1, 12), data=st.data())
def test_a_walker_delta_maps_onto_itself(planes: int, per_plane: int, data: st.DataObject) -> None:
    """Turning the whole by one plane and by its phase F 360 / T gives the same set of satellites."""
    phasing = data.draw(st.integers(0, planes - 1))
    total = planes * per_plane
    w = walker(f"53:{total}/{planes}/{phasing}", 550, EPOCH)

    def grid(raan_deg: np.ndarray, anomaly_deg: np.ndarray) -> set[tuple[int, int]]:
        p = np.round(raan_deg * planes / 360).astype(int) % planes
        s = np.round(anomaly_deg * total / 360).astype(int) % total
        return set(zip(p.tolist(), s.tolist(), strict=True))

    raan, anomaly = rad_to_deg(w.raan_rad), rad_to_deg(w.mean_anomaly_rad)
    assert len(grid(raan, anomaly)) == total
    assert grid(raan, anomaly) == grid(raan + 360 / planes, anomaly + 360 * phasing / total)


def test_a_walker_star_spreads_its_nodes_over_half_the_equator() -> None:
    w = walker("86.4:66/6/2", 780, EPOCH, kind="star", name="IRI", first_number=90_001)
    np.testing.assert_allclose(np.unique(rad_to_deg(w.raan_rad)), [0, 30, 60, 90, 120, 150], atol=1e-12)
    assert w.name[-1] == "IRI-06-11"
    assert w.sat[0] == 90_001


@pytest.mark.parametrize("inclination_deg", [10.0, 53.0, 90.0])
def test_a_walker_flies_at_its_altitude(inclination_deg: float) -> None:
    """The mean radius of a circular orbit is a - (3/4) J2 R^2 / a (3 cos^2 i - 1), a being the mean axis.

    Around it J2 moves the radius by up to 1.6 km and J3 forces an eccentricity of up to 7 km.
    """
    w = walker(f"{inclination_deg:g}:1584/72/39", 550, EPOCH)
    np.testing.assert_allclose((w.perigee_m + w.apogee_m) / 2, 550e3, atol=1e-6)
    day = np.arange(0, 1, 1 / 288)
    errors, position_km, _ = SatrecArray(w.select([0, 500, 1000, 1583]).satrecs()).sgp4(
        np.full(day.size, w.epoch_jd[0]), w.epoch_fr[0] + day
    )
    assert not errors.any()
    radius_km = np.linalg.norm(position_km, axis=2)
    R, a = WGS72_SEMI_MAJOR_M / 1e3, WGS72_SEMI_MAJOR_M / 1e3 + 550
    offset_km = -0.75 * elements.WGS72_J2 * R**2 / a * (3 * math.cos(math.radians(inclination_deg)) ** 2 - 1)
    ten_metres_km, ten_km = 0.01, 10.0
    np.testing.assert_allclose(radius_km.mean() - a, offset_km, atol=ten_metres_km)
    assert np.abs(radius_km - a - offset_km).max() < ten_km


def test_walker_epochs_with_a_zone_are_turned_to_utc() -> None:
    east = EPOCH.astimezone(timezone(timedelta(hours=2)))
    assert east.hour == 2
    w, utc = walker("53:4/2/1", 550, east), walker("53:4/2/1", 550, EPOCH)
    assert_same_numbers(w, utc)
    assert w.sources == utc.sources


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pattern": "53/1584/72/39"}, "expected inclination:T/P/F such as '53:1584/72/39', got '53/1584/72/39'"),
        ({"pattern": "53:1584/72"}, "expected inclination:T/P/F"),
        ({"pattern": "-5:1584/72/39"}, "expected inclination:T/P/F"),
        ({"pattern": "181:1584/72/39"}, "expected 0 to 180 degrees, got 181"),
        ({"pattern": "53:1585/72/39"}, "expected T a multiple of P, got T = 1585, P = 72; try T = 1584"),
        ({"pattern": "53:1584/0/0"}, "expected T a multiple of P"),
        ({"pattern": "53:0/1/0"}, "expected T a multiple of P"),
        ({"pattern": "53:1584/72/72"}, "expected 0 to P - 1 = 71, got 72; try F = 0"),
        ({"kind": "rosette"}, "expected 'delta' or 'star', got 'rosette'"),
        ({"epoch": datetime(2026, 8, 22)}, "expected a time zone, got 2026-08-22T00:00:00; append Z"),
        ({"altitude_km": 0.0}, "altitude_km: expected more than 0"),
        ({"altitude_km": math.nan}, "altitude_km: expected more than 0"),
        ({"first_number": 999_999_000}, "first_number: expected 1 to 999998416"),
    ],
)
def test_bad_walkers_are_refused(change: dict[str, object], reason: str) -> None:
    given_: dict[str, object] = {"pattern": "53:1584/72/39", "altitude_km": 550, "epoch": EPOCH} | change
    with pytest.raises(ValueError) as caught:
        walker(**given_)  # type: ignore[arg-type]
    assert reason in str(caught.value)


# ---------------------------------------------------------------------------------------------
# Writing


def assert_same_to_tle_resolution(got: Constellation, wanted: Constellation) -> None:
    half_a_step = 0.5 + 1e-6
    for name in ("inclination_rad", "raan_rad", "argument_of_perigee_rad", "mean_anomaly_rad"):
        difference = np.abs(rad_to_deg(getattr(got, name) - getattr(wanted, name)))
        assert np.minimum(difference, 360 - difference).max() <= half_a_step * 1e-4, name
    assert np.abs(got.eccentricity - wanted.eccentricity).max() <= half_a_step * 1e-7
    step = 1e-8 * elements.REV_PER_DAY_TO_RAD_MIN
    assert np.abs(got.mean_motion_rad_min - wanted.mean_motion_rad_min).max() <= half_a_step * step
    assert np.abs(got.epoch_ns - wanted.epoch_ns).max() <= elements.TLE_EPOCH_STEP_NS // 2
    np.testing.assert_allclose(got.bstar, wanted.bstar, rtol=0.51e-4, atol=0.51e-14)
    np.testing.assert_allclose(got.nddot_rad_min3, wanted.nddot_rad_min3, rtol=0.51e-4, atol=1e-23)
    ndot_step = 1e-8 * elements.REV_PER_DAY_TO_RAD_MIN / 1440
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
    tle = read_text(folder, format_tle(c))
    assert len(tle.quarantine.sat) == 0
    assert tle.sat.tolist() == c.sat.tolist()
    assert_same_to_tle_resolution(tle, c)
    assert_same_numbers(read_text(folder, format_tle(tle)), tle)
    omm = read_text(folder, format_omm_csv(c))
    assert omm.epoch_ns.tolist() == c.epoch_ns.tolist()
    for name in NUMBERS[4:]:
        np.testing.assert_allclose(getattr(omm, name), getattr(c, name), rtol=1e-12, err_msg=name)


def test_a_tle_written_is_the_tle_read(tmp_path: Path) -> None:
    text = format_tle(read_text(tmp_path, lines(ISS, VANGUARD, STARLINK_A5)))
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
    back = read_text(tmp_path, format_tle(w))
    assert back.name.tolist() == names
    csv_back = read_text(tmp_path, format_omm_csv(w.replace(name=np.array(['A, "B"', "C", "D", "E,F"]))))
    assert csv_back.name.tolist() == ['A, "B"', "C", "D", "E,F"]


def test_angles_that_round_to_a_whole_turn_are_written_as_zero() -> None:
    w = walker("53:4/2/1", 550, EPOCH).replace(raan_rad=np.radians([359.99996, 359.99994, -0.00004, -1.0]))
    written = [line[17:25] for line in format_tle(w).splitlines() if line.startswith("2 ")]
    assert written == ["  0.0000", "359.9999", "  0.0000", "359.0000"]


def test_what_a_tle_cannot_hold_is_refused() -> None:
    w = walker("53:4/2/1", 550, EPOCH, first_number=339_997)
    with pytest.raises(ValueError, match=r"catalogue number 340000: .* write OMM instead"):
        format_tle(w)
    assert format_tle(w.select([0, 1, 2])).split("\n")[7][:7] == "1 Z9999"
    late = walker("53:4/2/1", 550, datetime(2057, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="expected an epoch from 1957 to 2056, got 2057-01-01"):
        format_tle(late)
    with pytest.raises(ValueError, match="first derivative below 1 rev/day2"):
        format_tle(walker("53:4/2/1", 550, EPOCH).replace(ndot_rad_min2=np.ones(4)))
    with pytest.raises(ValueError, match="expected a drag term below 1e9"):
        format_tle(walker("53:4/2/1", 550, EPOCH).replace(bstar=np.full(4, 1e9)))


def test_the_shipped_walker_is_the_one_of_its_name() -> None:
    path = Path(__file__).parents[1] / "tle" / "walker-53-1584-72-39-550km-20260822.tle"
    w = walker("53:1584/72/39", 550, EPOCH)
    assert path.read_text() == format_tle(w)
    shipped = read_elements([path])
    assert shipped.name.tolist() == w.name.tolist()
    assert_same_to_tle_resolution(shipped, w)


# ---------------------------------------------------------------------------------------------
# The report


def test_the_report_counts_what_there_is(tmp_path: Path) -> None:
    bad = (VANGUARD[0], VANGUARD[1][:-1] + "0", VANGUARD[2])
    c = read_text(tmp_path, lines(ISS, bad, STARLINK_A5, ISS))
    report = check_report(c, at=datetime(2026, 9, 21, tzinfo=UTC))
    assert json.loads(json.dumps(report)) == report
    assert report["satellites"] == 2
    assert report["formats"] == {"3LE": 3}
    assert report["quarantined"] == 2
    assert report["quarantine_reasons"] == {"checksum of line 1": 1, "duplicate": 1}
    assert report["numbers_from_100000"] == 1
    assert report["files"][0]["records"] == 3
    assert report["files"][0]["rejected"] == 1
    assert report["epoch"]["min"] == "1998-11-20T06:49:59.999808Z"
    np.testing.assert_allclose(report["age_days"]["min"], 264 - 263.38590896, atol=1e-12)
    assert sum(shell["satellites"] for shell in report["shells"]) == 2
    assert check_report(c)["age_days"]["min"] == 0.0
    with pytest.raises(ValueError, match="expected a time zone"):
        check_report(c, at=datetime(2026, 9, 21))


def test_the_shells_of_a_walker_and_of_nothing() -> None:
    w = walker("53:40/2/1", 550, EPOCH)
    assert check_report(w)["shells"] == [{"from_km": 550.0, "to_km": 560.0, "satellites": 40}]
    high = check_report(walker("56:24/3/1", 23_222, EPOCH))
    assert (high["shells"], high["above_2000_km"]) == ([], 24)
    nothing = check_report(w.select([]))
    assert (nothing["satellites"], nothing["epoch"], nothing["shells"]) == (0, None, [])


# ---------------------------------------------------------------------------------------------
# Real catalogues

SNAPSHOTS = {
    "active-20260822.tle": 16069,
    "active-20260822.omm.csv": 16400,
    "starlink-20260822.tle": 10746,
    "starlink-20260815.tle": 10753,
    "oneweb-20260822.tle": 651,
    "kuiper-20260822.tle": 391,
    "iridium-next-20260822.tle": 80,
    "globalstar-20260822.tle": 28,
    "qianfan-20260822.tle": 238,
    "guowang-20260822.tle": 182,
    "active-20240112.tle": 9164,
    "starlink-20240112.tle": 5293,
    "oneweb-20240112.tle": 636,
    "iridium-next-20240112.tle": 80,
    "globalstar-20240112.tle": 85,
    "starlink-20250628-every8th.omm.json": 977,
    "weather-20250628.omm.json": 72,
    "alpha5-last30days-20260921.tle": 256,
    "alpha5-analyst-20260921.tle": 346,
}


@pytest.mark.catalogue
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_every_record_of_every_snapshot_is_read(name: str) -> None:
    c = read_elements([catalogue(name)])
    assert len(c) == SNAPSHOTS[name]
    assert len(c.quarantine.sat) == 0


CORRUPT = {
    "c1-checksum-digit.tle": ([20453, 25544], (69999, "VANGUARD DEB", 5), "checksum of line 1: expected 6, got 1"),
    "c2-line-2-short.tle": (
        [20453, 25544],
        (69999, "VANGUARD DEB", 5),
        "length of line 2: expected 69 columns, got 68",
    ),
    "c3-letter-in-epoch.tle": (
        [20453, 25544],
        (69999, "VANGUARD DEB", 5),
        "epoch fraction of line 1: expected DDDDDDDD in columns 25 to 32, got '7O990935'",
    ),
    "c4-line-2-missing.tle": (
        [20453, 25544],
        (69999, "VANGUARD DEB", 5),
        "missing line 2: expected it after line 1, got a name",
    ),
    "c5-cut-closing-bracket.json": (
        [20453, 25544, 69999],
        (-1, "", 4),
        "cut JSON: expected ']' after 3 records, got the end of the file; later records may be missing",
    ),
    "c5-cut-last-row.csv": ([20453, 25544], (69999, "VANGUARD DEB", 4), "CSV row: expected 17 fields, got 16"),
}


@pytest.mark.catalogue
@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_files_keep_the_sound_records_and_name_the_others(name: str) -> None:
    kept, entry, reason = CORRUPT[name]
    c = read_elements([catalogue(f"corrupt/{name}")])
    assert c.sat.tolist() == kept
    assert quarantined(c) == [(*entry, reason)]


@pytest.mark.catalogue
def test_the_unedited_controls_are_whole_and_agree() -> None:
    controls = [
        read_elements([catalogue(f"corrupt/unedited-{name}")]) for name in ("sets.tle", "array.json", "rows.csv")
    ]
    for c in controls:
        assert c.sat.tolist() == [20453, 25544, 69999]
        assert len(c.quarantine.sat) == 0
        assert c.epoch_ns.tolist() == controls[0].epoch_ns.tolist()
    assert_same_numbers(controls[1], controls[2])


@pytest.mark.catalogue
def test_six_digit_starlinks_come_from_the_omm_file() -> None:
    c = read_elements([catalogue("active-20260822.omm.csv")], include=["STARLINK*"])
    assert len(c) == 10_975
    assert int(np.count_nonzero(c.sat >= 100_000)) == 229
    assert check_report(c)["numbers_from_100000"] == 229
    assert all(satrec.satnum == sat for satrec, sat in zip(c.satrecs(), c.sat.tolist(), strict=True))


@pytest.mark.catalogue
def test_alpha5_files_hold_the_numbers_they_say() -> None:
    recent = read_elements([catalogue("alpha5-last30days-20260921.tle")])
    assert recent.sat.min() == 100_404
    assert np.all(recent.sat < 110_000)
    analyst = read_elements([catalogue("alpha5-analyst-20260921.tle")])
    assert np.all(analyst.sat // 10_000 == 27)


@pytest.mark.catalogue
def test_the_satrecs_are_those_of_twoline2rv() -> None:
    path = catalogue("starlink-20260822.tle")
    c = read_elements([path])
    text = path.read_text().splitlines()
    reference = [Satrec.twoline2rv(text[line - 1], text[line], WGS72) for line in c.line.tolist()]
    ours = c.satrecs()
    assert [(s.jdsatepoch, s.jdsatepochF) for s in ours] == [(s.jdsatepoch, s.jdsatepochF) for s in reference]
    jd = np.full(3, c.epoch_jd.max())
    fr = np.array([0.1234, 1.37, 7.5])
    error, position_km, velocity_km_s = SatrecArray(ours).sgp4(jd, fr)
    error_2, position_2, velocity_2 = SatrecArray(reference).sgp4(jd, fr)
    np.testing.assert_array_equal(error, error_2)
    ten_micrometres_km, per_second = 1e-8, 1e-11
    np.testing.assert_allclose(position_km, position_2, rtol=0, atol=ten_micrometres_km)
    np.testing.assert_allclose(velocity_km_s, velocity_2, rtol=0, atol=per_second)


@pytest.mark.catalogue
def test_omm_and_tle_catalogues_of_a_day_agree() -> None:
    tle = read_elements([catalogue("active-20260822.tle")])
    omm = read_elements([catalogue("active-20260822.omm.csv")])
    _, in_tle, in_omm = np.intersect1d(tle.sat, omm.sat, return_indices=True)
    same_epoch = tle.epoch_ns[in_tle] == omm.epoch_ns[in_omm]
    assert np.count_nonzero(same_epoch) > 10_000
    a, b = tle.select(in_tle[same_epoch]), omm.select(in_omm[same_epoch])
    assert_same_catalogue(a, b)


def assert_same_catalogue(a: Constellation, b: Constellation) -> None:
    for name in ("inclination_rad", "raan_rad", "argument_of_perigee_rad", "mean_anomaly_rad"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    np.testing.assert_array_equal(a.mean_motion_rad_min, b.mean_motion_rad_min)
    np.testing.assert_allclose(a.eccentricity, b.eccentricity, rtol=0, atol=1e-7)
    np.testing.assert_allclose(a.bstar, b.bstar, rtol=1e-4, atol=1e-14)


@pytest.mark.catalogue
def test_two_snapshots_give_the_newest_of_each() -> None:
    old, new = catalogue("starlink-20260815.tle"), catalogue("starlink-20260822.tle")
    both = read_elements([old, new])
    a, b = read_elements([old]), read_elements([new])
    assert set(both.sat.tolist()) == set(a.sat.tolist()) | set(b.sat.tolist())
    assert len(both) + len(both.quarantine.sat) == len(a) + len(b)
    newest = dict(zip(a.sat.tolist(), a.epoch_ns.tolist(), strict=True))
    for sat, epoch_ns in zip(b.sat.tolist(), b.epoch_ns.tolist(), strict=True):
        newest[sat] = max(newest.get(sat, epoch_ns), epoch_ns)
    assert dict(zip(both.sat.tolist(), both.epoch_ns.tolist(), strict=True)) == newest


@pytest.mark.catalogue
def test_a_whole_catalogue_is_written_as_it_was_read() -> None:
    path = catalogue("starlink-20260822.tle")
    text = path.read_text().splitlines()
    c = read_elements([path])
    written = format_tle(c).splitlines()
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
