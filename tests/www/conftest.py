"""Fixtures of the live view's tests: its files as built, played graphs, and a real browser."""

from __future__ import annotations

import fcntl
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.www.dev_server import BUNDLE, HOST, WWW, DevServer

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "test-output" / "www"

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def newest_source() -> float:
    files = [*(WWW / "src").iterdir(), WWW / "test" / "host.tsx", WWW / "package-lock.json"]
    return max(file.stat().st_mtime for file in files)


@pytest.fixture(scope="session")
def built() -> None:
    """The front end and its host page, built anew where a source is newer."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import build_www

    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / ".www.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all(file.exists() and file.stat().st_mtime > newest_source() for file in (BUNDLE, HOST)):
            return
        build_www.install_tools()
        build_www.npm(WWW, "run", "build")
        build_www.npm(WWW, "run", "build-host")


@pytest.fixture
def server(built: None) -> Iterator[DevServer]:
    server = DevServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, while the tests of one module run: Playwright's loop runs as long, and no test that
    runs a loop of its own can."""
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium; scripts/test_browser.sh installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def console() -> list[str]:
    """What the page's console told, warnings and worse, and its uncaught errors."""
    return []


@pytest.fixture
def page(browser: Browser, console: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(20_000)

    def told(message: ConsoleMessage) -> None:
        # Of interfaces of the machine, which Docker makes for others, Chromium tells each.
        if message.type in ("warning", "error") and "ERR_NETWORK_CHANGED" not in message.text:
            console.append(f"{message.type}: {message.text}")

    page.on("console", told)
    page.on("pageerror", lambda error: console.append(f"uncaught: {error}"))
    yield page
    context.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where the tests' pictures are kept; git ignores it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES
