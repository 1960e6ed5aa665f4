"""What the parser makes of statements and of whole reports: a table of precision and recall by kind.

    python -m benchmarks.language [--wrong]

The texts and their meanings are in ``tests/language`` (its README explains the notation). One half of the table is of
texts that were written before the parser and are never used to tune it (``held out``).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tips_med.errors import QueryError
from tips_med.query import Lexicon, Query
from tips_med.reports import Report, read_report

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "language"
STATES = {"no": "absent", "maybe": "possible", "prior": "prior"}


@dataclass(frozen=True)
class Meaning:
    """What a text says, in the notation of the test sets.

    Attributes:
        subject: Id of the finding, or of the structure where there is none.
        state: ``present``, ``absent``, ``possible`` or ``prior``.
        side: Left, right, both, or empty.
        locations: Ids.
        size_mm: Zero where none is stated.
        structure: Id, compared only where the test set names it.
        attributes: Likewise.
        count: Likewise.
        cited: Likewise: series and image.
    """

    subject: str
    state: str = "present"
    side: str = ""
    locations: frozenset[str] = frozenset()
    size_mm: float = 0.0
    structure: str = ""
    attributes: frozenset[str] = frozenset()
    count: int = 0
    cited: tuple[int, int] = (0, 0)

    def agrees(self, said: Meaning) -> bool:
        """Whether what was understood is what is meant."""
        return (
            (self.subject, self.state, self.side, self.locations, self.size_mm)
            == (said.subject, said.state, said.side, said.locations - {self.structure}, said.size_mm)
            and self.structure in ("", said.structure, *said.locations)
            and self.attributes <= said.attributes
            and self.count in (0, said.count)
            and self.cited in ((0, 0), said.cited)
        )


def read_meaning(text: str) -> Meaning:
    """Reads one meaning: ``no nodule left at:upper_lobe in:lung is:small 8mm x2 ser:3 img:142``."""
    words = text.split()
    state = STATES.get(words[0], "present")
    words = words[words[0] in STATES :]
    subject, values = words[0], {}
    side, size, count = "", 0.0, 0
    for word in words[1:]:
        key, _, value = word.partition(":")
        if value:
            values[key] = value
        elif word in ("left", "right", "both"):
            side = word
        elif word.endswith("mm"):
            size = float(word[:-2])
        elif word.startswith("x"):
            count = int(word[1:])
        else:
            raise ValueError(f"{word!r} in {text!r} is of no known kind")
    structure = values.get("in", "")
    locations = frozenset(values["at"].split(",")) if "at" in values else frozenset()
    attributes = frozenset(values["is"].split(",")) if "is" in values else frozenset()
    cited = (int(values.get("ser", 0)), int(values.get("img", 0)))
    if subject == "-":
        subject = structure
    return Meaning(subject, state, side, locations, size, structure, attributes, count, cited)


def meaning_of(query: Query) -> Meaning:
    """What was understood, in the same terms."""
    subject = query.finding or query.structure
    cited = query.cited[0] if query.cited else None
    return Meaning(
        subject.id if subject else "",
        query.state,
        query.side or "",
        frozenset(term.id for term in query.locations),
        query.measurement_mm or 0.0,
        query.structure.id if query.structure else "",
        frozenset(term.id for term in query.attributes),
        query.count or 0,
        ((cited.series or 0), cited.images[0] if cited.images else 0) if cited else (0, 0),
    )


@dataclass
class Tally:
    """Counts of one kind."""

    texts: int = 0
    right: int = 0
    meant: int = 0
    said: int = 0
    agreed: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, text: str, meant: list[Meaning], said: list[Meaning], *, again: bool = False) -> None:
        """Compares what is meant with what was understood; ``again`` lets a text say the same thing twice."""
        left, missed = list(said), []
        for one in meant:
            found = next((other for other in left if one.agrees(other)), None)
            if found is None:
                missed.append(one)
            else:
                left.remove(found)
        if again:
            said = [one for one in said if one not in left or not any(other.agrees(one) for other in meant)]
            left = [one for one in left if not any(other.agrees(one) for other in meant)]
        self.texts += 1
        self.meant += len(meant)
        self.said += len(said)
        self.agreed += len(meant) - len(missed)
        self.right += not missed and not left
        if missed or left:
            lines = [f"  missed {_short(one)}" for one in missed] + [f"  extra  {_short(one)}" for one in left]
            self.wrong.append("\n".join([text, *lines]))


def _short(meaning: Meaning) -> str:
    parts = [meaning.state, meaning.subject, meaning.side, ",".join(sorted(meaning.locations)), meaning.structure]
    return " ".join(part for part in (*parts, f"{meaning.size_mm:g}", str(meaning.cited)) if part)


def read_statements(path: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, text and meaning of each statement of a file."""
    kind = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[] ")
        elif "=>" in line and not line.startswith("#"):
            text, _, meaning = line.rpartition("=>")
            yield kind, text.strip(), meaning.strip()


