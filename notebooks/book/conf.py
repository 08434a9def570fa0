"""Sphinx's settings for the book, which is made from notebooks with their stored outputs."""

project = "samviz"
html_title = "How SAM minimizes sharpness"
language = "en"
extensions = ["myst_nb", "sphinx-mathjax-offline", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autoclass_content = "both"  # the arguments of a class are described in __init__
autodoc_member_order = "bysource"
default_role = "code"  # `name` in a docstring
napoleon_custom_sections = ["Source"]
napoleon_use_ivar = True  # attributes are listed once
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "myst_parser.slugs.github_slugify"
# The glossary goes from its title to ###, which Sphinx sets as second level; the tests look at the headings that come out.
# A word before a colon in "Returns:" counts as a type; several classes have an attribute of that name.
suppress_warnings = ["myst.header", "ref.python"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["help.css", "predict.css", "book.css"]
html_js_files = [("book.js", {"defer": "defer"})]
html_copy_source = html_show_sourcelink = html_use_index = html_show_copyright = False
html_show_search_summary = False  # it would fetch the pages, which a page from the disk may not
# SVG brings its glyphs along: browsers do not load fonts from a folder on the disk. The menu would load more of MathJax.
mathjax3_config = {"options": {"enableMenu": False}}


def setup(app):
    from api import as_rst

    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon adds markup
    app.config.mathjax_path = "mathjax/tex-svg.js"
