"""The manual: `make docs` builds it into build/docs/html."""

import os
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ["HOLDFAST_PURE_PYTHON"] = "1"  # autodoc reads signatures, which the compiled twin does not have

project = "holdfast"
author = "The holdfast authors"
version = release = import_module("holdfast").__version__
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "docstrings",
    "named_here",
    "outside",
    "pictures",
    "widths",
]
exclude_patterns = ["_build", "README.md"]
nitpicky = True
# Types of other packages, and type variables: there is no inventory of them to link to when the network is away.
nitpick_ignore_regex = [
    ("py:.*", r"(_?asyncio|asyncpg|collections|contextlib|datetime|redis|sqlite3|threading|types|typing)\..*"),
    ("py:.*", r"(opentelemetry|prometheus_client)\..*"),
    ("py:.*", r"holdfast\.[a-z_.]+\.[A-Z]\w*"),  # modules of the package, which nobody imports from
    ("py:.*", r"[A-Z](\.\w+)?|Connection|Pool|Redis"),
]

# Markdown
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "substitution"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]  # so a picture is one on GitHub, too
myst_substitutions = {"release": release}
suppress_warnings = ["myst.strikethrough"]

# The reference
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 90
add_module_names = False
default_role = "code"

# HTML
html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"holdfast {release}"
html_static_path = ["_static"]
html_css_files = ["holdfast.css"]
html_copy_source = False
smartquotes = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a6", "color-brand-content": "#5fd3a6"},
}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_exclude = ".linenos, .gp, .go"

# External links are looked at by `nox --session docs -- -b linkcheck`, where there is a network.
linkcheck_timeout = 10
linkcheck_anchors = False


def setup(app):
    """Languages of the pages that Pygments does not know by these names."""
    from pygments.lexers import BashLexer, IniLexer

    app.add_lexer("cron", BashLexer)
    app.add_lexer("systemd", IniLexer)
