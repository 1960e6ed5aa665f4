"""What a text is understood to mean."""

import pytest

from tests.query.reading import LEXICON, ids, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ground-glass opacity left lung", ("ground_glass_opacity", "lung", "left")),
        ("left lung ground glass opacities", ("ground_glass_opacity", "lung", "left")),
        ("GGO in the left lung", ("ground_glass_opacity", "lung", "left")),
        ("Mass in the LEFT lung.", ("mass", "lung", "left")),
        ("pulmonary nodule", ("nodule", "lung", None)),
        ("where is the left lung?", (None, "lung", "left")),
        ("lungs", (None, "lung", None)),
        ("both lungs", (None, "lung", "both")),
        ("bilateral pleural effusions", ("pleural_effusion", None, "both")),
        ("left and right lung nodules", ("nodule", "lung", "both")),
        ("left lung and right lung nodules", ("nodule", "lung", "both")),
        ("left/right pleural effusion", ("pleural_effusion", None, "both")),
        ("apical pneumothorax on the left", ("pneumothorax", None, "left")),
        ("effusion in the pleural space of the right base", ("pleural_effusion", "pleura", "right")),
        ("pleural effusion right lung", ("pleural_effusion", "lung", "right")),
        ("pericardial effusion", ("pericardial_effusion", None, None)),
        ("hepatic cyst", ("cyst", "liver", None)),
        ("right renal lesion", ("lesion", "kidney", "right")),
        ("R kidney lesion", ("lesion", "kidney", "right")),
        ("haemothorax", ("hemothorax", None, None)),
        ("pulmonary oedema", ("pulmonary_edema", None, None)),
        ("lung tumours", ("mass", "lung", None)),
        ("left main bronchus of the lung", (None, "bronchus", "left")),
        ("nodule in the left lung of the chest", ("nodule", "lung", "left")),
    ],
)
def test_finding_structure_and_side(text: str, expected: tuple[str | None, ...]) -> None:
    query = parse(text)

    assert ids(query) == expected
    assert query.unknown_words == ()


@pytest.mark.parametrize(
    ("text", "side", "locations"),
    [
        ("nodule LLL", "left", ["lower_lobe"]),
        ("rul nodule", "right", ["upper_lobe"]),
        ("RML nodule", "right", ["middle_lobe"]),
        ("nodule in the lingula", "left", ["lingula"]),
        ("middle lobe nodule", "right", ["middle_lobe"]),
        ("upper left lobe nodule", "left", ["upper_lobe"]),
        ("nodules in the upper and lower lobes", None, ["upper_lobe", "lower_lobe"]),
        ("RUL and RML nodules", "right", ["upper_lobe", "middle_lobe"]),
        ("left and right upper lobe nodules", "both", ["upper_lobe"]),
        ("nodule in the left upper lobe and right upper lobe", "both", ["upper_lobe"]),
        ("nodule at the apex of the left lung", "left", ["apex"]),
        ("bibasilar nodules", "both", ["base"]),
        ("nodule in the lower third of the right lung", "right", ["lower_third"]),
        ("right upper lung nodule", "right", ["upper_third"]),
        ("right upper lung zone nodule", "right", ["upper_zone"]),
    ],
)
def test_locations_of_the_lung(text: str, side: str | None, locations: list[str]) -> None:
    query = parse(text)

    assert ids(query) == ("nodule", "lung", side)
    assert [term.id for term in query.locations] == locations
    assert query.unknown_words == ()


@pytest.mark.parametrize(
    ("text", "finding", "attributes"),
    [
        ("ground-glass", "ground_glass_opacity", []),
        ("patchy ground glass", "ground_glass_opacity", ["patchy"]),
        ("ground-glass nodule", "nodule", ["ground_glass"]),
        ("GGN", "nodule", ["ground_glass"]),
        ("non-solid nodule", "nodule", ["ground_glass"]),
        ("part-solid nodule", "nodule", ["part_solid"]),
        ("large spiculated mass", "mass", ["large", "spiculated"]),
        ("mass with spiculated margins", "mass", ["spiculated"]),
        ("non-calcified nodule", "nodule", ["noncalcified"]),
        ("cavitary nodule", "nodule", ["cavitary"]),
        ("multiple small nodules", "nodule", ["multiple", "small"]),
    ],
)
def test_what_a_finding_is_like(text: str, finding: str, attributes: list[str]) -> None:
    query = parse(text)

    assert query.finding is not None
    assert query.finding.id == finding
    assert [term.id for term in query.attributes] == attributes


