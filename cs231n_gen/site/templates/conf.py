"""How Sphinx lays out the site. Nothing is fetched, neither now nor when a page is read."""

project = "Modern generative models"
html_title = "Modern generative models"
author = copyright = "the course's authors"
extensions = ["myst_nb"]
exclude_patterns = ["_static", "_templates"]

nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0)]  # a living figure, not its still picture
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True  # $$ also follows a line of text, as in JupyterLab
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

mathjax_path = "mathjax/tex-chtml.js"
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses to do for files
html_show_sourcelink = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "toc_title": "On this page",
}
