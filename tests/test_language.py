"""Names and phrases are those of the field, so that a reader does not have to learn private ones."""

import ast
import re
from pathlib import Path

from fresh import ROOT, repository_texts

# Private words that the code once used for the terms of the field.
PRIVATE = """
    way ahead foot feet shadow landed climb bend fell back whole numbers real flag instance room rooms stretch moved
    walk played stage told tales says words notch notches traced gone looks dear patience silence theatre heard
"""
# Inside a longer name these are ordinary English: `rolled_back`, `random_walk`, `line_numbers`.
ORDINARY_IN_A_NAME = {"back", "flag", "instance", "looks", "numbers", "real", "says", "shadow", "stage", "walk", "way"}
ORDINARY_IN_A_NAME |= {"whole", "words"}
PHRASES = ("to the bit", "as far as it has come", "makes of it", "put it equal to", "thus far", "of its own accord")


def defined_names(source):
    """Names that Python source defines: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def private_names(names):
    """Names that are private words, or contain one."""
    for name in sorted(set(names)):
        words = re.findall("[a-z]+", (name if name.isupper() else re.sub("([A-Z]+)", r"_\1", name)).lower())
        for word in words:
            if word in PRIVATE.split() and (len(words) == 1 or word not in ORDINARY_IN_A_NAME):
                yield name


def test_names_in_the_package_and_the_notebooks_are_terms_of_the_field():
    found = {}
    for name, source in repository_texts("samviz/*.py", "notebooks/[0-9]*.py"):
        path = Path(name)
        source = re.sub(r"^ *[%!].*$", "", source, flags=re.M)  # commands of IPython
        if wrong := list(private_names([path.stem, path.parent.name, *defined_names(source)])):
            found[name] = wrong
    assert found == {}


def test_prose_has_no_phrases_without_an_ordinary_meaning():
    found = {}
    for name, text in repository_texts(
        "samviz/*.py", "samviz/course/*.json", "notebooks/*.py", "notebooks/pages/*.md", "*.md", "tests/*.py"
    ):
        wrong = [phrase for phrase in PHRASES if phrase in " ".join(text.split())]
        if wrong and ROOT / name != Path(__file__):
            found[name] = wrong
    assert found == {}
