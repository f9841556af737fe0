"""The status page of a real daemon in a real browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from agent.cli.client import call
from testbed.up import TestBed
from testbed.waiting import wait_for

SCREENSHOT = Path(__file__).parents[2] / "build" / "status-page.png"
"""Both widths side by side; `make screenshot` takes it into the documents."""
HEIGHT = 1100
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
PHONE, DESK = 360, 1000
"""Widths of a small phone and of a window, in CSS pixels."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Headless Chromium that tells what it asks for and what it complains of; scripts of pages do not run."""
    for program in (CHROMIUM, DRIVER):
        if not Path(program).exists():
            pytest.skip(f"{program} is missing (Debian: chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *(f"--user-data-dir={profile}", "--no-first-run", "--disable-background-networking"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=ChromeService(DRIVER))
    browser.set_page_load_timeout(60)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    yield browser
    browser.quit()


def look(browser: Chrome, width: int, theme: str) -> tuple[str, bytes]:
    """Lay the page out at a width and in a theme; return the ground's colour and a picture of its head."""
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    measured = evaluate(
        browser,
        "({wide: document.documentElement.scrollWidth, shown: window.innerWidth,"
        " ground: getComputedStyle(document.body).backgroundColor,"
        " font: parseFloat(getComputedStyle(document.body).fontSize)})",
    )
    assert measured["shown"] == width
    assert measured["wide"] <= width, f"the page has to be scrolled sideways at {width} px"
    assert measured["font"] >= 14
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return measured["ground"], base64.b64decode(picture["data"])


def evaluate(browser: Chrome, expression: str) -> Any:
    """Ask the browser itself: that works although the page may run no script."""
    answer = browser.execute_cdp_cmd("Runtime.evaluate", {"expression": expression, "returnByValue": True})
    return answer["result"]["value"]


def requests(browser: Chrome) -> list[str]:
    """Return what was asked for since the last time."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def side_by_side(browser: Chrome, pictures: list[bytes]) -> bytes:
    """Put pictures beside each other."""
    images = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">' for picture in pictures
    )
    page = f'<body style="display:flex;align-items:start;gap:16px;margin:16px;background:#888">{images}'
    browser.get("data:text/html;base64," + base64.b64encode(page.encode()).decode())
    size = {"width": PHONE + DESK + 48, "height": HEIGHT + 32, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(picture["data"])


def test_a_person_sees_a_drain_on_a_phone_and_a_desk_by_day_and_night(
    agent, bed: TestBed, browser: Chrome
) -> None:
    agent.change("[admin]", "[page]\nenabled = true\nport = 0\n\n[admin]")
    agent.start()
    node, job = agent.borrow()
    second = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(second, "RUNNING")
    bed.cloudlab.revoke(node, 90)
    wait_for("the drain", lambda: agent.nodes()[node]["state"] == "draining")
    hostile = "<script>document.title='taken over'</script>"
    call(agent.socket, "POST", "/v1/drain", {"nodes": [node], "reason": hostile, "force": True})
    wait_for(
        "the job's fate is known",
        lambda: any(drain["jobs"] for drain in agent.look("/v1/drains")["drains"]),
    )
    match = re.search(r"the status page is served.*address=.?(http://[0-9.:]+/)", agent.log.read_text())
    assert match is not None
    requests(browser)  # those of the browser's own first page
    browser.get(match[1])
    said = evaluate(browser, "document.body.innerText")
    for words in (f"{node}: revoked, due in", str(job), "is requeued", "Sliver at", "Newest events"):
        assert words in said
    assert hostile in said
    assert evaluate(browser, "document.title").startswith("esagent: ")
    assert evaluate(browser, "document.querySelectorAll('svg path').length") > 0
    day, phone = look(browser, PHONE, "light")
    night, desk = look(browser, DESK, "dark")
    assert day != night
    assert set(requests(browser)) <= {match[1], match[1] + "favicon.ico"}
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert [c for c in complaints if "favicon.ico" not in c] == []
    SCREENSHOT.parent.mkdir(exist_ok=True)
    SCREENSHOT.write_bytes(side_by_side(browser, [phone, desk]))
