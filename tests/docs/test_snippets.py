"""What the documentation shows is run: Python, command lines, and the options that are named anywhere in it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.snippets import PAGES, Snippet, commands, page_commands, snippets
from tests.training.small import write_studies
from tips_med import cli

ALL = [snippet for page in PAGES for snippet in snippets(page)]
LEAST_RUN = {"python": 15, "sh": 4}
"""Fewer snippets that are run than this are a sign that they are no longer found."""


def test_enough_of_the_snippets_are_run(record_property, capsys):
    for language, least in LEAST_RUN.items():
        ran = [one for one in ALL if one.language == language and not one.not_run]
        left_out = [one for one in ALL if one.language == language and one.not_run]
        record_property(f"{language} snippets run", len(ran))
        lines = [f"{language}: {len(ran)} snippets run, {len(left_out)} not"]
        lines += [f"  not run: {one.page}:{one.line}, {one.not_run}" for one in left_out]
        with capsys.disabled():
            sys.stdout.write("\n" + "\n".join(lines))
        assert len(ran) >= least


@pytest.mark.parametrize("page", sorted({one.page for one in ALL if one.language == "python" and not one.not_run}))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:NvImgCodec:UserWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*srun")
def test_the_python_of_a_page_runs(page, workplace, request):
    """All blocks of a page in one namespace, in order; a page that asks for a scan of the reader's gets one."""
    names: dict[str, object] = {}
    if page == "docs/tips.md":
        shutil.copytree(request.getfixturevalue("tiny_tips"), workplace / "tipsv2-b14")
        names["scan"] = request.getfixturevalue("small_scan")
    if page == "docs/fine-tuning.md":
        write_studies(workplace)
    for one in ALL:
        if one.page == page and one.language == "python" and not one.not_run:
            text = one.text.replace("steps=300", "steps=2").replace("(8, 128, 160)", "(4, 32, 48)")
            code = compile("\n" * (one.line - 1) + text, page, "exec")
            exec(code, names)


@pytest.mark.parametrize("page", sorted({one.page for one in ALL if one.language == "sh" and not one.not_run}))
def test_the_commands_of_a_page_run(page, workplace, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for one in ALL:
        if one.page == page and one.language == "sh" and not one.not_run:
            called = commands(one.text)
            assert called, f"{page}:{one.line} calls no tips-med"
            for command in called:
                assert cli.main(command[1:]) == 0, capsys.readouterr().err
                capsys.readouterr()


@pytest.mark.parametrize("page", [page for page in PAGES if page_commands(page)], ids=lambda page: page.name)
def test_every_command_line_names_what_there_is(page):
    for words in page_commands(page):
        name = words[1]
        assert name in cli._COMMANDS, words
        known = options(name)
        for word in words[2:]:
            if word.startswith("--"):
                assert word.partition("=")[0].replace("-", "_") in known, f"{word} of {' '.join(words)}"


def options(command: str) -> set[str]:
    parser = cli.build_parser(command)
    choices = next(action.choices for action in parser._actions if isinstance(action.choices, dict))
    return {text.replace("-", "_") for action in choices[command]._actions for text in action.option_strings}


@pytest.fixture
def tiny_tips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TIPS towers in the published layout, at toy size."""
    pytest.importorskip("transformers", reason="needs tips-med[tips]")
    from tests.encoders.tips import checkpoints as made
    from tips_med.encoders.tips import convert_npz

    folder = tmp_path_factory.mktemp("tips")
    vision, text = made.fill_at_random(made.vision_shapes(layers=4), 1), made.text_shapes(made.VOCABULARY, layers=4)
    npz = (
        made.write_npz(folder / "vision.npz", vision),
        made.write_npz(folder / "text.npz", made.fill_at_random(text, 2), temperature=np.float32(0.00478)),
    )
    return convert_npz(*npz, made.make_tokenizer(folder), folder / "tipsv2-b14", heads=made.HEADS)


@pytest.fixture
def small_scan() -> object:
    from tests.phantom import body

    return body()


def test_a_snippet_that_is_not_run_says_why(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("a\n\n<!-- not run: for a reason -->\n```python\nx\n```\n\n```sh\ntips-med inspect a\n```\n")
    monkeypatch.setattr("tests.docs.snippets.ROOT", tmp_path)
    assert snippets(page) == [
        Snippet("page.md", 5, "python", "x\n", "for a reason"),
        Snippet("page.md", 9, "sh", "tips-med inspect a\n", ""),
    ]


def test_pages_link_to_files_that_are_there():
    import re

    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert os.path.exists(page.parent / target), f"{page.name}: {target}"
