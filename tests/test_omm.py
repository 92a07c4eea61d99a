"""OMM: the three formats, their epochs, every fault, and files cut in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from element_sets import EPOCH, ISS, ISS_OMM, assert_same_numbers, csv_text, lines, quarantined, read_text


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
