"""A real JupyterLab and a real Chromium, for the tests in this folder.

SAMVIZ_REQUIRE_BROWSER=1 makes a missing browser a failure; SAMVIZ_SCREENSHOTS=DIR copies the pictures there as well.
"""

from __future__ import annotations

import ast
import json
import os
import re
import secrets
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from serving import free_port, served

import samviz
from samviz.cli import PROMPT

from .pages import NO_TOUR

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
REMEDY = "install Chromium or Google Chrome (Debian: apt install chromium), or: python -m playwright install chromium"
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
# A kernel imports the samviz that is under test.
PYTHONPATH = os.pathsep.join(filter(None, (str(Path(samviz.__file__).parents[1]), os.environ.get("PYTHONPATH"))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder; all but the quick session are slow, and the soak measures time."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if item.path.name != "test_page.py":
                item.add_marker(pytest.mark.slow)
            if item.path.name == "test_soak.py":
                item.add_marker(pytest.mark.alone)


def skip_or_fail(reason: str) -> NoReturn:
    """Skip, or fail where a browser is required."""
    give_up = pytest.fail if os.environ.get("SAMVIZ_REQUIRE_BROWSER") == "1" else pytest.skip
    give_up(f"no browser test: {reason}")


@pytest.fixture(scope="module")  # not session: until Playwright is stopped, its loop counts as running in this thread
def browser() -> Iterator[Any]:
    """Chromium, started headless: the system's if there is one, else Chrome, else Playwright's own."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        skip_or_fail("the package playwright is not installed; run: pip install playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        for which in ({"executable_path": found},) if found else ({"channel": "chrome"}, {}):
            try:
                chromium = playwright.chromium.launch(**which, args=FLAGS, chromium_sandbox=not AS_ROOT)
                break
            except Error as error:
                reason = error.message.splitlines()[0]
        else:
            skip_or_fail(f"no Chromium or Chrome has started ({reason}); {REMEDY}")
        yield chromium
        chromium.close()


@dataclass
class Server:
    """A running Jupyter server: its address, its folders, and its REST interface."""

    url: str
    token: str
    root: Path
    runtime: Path

    def rest(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`jupyter lab` (which serves Notebook 7 too, where it is installed) on a free port, with its own settings."""
    pytest.importorskip("jupyterlab")
    home = tmp_path_factory.mktemp("jupyter")
    root = home / "root"
    root.mkdir()
    for notebook in sorted((HERE.parents[1] / "notebooks").glob("*.ipynb")):
        shutil.copy(notebook, root)
    settings = home / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    port = free_port()
    server = Server(f"http://127.0.0.1:{port}", secrets.token_hex(16), root, home / "runtime")
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": root,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": AS_ROOT,
        "IdentityProvider.token": server.token,
        "LabApp.expose_app_in_browser": True,
        "JupyterNotebookApp.expose_app_in_browser": True,
    }
    homes = {f"JUPYTER_{kind.upper()}_DIR": str(home / kind) for kind in ("config", "data", "runtime")}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    command.append(f"--ServerApp.{PROMPT}")
    environment = os.environ | homes | {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": PYTHONPATH}
    with served(command, home / "server.log", lambda: server.rest("status"), 60, env=environment, cwd=home):
        yield server


@pytest.fixture(scope="module")
def voila(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`samviz app`, which serves the lab under Voila, by a process outside any Jupyter session."""
    pytest.importorskip("voila")
    home = tmp_path_factory.mktemp("app")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in ("JPY_SESSION_NAME", "VSCODE_PID")}
    environment |= {"PYTHONPATH": PYTHONPATH, "IPYTHONDIR": str(home / "ipython"), "TMPDIR": str(home)}
    command = [sys.executable, "-m", "samviz", "app", "--no-browser", "--port", str(port)]
    url = f"http://localhost:{port}/"

    def connect() -> None:
        with suppress(urllib.error.HTTPError):  # it answers
            urllib.request.urlopen(f"{url}voila/static/", timeout=5).close()

    with served(command, home / "voila.log", connect, 240, env=environment, cwd=home):
        yield Server(url, "", home, next(home.glob("voila_*")))


def write_notebook(path: Path, cells: list[str]) -> None:
    """Write a notebook of code cells."""
    from nbformat import v4

    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")


@dataclass
class Notebook:
    """One notebook, open in a page, and its kernel."""

    page: Any
    server: Server
    name: str
    pictures: Path
    errors: list[str] = field(default_factory=list)  # uncaught in the page
    client: tuple[str, Any] | None = None  # a kernel's id, and the client that asks it

    def command(self, name: str) -> None:
        """Execute a command of JupyterLab's or Notebook's menus, to its end."""
        self.page.evaluate("async (name) => { await window.jupyterapp.commands.execute(name) }", name)

    def wait_idle(self, seconds: float = 60) -> None:
        """Wait until the kernel is idle and connected: what is sent earlier is silently dropped."""
        idle = """() => {
            const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
            return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
        }"""
        self.page.wait_for_function(idle, timeout=seconds * 1e3)

    def run_one_by_one(self) -> None:
        """Run the cells one after another, and draw each graph before the next cell runs.

        anywidget gives each widget two seconds to begin, some of which the drawing of earlier widgets takes.
        """
        cells = "[...window.jupyterapp.shell.currentWidget.content.model.cells]"
        drawn = f"""() => {{
            const outputs = {cells}.flatMap((cell) => cell.outputs?.toJSON() ?? []);
            const widgets = outputs.filter(({{ data }}) => data?.['application/vnd.jupyter.widget-view+json']);
            return document.querySelectorAll('.samviz-card').length === widgets.length
                && [...document.querySelectorAll('.samviz-graph')].every((graph) => graph.data);
        }}"""
        self.command("notebook:move-cursor-up")
        for _ in range(self.page.evaluate(f"{cells}.length")):
            self.command("notebook:run-cell-and-select-next")
            self.page.wait_for_function(drawn, timeout=60_000)

    def run_all(self, seconds: float = 120) -> None:
        """Run every cell, wait for the end, and fail if one of them failed."""
        self.wait_idle()
        run = """() => {
            window.ranAll = false;
            window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.ranAll = true; });
        }"""
        self.page.evaluate(run)
        self.page.wait_for_function("() => window.ranAll", timeout=seconds * 1e3)
        failed = self.page.evaluate("""() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
            .filter(cell => cell.type === 'code').flatMap(cell => cell.outputs.toJSON())
            .filter(output => output.output_type === 'error').map(output => `${output.ename}: ${output.evalue}`)""")
        assert not failed, f"{self.name}: {failed}"
        self.wait_idle(seconds)

    def reload(self) -> None:
        """Save, with the outputs, and load the page again; the kernel lives on."""
        self.command("docmanager:save")
        self.page.reload()
        self.wait_idle()

    def kernel_id(self) -> str:
        """Return the id of the notebook's kernel."""
        return str(next(s for s in self.server.rest("sessions") if s["path"] == self.name)["kernel"]["id"])

    def interrupt(self) -> None:
        """Interrupt the kernel through the server."""
        self.server.rest(f"kernels/{self.kernel_id()}/interrupt", "POST")

    def restart(self) -> None:
        """Restart the kernel."""
        self.disconnect()
        session = "window.jupyterapp.shell.currentWidget.sessionContext"
        self.page.evaluate(f"async () => {{ await {session}.session.kernel.restart() }}")

    def kernel(self, expression: str, seconds: float = 60) -> Any:
        """Evaluate an expression in the kernel and return its value (of Python's literal types)."""
        request = {"user_expressions": {"it": expression}, "silent": True, "store_history": False}
        reply = self._connected().execute("", reply=True, timeout=seconds, **request)
        answer = reply["content"]["user_expressions"]["it"]
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def _connected(self) -> Any:
        """A client of the present kernel; one for many questions, or the sockets run out."""
        from jupyter_client.blocking.client import BlockingKernelClient

        kernel = self.kernel_id()
        if self.client is None or self.client[0] != kernel:
            self.disconnect()
            client = BlockingKernelClient()
            client.load_connection_file(str(self.server.runtime / f"kernel-{kernel}.json"))
            client.start_channels(iopub=False, stdin=False, hb=False, control=False)  # a reply needs no other channel
            self.client = kernel, client
        return self.client[1]

    def disconnect(self) -> None:
        """Close the client's sockets."""
        if self.client is not None:
            self.client[1].stop_channels()
            self.client = None

    def until(self, expression: str, wanted: Callable[[Any], bool] = bool, seconds: float = 60) -> Any:
        """Evaluate in the kernel until the value is as wanted; return it."""
        deadline = time.monotonic() + seconds
        while not wanted(value := self.kernel(expression)):
            assert time.monotonic() < deadline, f"{expression} is still {value!r} after {seconds} s"
            self.page.wait_for_timeout(50)  # never time.sleep: the page's events would wait too
        return value

    def screenshot(self, name: str, selector: str | None = None) -> Path:
        """Take a picture of the page, or of its first element that matches."""
        path = self.pictures / f"{name}.png"
        (self.page.locator(selector).first if selector else self.page).screenshot(path=path)
        if copies := os.environ.get("SAMVIZ_SCREENSHOTS"):
            Path(copies).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copies)
        print(f"screenshot: {path}")
        return path


