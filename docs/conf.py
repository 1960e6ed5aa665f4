"""Settings of the documentation: `make docs` builds it into out/site.

Nothing is fetched, neither when it is built nor when a page is opened: the theme brings its own files, the fonts are
the reader's, and formulas are MathML, which browsers draw themselves.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

import tips_med  # noqa: E402

project = "tips_med"
author = copyright = "The tips_med developers"
release = version = tips_med.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "formulas", "lexicon"]
exclude_patterns = ["_extensions", "deployment", "measurements"]

html_theme = "furo"
html_title = "tips_med"
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a page may go from its title to a detail

highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_type_aliases = {"Reason": "Reason", "Role": "Role"}
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
