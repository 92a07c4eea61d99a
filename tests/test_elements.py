"""Elements: files of any format into one Constellation, selection, errors, and equality with sgp4's own reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from element_sets import (
    EPOCH,
    ISS,
    ISS_OMM,
    STARLINK_A5,
    VANGUARD,
    assert_same_numbers,
    catalogue,
    csv_text,
    lines,
    quarantined,
    read_text,
)
from sgp4.api import WGS72, Satrec, SatrecArray

from leosim.elements import Constellation, ElementsError, check_report, read_elements
from leosim.tle import format_tle
from leosim.units import WGS72_SEMI_MAJOR_M
from leosim.walkers import walker

# ---------------------------------------------------------------------------------------------
# Text of a file


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
    path.write_text(format_tle(walker("53:4/2/1", 550, EPOCH).rows()))
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
# What SGP4 is given


def test_satrecs_are_those_of_twoline2rv(tmp_path: Path) -> None:
    records = (ISS, VANGUARD, STARLINK_A5)
    c = read_text(tmp_path, lines(*records))
    for ours, record in zip(c.satrecs(), records, strict=True):
        theirs = Satrec.twoline2rv(record[1], record[2], WGS72)
        assert (ours.jdsatepoch, ours.jdsatepochF) == (theirs.jdsatepoch, theirs.jdsatepochF)
        at = theirs.jdsatepoch + 3, 0.25
        a_micrometre_km = 1e-9
        np.testing.assert_allclose(ours.sgp4(*at)[1], theirs.sgp4(*at)[1], rtol=0, atol=a_micrometre_km)


def test_nine_digit_numbers_stay_ours_and_propagate(tmp_path: Path) -> None:
    c = read_text(tmp_path, json.dumps([ISS_OMM | {"NORAD_CAT_ID": n} for n in (25544, 339_999, 799_500_123)]))
    assert c.sat.tolist() == [25544, 339_999, 799_500_123]
    satrecs = c.satrecs()
    assert [satrec.satnum for satrec in satrecs] == [25544, 339_999, 0]
    error, position, _ = satrecs[2].sgp4(c.epoch_jd[2], c.epoch_fr[2])
    assert error == 0
    assert position == satrecs[0].sgp4(c.epoch_jd[0], c.epoch_fr[0])[1]


def test_axis_and_heights_are_those_of_sgp4(tmp_path: Path) -> None:
    c = read_text(tmp_path, lines(ISS, VANGUARD, STARLINK_A5))
    satrecs = c.satrecs()
    a_micrometre = 1e-6
    radius = WGS72_SEMI_MAJOR_M
    np.testing.assert_allclose(c.semi_major_axis_m, [s.a * radius for s in satrecs], atol=a_micrometre)
    np.testing.assert_allclose(c.perigee_m, [s.altp * radius for s in satrecs], atol=a_micrometre)
    np.testing.assert_allclose(c.apogee_m, [s.alta * radius for s in satrecs], atol=a_micrometre)


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
