"""The table and the page: what they say, and what they must not do with what people type."""

from __future__ import annotations

import html
import re
from dataclasses import replace

from tests.batch.archive import answering, read_rows
from tests.exporters.patient import make_grounding, make_scan
from tips_med.batch.folder import BatchFolder
from tips_med.batch.page import write_page
from tips_med.batch.rows import COLUMNS, answer_rows
from tips_med.batch.table import write_tables
from tips_med.discovery import Refusal
from tips_med.exporters.thumbnail import ThumbnailExporter

HOSTILE = '<script>alert("x")</script>'


def records(folder: BatchFolder) -> list[dict]:
    """Two studies of two answers each, with their pictures."""
    made = []
    for n, state in enumerate(("absent", "present")):
        key, answers = f"s{n:020d}", [make_grounding(state=state), make_grounding(make_scan("oblique"), state="unsure")]
        for number, answer in enumerate(answers, start=1):
            place = folder.place(key) / f"{number:02d}"
            place.mkdir(parents=True)
            ThumbnailExporter().export(answer, place)
        rows = answer_rows(key, answers, {"read": 1.0, "answer 1": 0.5, "answer 2": 0.25})
        made.append({"study": key, "folders": ["01", "02"], "answers": rows})
    return made


def test_rows_have_the_place_of_the_surest_component_and_its_slice():
    answer = make_grounding()
    near_a_fissure = replace(answer.instances[0], lobes=("left upper lobe", "left lower lobe"))
    answer = replace(answer, instances=(near_a_fissure, *answer.instances[1:]))
    (row,) = answer_rows("s", [answer], {"read": 1.0, "answer 1": 0.5})
    assert row["lobes"] == "left upper lobe;left lower lobe"
    assert list(row) == list(COLUMNS)
    assert (row["answer"], row["side"], row["third"]) == ("present", "left", "middle")
    assert (row["peak_x_mm"], row["peak_y_mm"], row["peak_z_mm"]) == answer.instances[0].peak_lps
    first, last = answer.instances[0].slices
    assert first <= row["peak_slice"] <= last
    assert (row["seconds"], row["study_seconds"]) == (0.5, 1.5)


def test_the_slice_is_that_of_the_scan_in_any_orientation():
    for direction in ("sagittal", "coronal", "oblique", "axial, head first"):
        answer = make_grounding(make_scan(direction))
        (row,) = answer_rows("s", [answer], {})
        first, last = answer.instances[0].slices
        assert first <= row["peak_slice"] <= last


def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path):
    rows = records(BatchFolder(tmp_path))
    rows[0]["answers"][0]["query"] = "=HYPERLINK(1)"
    write_tables(rows, tmp_path, "csv")
    written = read_rows(tmp_path / "answers.csv")
    assert written[0]["query"] == "'=HYPERLINK(1)"
    assert float(written[0]["peak_x_mm"]) == rows[0]["answers"][0]["peak_x_mm"]
    assert not (tmp_path / "answers.parquet").exists()


def test_the_page_shows_the_likeliest_first_with_pictures_and_runs_nothing_that_was_typed(tmp_path):
    folder = BatchFolder(tmp_path)
    made = records(folder)
    made[0]["answers"][1]["query"] = HOSTILE
    refused = [Refusal(tmp_path / "DOE", "missing-slice", f"2 slices {HOSTILE}", "", "copy it again")]
    text = write_page(made, refused, folder, answering(tmp_path).settings, 3).read_text()
    assert "Research use only, not a medical device" in text
    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text
    assert "DOE" not in text
    assert "http" not in text
    assert "The 3 of 4 answers" in text
    table = text.partition('id="answers"')[2].partition("</table>")[0]
    assert re.findall(r'<td class="(present|unsure|absent)">', table) == ["present", "unsure", "unsure"]
    assert table.count("data:image/jpeg;base64,") == 3
    assert all((tmp_path / link).parent.is_dir() for link in re.findall(r'href="(studies/[^"]+)"', table))
    assert "missing-slice" in text


def test_a_lost_picture_does_not_lose_the_page(tmp_path):
    folder = BatchFolder(tmp_path)
    made = records(folder)
    for picture in tmp_path.rglob("thumbnail.jpg"):
        picture.unlink()
    text = write_page(made, [], folder, answering(tmp_path).settings, 10).read_text()
    assert "data:image" not in text
    assert made[0]["study"] in text