@contextmanager
def opener(
    browser: Any, server: Server, pictures: Path, connect: Callable[[Any], None] | None = None
) -> Iterator[Callable[..., Notebook]]:
    """Yield a function that opens notebooks; close their pages and shut their kernels down in the end.

    If `connect` is given, it connects the sockets of the pages to their kernels.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 1100})
    context.add_init_script(NO_TOUR)
    if connect:
        context.route_web_socket(re.compile("/channels"), connect)
    opened: list[Notebook] = []

    def open_notebook(name: str, cells: list[str] | None = None, app: str = "lab") -> Notebook:
        if cells is not None:
            write_notebook(server.root / name, cells)
        page = context.new_page()
        page.set_default_timeout(60_000)
        notebook = Notebook(page, server, name, pictures)
        opened.append(notebook)
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("pageerror", lambda error: notebook.errors.append(str(error)))
        where, how = ("lab/tree", "&reset") if app == "lab" else ("notebooks", "")
        page.goto(f"{server.url}/{where}/{name}?token={server.token}{how}", timeout=60_000)
        notebook.wait_idle()
        if app == "lab" and not page.evaluate("() => window.jupyterapp.shell.leftCollapsed"):
            notebook.command("application:toggle-left-area")
        return notebook

    try:
        yield open_notebook
    finally:
        for notebook in opened:
            notebook.disconnect()
        context.close()
        for session in server.rest("sessions"):
            if session["path"] in {notebook.name for notebook in opened}:
                server.rest(f"sessions/{session['id']}", "DELETE")


@pytest.fixture
def open_notebook(browser: Any, server: Server, tmp_path: Path) -> Iterator[Callable[..., Notebook]]:
    """Yield `open_notebook(name, cells=None, app="lab")`, which opens a notebook for this test alone.

    With cells, a notebook of that name is written first. `app` is "lab" or "notebook" (Notebook 7).
    """
    with opener(browser, server, tmp_path) as open_notebook:
        yield open_notebook


@pytest.fixture(scope="module")
def keep_notebook(
    browser: Any, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Notebook]]:
    """Yield the same function for notebooks that stay open through a module, with names that no other module uses."""
    with opener(browser, server, tmp_path_factory.mktemp("pictures")) as open_notebook:
        yield open_notebook
