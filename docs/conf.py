"""Configuration of Sphinx: Furo for the looks, MyST for Markdown, nothing fetched from the network."""

from __future__ import annotations

from manyhands import __version__

project = "manyhands"
author = "the manyhands authors"
copyright = "2026, the manyhands authors"  # noqa: A001 - the name that Sphinx reads
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"manyhands {version}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# Types are shown as they are written in the source, and in the signature only.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_rtype = False

nitpicky = True
# The build is offline: what other projects document cannot be linked. Our own names still must resolve.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!manyhands\b).*"),
    (r"py:.*", r"manyhands\..*\.[A-Z]_?"),  # type variables
    (
        r"py:.*",
        r"manyhands\..*\.(Producer|Dedicated)",
    ),  # what streams and running tasks are made of, not by users
]
