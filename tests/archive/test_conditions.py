from __future__ import annotations

import sqlite3

import pytest

from tips_med.archive.conditions import parse_condition
from tips_med.archive.lance import sql
from tips_med.errors import QueryError

ROWS = [
    (1, 1.0, 300, 2024, "CT"),
    (2, 2.5, 120, 2020, "CT"),
    (3, 5.0, 60, 2024, "MR"),
    (4, 2.0, 90, None, "CT"),
]


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("thickness_mm <= 2 and date >= 2024", [1]),
        ("thickness_mm<=2", [1, 4]),
        ("thickness_mm > 2 or slices >= 300", [1, 2, 3]),
        ("not (modality = MR)", [1, 2, 4]),
        ("modality != 'MR' and not date = 2020", [1]),
        ('modality == "mr" or date == 2020 and slices < 100', [3]),
        ("(modality == MR or date = 2020) and slices < 100", [3]),
        ("NOT date >= 2000", []),  # what is not known meets neither a condition nor its opposite
        ("thickness_mm = 2.5", [2]),
    ],
)
def test_conditions_mean_what_sql_says(text, met):
    base = sqlite3.connect(":memory:")
    base.execute("create table scans (id, thickness_mm, slices, year, modality)")
    base.executemany("insert into scans values (?, ?, ?, ?, ?)", ROWS)
    found = base.execute(f"select id from scans where {sql(parse_condition(text))} order by id").fetchall()
    base.close()
    assert [row[0] for row in found] == met


@pytest.mark.parametrize(
    "text",
    [
        "",
        "thickness_mm",
        "thickness_mm <=",
        "thickness_mm <= two",
        "thickness_mm <= -1",
        "thickness_mm <= 1e9",
        "slices = 1.5",
        "key = 'a'",
        "__import__('os').system('true')",
        "modality = 'CT'; drop table studies",
        "modality = 'CT' or 1 = 1",
        "modality = 'CT'' or ''1'",
        "modality = CT --",
        "modality < CT",
        "modality = 'a b'",
        "thickness_mm <= 2 date = 2024",
        "(thickness_mm <= 2",
        "thickness_mm <= 2)",
        "and date = 2024",
        "not",
        "date >= 20240301",
        "date >= '2024-03-01'",
        "date >= 2024-03-01",
        "(" * 60 + "date = 2024" + ")" * 60,
        "not " * 60 + "date = 2024",
        "date = 2024 and " * 100 + "date = 2024",
        "thickness_mm \N{LESS-THAN OR EQUAL TO} 2",
        "slices = 99999999999999999999",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(QueryError) as refused:
        parse_condition(text)
    assert refused.value.code == "bad-condition"
    assert refused.value.expected


def test_a_whole_date_is_told_that_only_years_are_kept():
    with pytest.raises(QueryError, match="year"):
        parse_condition("date >= 2024-03-01")