def read_reports(path: Path) -> Iterator[tuple[str, str, list[Meaning]]]:
    """Name, text and meanings of each report of a file."""
    for block in path.read_text(encoding="utf-8").split("\n=== ")[1:]:
        name, _, rest = block.partition("\n")
        text, _, meanings = rest.partition("\n---\n")
        yield name, text, [read_meaning(line) for line in meanings.splitlines() if line and not line.startswith("#")]


def understood(lexicon: Lexicon, text: str) -> list[Meaning]:
    """What the parser makes of a statement; nothing where it refuses it as saying nothing."""
    try:
        return [meaning_of(query) for query in lexicon.parse_each(text)]
    except QueryError as error:
        if error.code in ("unknown-words", "nothing-to-find"):
            return []
        return [Meaning(f"refused:{error.code}")]


def language_of(lexicon: Lexicon, text: str) -> str:
    """The code of the language that a text is refused for; empty where it is not."""
    try:
        lexicon.parse_each(text)
    except QueryError as error:
        return getattr(error, "language", "") or error.code
    return ""


def tally_statements(lexicon: Lexicon, path: Path) -> dict[str, Tally]:
    """By kind."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for kind, text, meaning in read_statements(path):
        if meaning.startswith("lang:"):
            said = [Meaning(f"lang:{language_of(lexicon, text)}")]
            tallies[kind].add(text, [Meaning(meaning)], said)
        else:
            meant = [] if meaning == "none" else [read_meaning(part) for part in meaning.split(";")]
            tallies[kind].add(text, meant, understood(lexicon, text))
    return tallies


def tally_reports(lexicon: Lexicon, path: Path) -> dict[str, Tally]:
    """By style; a statement that a report makes twice counts once."""
    tallies: dict[str, Tally] = {}
    for name, text, meant in read_reports(path):
        report: Report = read_report(text, lexicon)
        said = list(dict.fromkeys(meaning_of(one.query) for one in report.statements))
        said = _without_twins(said)
        tallies.setdefault(name, Tally()).add(text, list(dict.fromkeys(meant)), said, again=True)
    return tallies


def _without_twins(said: list[Meaning]) -> list[Meaning]:
    """Without those that only differ in what the test sets do not compare."""
    kept: dict[tuple[object, ...], Meaning] = {}
    for one in said:
        key = (one.subject, one.state, one.side, one.locations, one.size_mm, one.structure)
        if key not in kept or kept[key].cited == (0, 0):
            kept[key] = one
    return list(kept.values())


def table(title: str, tallies: dict[str, Tally], *, rows: bool = True) -> list[str]:
    """A table in Markdown."""
    lines = ["", f"{title}", "", "| kind | texts | all right | precision | recall |", "|---|---|---|---|---|"]
    whole = Tally()
    for kind, one in tallies.items():
        for name in ("texts", "right", "meant", "said", "agreed"):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
        if rows:
            lines.append(_row(kind, one))
    return [*lines, _row("**all**", whole)]


def _row(kind: str, one: Tally) -> str:
    precision = one.agreed / one.said if one.said else 1.0
    recall = one.agreed / one.meant if one.meant else 1.0
    return f"| {kind} | {one.texts} | {one.right / one.texts:.1%} | {precision:.1%} | {recall:.1%} |"


def speed(lexicon: Lexicon) -> str:
    """Sentences a second, of all sentences of all reports of the test sets."""
    texts = [text for path in sorted(FOLDER.glob("reports*.txt")) for _, text, _ in read_reports(path)]
    begin, sentences = time.perf_counter(), 0
    while time.perf_counter() - begin < 3.0:
        sentences += sum(read_report(text, lexicon).sentences for text in texts)
    return f"{sentences / (time.perf_counter() - begin):,.0f} sentences a second on one core"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="also what went wrong in the texts that were tuned on")
    arguments = parser.parse_args()
    lexicon = Lexicon.load("chest_ct")
    for name, title in (("statements", "Statements, tuned on"), ("statements_held_out", "Statements, held out")):
        tallies = tally_statements(lexicon, FOLDER / f"{name}.txt")
        print("\n".join(table(title, tallies)))
        if arguments.wrong and not name.endswith("held_out"):
            print("\n".join(text for one in tallies.values() for text in one.wrong))
    for name, title in (("reports", "Reports, tuned on"), ("reports_held_out", "Reports, held out")):
        tallies = tally_reports(lexicon, FOLDER / f"{name}.txt")
        print("\n".join(table(title, tallies, rows=False)))
        if arguments.wrong and not name.endswith("held_out"):
            print("\n".join(text for one in tallies.values() for text in one.wrong))
    print("\n" + speed(lexicon))


if __name__ == "__main__":
    main()
