"""Curves of one number against another, from a table of runs."""

import pandas as pd
import pytest

from leosim.report import curves

ROWS = pd.DataFrame(
    {
        "changes": [100.0, 40.0, 50.0, 10.0],
        "rate": [8.0, 7.9, 5.0, 4.5],
        "sky": ["ideal", "ideal", "averaged", "averaged"],
        "setting": ["0", "1 %", "0", "1 %"],
    }
)


def test_a_curve_a_group_a_label_a_point(tmp_path):
    ax = curves.trade(ROWS, "changes", "rate", by="sky", label="setting", title="Trade", details=["one pass"])
    assert [line.get_label() for line in ax.lines] == ["ideal", "averaged"]
    assert ax.lines[0].get_xydata().tolist() == [[100.0, 8.0], [40.0, 7.9]]
    assert [text.get_text() for text in ax.texts][:4] == ["0", "1 %", "0", "1 %"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("changes", "rate")
    for name in ("a.png", "a.svg", "a.pdf"):
        first = curves.save(ax, tmp_path / name).read_bytes()
        assert curves.save(ax, tmp_path / name).read_bytes() == first


def test_columns_that_are_not_there():
    with pytest.raises(ValueError, match="delay not there"):
        curves.trade(ROWS, "delay", "rate", by="sky", label="setting", title="Trade")