@pytest.mark.parametrize(
    ("text", "size_mm"),
    [
        ("32 mm mass", 32.0),
        ("32mm mass", 32.0),
        ("a 32-mm mass", 32.0),
        ("mass measuring 3.2 cm", 32.0),
        ("mass 3,2 cm", 32.0),
        ("mass of 21 x 32 mm", 32.0),
        ("mass 2.1 cm \u00d7 3.24 cm", 32.4),
        ("mass, 3 cm by 21 mm", 30.0),
        ("5\u20138 mm mass", 8.0),
        ("mass of 32 millimetres", 32.0),
        ("32 mm mass (3.2 cm)", 32.0),
        ("mass", None),
    ],
)
def test_sizes(text: str, size_mm: float | None) -> None:
    query = parse(text)

    assert query.measurement_mm == size_mm
    assert query.unknown_words == ()
    assert not any(character.isdigit() for character in query.phrase)


def test_spans_account_for_every_word_and_words_point_to_their_span() -> None:
    query = parse("There is no definite Ground\u2013Glass opacity in the LLL, foobar (12 mm)")

    assert [(span.text, span.role, span.term_id) for span in query.spans] == [
        ("There is no", "negation", None),
        ("definite", "function", None),
        ("Ground\u2013Glass opacity", "finding", "ground_glass_opacity"),
        ("in", "function", None),
        ("the", "function", None),
        ("LLL", "location", "lower_lobe"),
        ("foobar", "unknown", None),
        ("12 mm", "measurement", None),
    ]
    assert query.understood == ("There is no", "Ground\u2013Glass opacity", "LLL", "12 mm")
    assert query.phrase == "ground glass opacity in the left lower lobe"
    assert [query.spans[word.span].text for word in query.words] == [
        *["Ground\u2013Glass opacity"] * 3,
        "in",
        "the",
        *["LLL"] * 3,
    ]


def test_a_level_apart_from_its_lobe_shares_one_span() -> None:
    query = parse("upper left lobe nodule")

    assert [span.text for span in query.spans] == ["upper left lobe", "nodule"]
    assert query.phrase == "left upper lobe nodule"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ground-glass opacity", "Ground\u2011Glass  OPACITY!"),
        ("ground-glass opacity", "\u201cground glass opacity\u201d"),
        ("left lower lobe nodule", "LLL nodule"),
        ("pulmonary edema", "pulmonary oedema"),
        ("consolidation", "con\u00adsolidation"),
        ("reflection of fluid in left lung", "re\ufb02ection of \ufb02uid in left lung"),
        ("no effusion", "effusion none"),
        ("nodule", "query nodule"),
    ],
)
def test_ways_of_writing_that_make_no_difference_to_the_phrase(one: str, other: str) -> None:
    assert parse(one).phrase == parse(other).phrase


@pytest.mark.parametrize(
    ("text", "size_mm"), [("½ cm nodule", 5.0), ("1½ cm nodule", 15.0), ("nodule of ¾ cm", 7.5), ("¼cm nodule", 2.5)]
)
def test_a_half_is_a_half(text: str, size_mm: float) -> None:
    assert LEXICON.parse(text).measurement_mm == pytest.approx(size_mm)


def test_a_fraction_with_a_slash_is_said_to_be_not_understood() -> None:
    query = LEXICON.parse("1/2 cm nodule")
    assert query.measurement_mm is None
    assert query.unknown_words


@pytest.mark.parametrize(
    "text",
    [
        "nodule on the left side of the image", "mass image right", "nodule right at the apex",
        "nodule right next to the heart", "lesion in the L-spine", "fracture of the T spine",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_side_is_none(text: str) -> None:
    assert LEXICON.parse(text).side is None


@pytest.mark.parametrize(
    "text", ["nodule 5 mm from the pleura", "mass 2 cm above the diaphragm", "nodule 3 mm deep to the pleura"]
)
def test_a_distance_is_neither_a_size_nor_a_place(text: str) -> None:
    query = LEXICON.parse(text)
    assert query.measurement_mm is None
    assert query.structure is None
    assert query.unchecked


def test_a_size_stays_one_beside_a_place() -> None:
    query = LEXICON.parse("5 mm nodule in the left lung")
    assert (query.measurement_mm, query.side) == (5.0, "left")
