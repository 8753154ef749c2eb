"""The page of a report in a real browser: it draws, it drills down, and no name in it is anything but text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from lkbuild.report.build_report import BuildReport, CachedStep
from lkbuild.report.image_map import MapNode
from lkbuild.report.page import page
from tests.support.browser import started
from tests.unit.test_report import HOSTILE, report, run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chrome = started(tmp_path_factory.mktemp("profile"))
    yield chrome
    chrome.quit()


def machine(name: str) -> BuildReport:
    """A report whose image has a service of two directories, and whose build has two steps."""
    lib = MapNode("lib", 600, 300, 4, (MapNode(f"{name}.so", 400, 200, 1), MapNode("b.so", 200, 100, 3)))
    web = MapNode(f"services/{name}", 900, 450, 6, (lib, MapNode("bin", 300, 150, 2)), ("layer0: 0.4 MB packed",))
    root = MapNode("m", 1000, 550, 7, (web, MapNode("files", 100, 100, 1)))
    first, second = replace(run("pull:a", 5, 9), kind="pull"), run(f"tree:{name}", 9, 19, "pull:a")
    made = report(name)
    record = replace(made.record, steps=(first, replace(second, worker=1)), written=())
    cached = (CachedStep("cached:step", "tree", 77),)
    return replace(
        made, record=record, machines=(replace(made.machines[0], map=root, note=""),), cached=cached,
        critical=replace(made.critical, steps=("pull:a", f"tree:{name}"), time=14),
    )  # fmt: skip


def shown(browser: Chrome, tmp_path: Path, made: BuildReport, width: int = 1280) -> None:
    """Open the page, and see that nothing went wrong and nothing was asked for."""
    path = tmp_path / "report.html"
    path.write_text(page(made), "utf-8")
    browser.set_window_size(width, 1400)
    browser.get_log("performance")
    browser.get(path.as_uri())
    assert browser.get_log("browser") == []
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked == [path.as_uri()]


def all_of(browser: Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def texts(browser: Chrome, selector: str) -> list[str]:
    return [element.text for element in all_of(browser, selector)]


def cells(browser: Chrome) -> list[str]:
    """The names of the parts that are drawn."""
    script = "return arguments[0].firstChild.textContent"
    return [browser.execute_script(script, label) for label in all_of(browser, "#map > .cell > .label")]


def test_a_page_draws_and_drills_down(browser: Chrome, tmp_path: Path) -> None:
    shown(browser, tmp_path, machine("web"))
    assert texts(browser, "h1") == ["web"]
    assert cells(browser) == ["services/web", "files"]
    all_of(browser, "#map > .cell.deep")[0].click()
    assert texts(browser, "#crumbs > *") == ["m", "/", "services/web"]
    assert cells(browser) == ["lib", "bin"]
    all_of(browser, "#parts .link")[0].click()
    assert texts(browser, "#parts tbody td.name") == ["web.so", "b.so"]
    all_of(browser, "#crumbs button")[0].click()
    assert texts(browser, "#crumbs > *") == ["m"]
    packed = all_of(browser, "#measure button")[1]
    packed.click()
    assert texts(browser, "#parts tbody tr:first-child td")[2] == "81.8 %"


def test_parts_have_the_areas_of_their_bytes_and_none_overlaps(browser: Chrome, tmp_path: Path) -> None:
    shown(browser, tmp_path, machine("web"), 800)
    boxes = [element.rect for element in all_of(browser, "#map > .cell")]
    assert boxes[0]["width"] * boxes[0]["height"] == pytest.approx(9 * boxes[1]["width"] * boxes[1]["height"], rel=0.05)
    for one in boxes:
        for other in boxes:
            apart = one["x"] + one["width"] <= other["x"] + 1 or other["x"] + other["width"] <= one["x"] + 1
            apart |= one["y"] + one["height"] <= other["y"] + 1 or other["y"] + other["height"] <= one["y"] + 1
            assert one == other or apart


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_wider_than_the_page(browser: Chrome, tmp_path: Path, width: int) -> None:
    shown(browser, tmp_path, machine("a-service-with-a-name-that-is-" + "very-" * 30 + "long"), width)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_timeline_zooms_and_steps_are_sorted(browser: Chrome, tmp_path: Path) -> None:
    shown(browser, tmp_path, machine("web"))
    bars = {bar.text: bar.rect["width"] for bar in all_of(browser, ".bar")}
    assert set(texts(browser, ".bar.critical")) == {"pull:a", "tree:web"}
    all_of(browser, "#timeline")[0].send_keys("+", Keys.ARROW_LEFT)
    wider = {bar.text: bar.rect["width"] for bar in all_of(browser, ".bar")}
    assert wider["pull:a"] == pytest.approx(2 * bars["pull:a"], rel=0.05)
    all_of(browser, "#zoom-all")[0].click()
    assert {bar.text: bar.rect["width"] for bar in all_of(browser, ".bar")} == bars
    names = "#steps tbody td.name"
    assert texts(browser, names) == ["tree:web", "pull:a", "cached:step"], "the longest first, the cached last"
    all_of(browser, "#steps th button")[0].click()
    assert texts(browser, names) == ["cached:step", "pull:a", "tree:web"]
    all_of(browser, "#filter")[0].send_keys("PULL")
    assert texts(browser, names) == ["pull:a"]


def test_what_is_pointed_at_is_told(browser: Chrome, tmp_path: Path) -> None:
    shown(browser, tmp_path, machine("web"))
    browser.execute_script(
        "const bar = document.querySelector('.bar.critical');"
        "bar.dispatchEvent(new MouseEvent('mousemove', {clientX: 200, clientY: 300}))"
    )
    tip = all_of(browser, "#tip")[0]
    assert tip.is_displayed()
    assert "pull:a" in tip.text
    assert "on the critical path" in tip.text


@pytest.mark.parametrize(
    "name", [HOSTILE, "<img src=x onerror=\"document.title='owned'\">", "&lt;b&gt;", "${1}{{data}}"]
)
def test_hostile_names_do_nothing(browser: Chrome, tmp_path: Path, name: str) -> None:
    shown(browser, tmp_path, machine(name))
    all_of(browser, "#map > .cell.deep")[0].click()
    assert browser.title != "owned"
    assert all_of(browser, "img, iframe, b b, main script, section script") == []
    told = browser.execute_script("return JSON.stringify(document.getElementById('title').textContent)")
    assert json.loads(told) == name


def test_a_build_of_nothing_is_told(browser: Chrome, tmp_path: Path) -> None:
    made = report("web")
    empty = replace(made.record, steps=(), written=())
    shown(browser, tmp_path, replace(made, record=empty, machines=(replace(made.machines[0], map=None, note="gone"),),
                                     critical=replace(made.critical, steps=(), time=0)))  # fmt: skip
    assert texts(browser, "#map .empty") == ["gone"]
    assert "everything was in the cache" in texts(browser, "#timeline")[0]
