"""Bodies of several parts come apart rightly however they are cut into pieces, and damaged ones are refused."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tips_med.errors import OutputError
from tips_med.serving.archive import ArchiveError
from tips_med.serving.bounds import Bounds
from tips_med.serving.multipart import media_type, parts

BOUNDARY = "xyz"
ROOM = Bounds(min_free_bytes=0)
# Bytes of which boundaries are made, so that near misses are frequent.
_tricky = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"xyz", b"\r\n--xy", b" ", b"\0", b"a"])).map(
    b"".join
)
_content = _tricky.filter(lambda content: b"\r\n--xyz" not in b"\r\n" + content)


def body(contents: list[bytes], preamble: bytes = b"", padding: bytes = b"", epilogue: bytes = b"") -> bytes:
    made = preamble + (b"\r\n" if preamble else b"")
    for content in contents:
        made += b"--xyz" + padding + b"\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n"
    return made + b"--xyz--" + epilogue


def cut(content: bytes, lengths: list[int]) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield content[at : at + length]
        at += length
    yield content[at:]


def read(content: bytes, lengths: list[int] | None = None, bounds: Bounds = ROOM) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        chunks = cut(content, lengths or [])
        return [path.read_bytes() for path in parts(chunks, BOUNDARY, Path(folder), bounds)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_content, max_size=3),
    _tricky.filter(lambda text: b"--xyz" not in text),
    st.sampled_from([b"", b" ", b"\t  "]),
    st.sampled_from([b"", b"\r\n", b"\r\nto be ignored\r\n--xyz\r\n\r\nnot a part"]),
    st.lists(st.integers(0, 9), max_size=60),
)
def test_parts_come_out_as_they_went_in(
    contents: list[bytes], preamble: bytes, padding: bytes, epilogue: bytes, lengths: list[int]
) -> None:
    assert read(body(contents, preamble, padding, epilogue), lengths) == contents


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_body_is_refused_or_read_and_never_hangs(data: st.DataObject) -> None:
    whole = bytearray(body([b"one" * 5, b"", b"two"], b"before"))
    kind = data.draw(st.sampled_from(["cut", "change", "drop", "random"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        whole = whole[:at]
    elif kind == "change":
        whole[at] = data.draw(st.integers(0, 255))
    elif kind == "drop":
        del whole[at : at + data.draw(st.integers(1, 20))]
    else:
        whole = bytearray(data.draw(st.binary(max_size=200)))
    try:
        read(bytes(whole), data.draw(st.lists(st.integers(0, 30), max_size=20)))
    except ArchiveError as error:
        assert error.code == "incomplete" and error.remedy


def test_a_body_that_ends_within_a_part_is_not_taken_for_whole() -> None:
    whole = body([b"first", b"second"])
    for length in range(len(whole) - 2):
        with pytest.raises(ArchiveError, match="ends before its last boundary"):
            read(whole[:length])


def test_bounds_hold_while_a_part_comes(tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield b"--xyz\r\n\r\n"
        while True:
            yield bytes(1000)

    with pytest.raises(OutputError) as refused:
        list(parts(endless(), BOUNDARY, tmp_path, Bounds(10_000, 0)))
    assert refused.value.code == "too-large"
    assert list(tmp_path.iterdir()) == []

    def headers() -> Iterator[bytes]:
        yield b"--xyz\r\n"
        while True:
            yield b"A: b\r\n" * 100

    with pytest.raises(ArchiveError, match="endless headers"):
        list(parts(headers(), BOUNDARY, tmp_path, ROOM))


def test_media_types() -> None:
    assert media_type('Multipart/Related; type="application/dicom"; boundary="a b"') == ("multipart/related", "a b")
    assert media_type("multipart/related; boundary=xyz") == ("multipart/related", "xyz")
    assert media_type("text/html; charset=utf-8") == ("text/html", None)
    assert media_type("") == ("", None)
