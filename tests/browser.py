"""How tests look at a page: a window of so many pixels, in light or dark."""

from __future__ import annotations

from pathlib import Path


def show(browser, page: Path, width: int, scheme: str) -> None:
    """Open a page in a window of that many CSS pixels, one device pixel each."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
