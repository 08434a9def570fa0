"""On the pages links and names exist, code prints what is shown, citations are correct, and the glossary is sorted."""

import ast
import inspect
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from pkgutil import resolve_name

import pytest
from fresh import ROOT

from samviz.claims import CLAIMS

FOLDER = ROOT / "notebooks" / "pages"
PAGES = sorted(FOLDER.glob("*.md"))
REFERENCE = ("glossary", "numerics", "symbols")  # whose every word in code type is one of samviz
SUBPACKAGES = ("problems", "geometry", "dynamics", "claims", "figures", "optim", "probe")
FRAMEWORKS = ("lightning", "transformers")  # that samviz does not need; their blocks run where they are installed
of_each = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)

# The numbered statements of the paper that samviz cites.
PAPER = {
    "Assumption": {"3.3", "4.4"},
    "Corollary": {"4.6", "4.7", "5.6", "5.7"},
    "Definition": {"4.1", "4.3"},
    "Eq": {"1", "2", "3", "4", "7", "17", "18"},
    "Example": {"5.8"},
    "Figure": {"1"},
    "Lemma": {"3.2", "3.5", "5.5"},
    "Section": {"3", "4", "5"},
    "Setting": {"5.1"},
    "Table": {"1"},
    "Theorem": {"4.2", "4.5", "4.8", "5.3", "5.4"},
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CITED = re.compile(rf"\b({'|'.join(PAPER)}|Corollaries)s?\.? ((?:[\d.]*\d(?:, | and |–)?)+)")


def read(name):
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def prose(text):
    return FENCE.sub("", text)


@cache
def anchors(path):
    """Return the headings of a file as links name them after #, by the rules of GitHub for Markdown and of Jupyter."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown")
        return {title.replace(" ", "-") for title in re.findall(r"^#+ (.+)$", lines, re.M)}
    titles = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def link_faults(text, page):
    """Yield the links of a page to a missing file, or to a source file that does not define the name of the link."""
    for label, target in LINK.findall(prose(text)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.is_file() or not path.is_relative_to(ROOT):
            yield f"{target} is not there"
        elif anchor and anchor not in anchors(path):
            yield f"{target}: no such heading"
        elif path.suffix == ".py":
            module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            yield from (f"{path.name}: {fault}" for code in CODE.findall(label) for fault in unresolved(code, module))


def unresolved(code, module):
    """Return why a module does not define an expression such as f(a=1) or A.b; [] if it does."""
    node = ast.parse(code.replace("…", ""), mode="eval").body
    keywords = [keyword.arg for keyword in node.keywords] if isinstance(node, ast.Call) else []
    first, *rest = ast.unparse(node.func if isinstance(node, ast.Call) else node).split(".")
    if not hasattr(module, first):
        return [f"no {first}"]
    found = getattr(module, first)
    if getattr(found, "__module__", module.__name__) != module.__name__:
        return [f"{first} is defined in {found.__module__}"]
    if not set(rest) <= attributes(found):
        return [f"{first} has no {'.'.join(rest)}"]
    return [f"{first} takes no {k}" for k in keywords if k not in inspect.signature(found).parameters]


def attributes(found):
    """Return the attributes of a class, also those without a value; none for other objects."""
    if not inspect.isclass(found):
        return set()
    return {*dir(found)} | {name for each in found.__mro__ for name in vars(each).get("__annotations__", {})}


@cache
def public():
    """Return all public objects of the subpackages by name."""
    modules = [import_module(f"samviz.{name}") for name in SUBPACKAGES]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


@cache
def vocabulary():
    """Return all names of public objects, their attributes and arguments, and of the claims."""
    words = {*SUBPACKAGES, *CLAIMS, *public()}
    for found in public().values():
        words |= attributes(found)
        for function in [found, *vars(found).values()] if inspect.isclass(found) else [found]:
            words |= {*inspect.signature(function).parameters} if inspect.isfunction(function) else set()
    return words


def dotted(name):
    """Return whether a name such as samviz.a.b exists."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def name_faults(text, strict):
    """Yield names of samviz in code type that do not exist; if strict, all names that are not samviz's."""
    for code in CODE.findall(LINK.sub("", prose(text))):  # `link_faults` looks at those in links
        matched = re.match(r"[A-Za-z_][\w.]*+(?! )", code)
        if re.fullmatch(r"samviz(\.\w+)+", code):
            known = dotted(code)
        elif strict and matched:
            first, *rest = matched[0].split(".")
            known = {*rest} <= attributes(public()[first]) if rest and first in public() else first in vocabulary()
        else:
            known = True
        if not known:
            yield code


def blocks(text):
    """Yield the Python blocks of a page, each with its line and the expected output (None for any)."""
    fences = list(FENCE.finditer(text))
    for fence, after in zip(fences, [*fences[1:], None]):
        if fence[1] == "python":
            follows = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
            yield text.count("\n", 0, fence.start()) + 1, fence[2], after[2] if follows else None


def imported(code):
    """The packages that a block imports, and torch.distributed as if it were one."""
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name if name == "torch.distributed" else name.partition(".")[0] for name in names}


