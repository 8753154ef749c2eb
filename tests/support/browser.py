"""A real browser, without a window and without a network."""

from __future__ import annotations

import os
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def started(profile: Path) -> Chrome:
    """Debian's Chromium with an empty profile; what its pages say and ask for is logged."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    os.environ["SE_OFFLINE"] = "true"
    chrome = Chrome(options, ChromeService("/usr/bin/chromedriver"))
    chrome.set_page_load_timeout(180)
    chrome.set_script_timeout(180)
    return chrome
