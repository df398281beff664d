"""Sphinx settings. Build the pages with

    pip install ".[docs]"
    sphinx-build -W --keep-going -n -b html docs build/docs

The API pages are made from the docstrings of the softdp that Python imports.
"""

from __future__ import annotations

import re

import softdp

project = "softdp"
author = "the softdp authors"
copyright = "the softdp authors"
version = release = softdp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "pydata_sphinx_theme"
html_title = f"softdp {release}"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"**": ["sidebar-nav-bs"]}

myst_heading_anchors = 3
smartquotes = False
default_role = "code"  # `name` in a docstring
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"((torch|matplotlib|collections)\..*|Tensor|Module)")
]  # their pages are elsewhere


def readable(app, what, name, obj, options, lines):
    """Docstrings are written for help(): indented formulas become literal blocks, and bars stay bars."""
    found = []
    literal = False
    for k, line in enumerate(lines):
        indented = line.startswith("    ")
        starts = indented and not literal and k > 0 and not lines[k - 1].strip()
        before = next((text for text in reversed(lines[:k]) if text.strip()), "")
        section = re.match(r"^[A-Z][A-Za-z ]*:$", before)
        if starts and not before.startswith(" ") and not section:
            found += ["::", ""]
            literal = True
        elif line.strip() and not indented:
            literal = False
        found.append(line if literal or ">>>" in line else line.replace("|", "\\|"))
    lines[:] = found


def outside(app, docname, source):
    """Links to the repository's other pages, which are none of this documentation's, open the files."""
    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)(#[^)]*)?\)", r"](path:\1)", source[0])


def setup(app):
    app.connect("source-read", outside)
    app.connect("autodoc-process-docstring", readable, priority=100)  # before napoleon
