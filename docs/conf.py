"""Sphinx configuration. The build needs no network; its warnings are errors (`make docs`)."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.insert(0, str(HERE.parent / "src"))

import segcrit  # noqa: E402

project = "segcrit"
author = "the segcrit contributors"
copyright = "the segcrit contributors"
version = release = segcrit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "plain_docstrings",
    "loss_pages",
    "command_help",
    "benchmark_tables",
    "policy_table",
    "stripped_tables",
    "public_names",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Shapes", "Formula"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 100

nitpicky = False
html_theme = "furo"
html_title = f"segcrit {release}"
html_static_path = ["_static"]
html_css_files = ["segcrit.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