@cache
def run(text, name, needs=frozenset()):
    """Run a page's blocks, compare what they print, and return what they define; `name` is for tracebacks.

    Of the blocks that need more than samviz only those are run that need `needs`, after the page's first block.
    """
    space = {"__name__": name}
    for turn, (line, code, expected) in enumerate(blocks(text)):
        extra = imported(code) & {*FRAMEWORKS, "torch.distributed"}
        if extra != needs and (turn or extra):
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile("\n" * line + code, name, "exec"), space)
        if expected is not None:
            assert printed.getvalue() == expected, f"{name}, line {line}"
    return space


def citation_faults(text):
    """Yield citations of theorems, equations and so on that are not in PAPER."""
    for kind, numbers in CITED.findall(text):
        kind = {"Corollaries": "Corollary"}.get(kind, kind)
        yield from (f"{kind} {n}" for n in re.findall(r"[\d.]*\d", numbers) if n not in PAPER[kind])


@of_each
def test_links_names_citations_and_outputs_are_correct(path):
    text = path.read_text(encoding="utf-8")
    assert list(link_faults(text, path)) == []
    assert list(name_faults(text, path.stem in REFERENCE)) == []
    assert list(citation_faults(text)) == []
    shown = [expected for _, _, expected in blocks(text) if expected is not None]
    assert len(shown) == sum(fence[1] == "text" for fence in FENCE.finditer(text))  # each output follows a block


@of_each
def test_code_runs_and_prints_what_is_shown(path):
    run(path.read_text(encoding="utf-8"), path.name)


def test_the_recipes_of_plain_torch_train_and_measure():
    space = run(read("your_training_loop"), "your_training_loop.md")
    model, X, Y = (space[name] for name in ("model", "X", "Y"))
    assert space["loss_fn"](model(X), Y) < 0.9 * Y.var()
    assert not any(space["optimizer"].skipped.values())
    assert space["row"]["converged"]
    assert {"train_loss", "worst", "trace"} <= {*space["probe"].to_pandas()}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_recipe_for_a_framework_runs_where_it_is_installed(framework, tmp_path, monkeypatch):
    pytest.importorskip(framework, reason="it is not a dependency; its recipe runs where it is")
    monkeypatch.chdir(tmp_path)
    space = run(read("your_training_loop"), "your_training_loop.md", frozenset({framework}))
    assert space["watch"].probe.steps > 0


@pytest.mark.slow
def test_the_recipe_for_several_processes_keeps_their_weights_equal(tmp_path):
    """Slow: torchrun starts two processes."""
    first, *rest = [code for _, code, _ in blocks(read("your_training_loop"))]
    (recipe,) = [code for code in rest if "torch.distributed" in imported(code)]
    check = """
weights = nn.utils.parameters_to_vector(model.parameters()).detach()
both = [torch.empty_like(weights) for _ in range(2)]
dist.all_gather(both, weights)
assert torch.equal(*both)
assert loss_fn(model(X), Y) < Y.var()
assert probe is None or probe.steps == 10
open(f"well-{dist.get_rank()}", "x").close()
dist.barrier()
"""
    script = tmp_path / "script.py"
    end = "dist.destroy_process_group()"
    assert recipe.count(end) == 1
    script.write_text(first + recipe.replace(end, check + end), encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(torchrun, env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    # not the exit status: gloo's threads can abort a process that leaves, after all is done
    assert {path.name for path in tmp_path.glob("well-*")} == {"well-0", "well-1"}, done.stderr


def entries():
    parts = re.split(r"^### (.+)\n", read("glossary"), flags=re.M)[1:]
    return list(zip(parts[::2], parts[1::2]))


def test_the_glossary_is_in_order_and_each_term_has_a_short_text_with_a_link():
    terms = [term.casefold() for term, _ in entries()]
    assert len(terms) >= 40
    assert terms == sorted(set(terms))
    for term, text in entries():
        assert 40 < len(text.strip()) < 320, term
        assert LINK.search(text), term
