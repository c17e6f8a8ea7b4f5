"""The documentation site: `sphinx-build -W docs OUT`, without network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project, author, copyright = "aisles", "the developers of aisles", "the developers of aisles"
version = release = installed_version("aisles")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "tables_from_code",
    "formulas",
]
exclude_patterns = ["extensions"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

default_role = "code"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": False}
add_module_names = False
python_maximum_signature_line_length = 88

linkcheck_timeout, linkcheck_retries = 30, 2
linkcheck_ignore = [r"http://127\.0\.0\.1"]

html_theme = "furo"
html_title = f"aisles {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}
pygments_style, pygments_dark_style = "friendly", "github-dark"
