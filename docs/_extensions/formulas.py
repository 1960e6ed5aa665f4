"""Formulas as MathML, by docutils: no script, no font, nothing to load."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def mathml(formula: str, as_block: bool) -> str:
    """One formula; braces and bars stay as high as a letter, and bars take no room around them."""
    made = tex2mathml(formula, as_block=as_block)
    made = re.sub(r"<mo>([{}])</mo>", r'<mo stretchy="false">\1</mo>', made)
    return re.sub(r'<mo stretchy="false">\|</mo>', '<mo stretchy="false" lspace="0" rspace="0">|</mo>', made)


def inline(writer: Any, node: nodes.math) -> None:
    """Writes a formula within a line."""
    writer.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def display(writer: Any, node: nodes.math_block) -> None:
    """Writes a formula on a line of its own."""
    writer.body.append(f'<div class="formula">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Tells Sphinx of it."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
