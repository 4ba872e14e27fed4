"""How tests look at a page: a headless Chromium, and a window of so many pixels, in light or dark."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


@contextmanager
def chromium(profile: Path) -> Iterator:
    """Debian's headless Chromium, with a profile of its own; skips the test where it is not installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield opened
    finally:
        opened.quit()


def show(browser, page: Path, width: int, scheme: str) -> None:
    """Open a page in a window of that many CSS pixels, one device pixel each."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())


def drawn(browser, page: Path, width: int = 1280) -> float:
    """Open a page and wait for all its figures; seconds until those near the screen were there."""
    begun = time.perf_counter()
    show(browser, page, width, "light")
    while not browser.execute_script("return document.documentElement.dataset.drawn"):
        assert time.perf_counter() - begun < 60, "figures are not drawn"
        time.sleep(0.01)
    return mark(browser, "opened")


def mark(browser, name: str) -> float:
    """When the page first said so, in seconds from navigation on."""
    return browser.execute_script("return performance.getEntriesByName(arguments[0])[0].startTime", name) / 1000
