"""An exporter: one line of CSV for each component that was found."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import tips_med
from tips_med.exporters.base import Exporter
from tips_med.exporters.folder import write_answers
from tips_med.grounding import Grounding
from tips_med.grounding.ground import default_model
from tips_med.sample import sample_path


class CsvExporter(Exporter):
    """Writes ``instances.csv``, with a header and no line where nothing was found.

    Args:
        delimiter: Between two values.
    """

    COLUMNS = ("query", "state", "probability", "side", "region", "volume_ml", "long_axis_mm", "first", "last")

    def __init__(self, delimiter: str = ",") -> None:
        self.delimiter = delimiter

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the table of one answer."""
        path = folder / "instances.csv"
        decision = grounding.presence
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.delimiter)
            writer.writerow(self.COLUMNS)
            for one in grounding.instances:
                asked = (grounding.query.text, decision.state, decision.probability)
                size = (round(one.volume_ml, 3), round(one.long_axis_mm, 1))
                writer.writerow((*asked, one.side, one.region, *size, *one.slices))
        return (path,)


def main() -> None:
    """Queries the bundled scan, and shows the table."""
    study = tips_med.encode(tips_med.read_scan(sample_path()))
    answer = tips_med.ground(study, "mass in the left lung")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answers"
        write_answers([answer], out, {"name": default_model().card.name}, exporters=[CsvExporter()])
        for path in sorted(out.rglob("*.csv")):
            print(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
