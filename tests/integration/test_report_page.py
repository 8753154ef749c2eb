"""The page of a report in a real browser: it draws, it drills down, and no name in it is anything but text."""

from __future__ import annotations

import json
import re
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
    gone = MapNode("old.so", 0, 0, 0, 900, (), ("removed by layer 1",))
    lib = MapNode("lib", 600, 300, 4, 900, (MapNode(f"{name}.so", 400, 200, 1), MapNode("b.so", 200, 100, 3), gone))
    lower = MapNode(
        "layer 0 0123", 850, 425, 5, 900, (lib, MapNode("bin", 250, 125, 1)), (f"ADD {name} /", "0.4 MB packed")
    )
    upper = MapNode("layer 1 4567", 50, 25, 1, 0, (MapNode("etc", 50, 25, 1),), (f"RUN {name}", "0.1 MB packed"))
    web = MapNode(f"services/{name}", 900, 450, 6, 900, (lower, upper))
    root = MapNode("m", 1000, 550, 7, 900, (web, MapNode("files", 100, 100, 1)))
    first, second = replace(run("pull:a", 5, 9), kind="pull"), run(f"tree:{name}", 9, 19, "pull:a")
    made = report(name)
    record = replace(made.record, steps=(first, replace(second, worker=1)), written=())
    cached = (CachedStep("cached:step", "tree", 77),)
    return replace(
        made, record=record, machines=(replace(made.machines[0], map=root, note=""),), cached=cached,
        critical=replace(made.critical, steps=("pull:a", f"tree:{name}"), time=14),
    )  # fmt: skip


class View:
    """Pages in the browser; `check` sees that nothing went wrong in them, and that nothing was asked for."""

    def __init__(self, browser: Chrome, directory: Path) -> None:
        self._browser, self._directory, self._opened = browser, directory, list[str]()
        browser.get_log("performance")

    def __call__(self, made: BuildReport, width: int = 1280, scheme: str = "light") -> None:
        path = self._directory / f"report{len(self._opened)}.html"
        path.write_text(page(made), "utf-8")
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self._browser.set_window_size(width, 1400)
        self._browser.get(path.as_uri())
        self._opened.append(path.as_uri())

    def check(self) -> None:
        assert self._browser.get_log("browser") == []
        events = (json.loads(entry["message"])["message"] for entry in self._browser.get_log("performance"))
        requests = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        asked = [each["request"]["url"] for each in requests if each["documentURL"] in self._opened]
        assert asked == self._opened


@pytest.fixture
def view(browser: Chrome, tmp_path: Path) -> Iterator[View]:
    found = View(browser, tmp_path)
    yield found
    found.check()


def all_of(browser: Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def texts(browser: Chrome, selector: str) -> list[str]:
    return [element.text for element in all_of(browser, selector)]


def cells(browser: Chrome) -> list[str]:
    """The names of the parts that are drawn."""
    script = "return arguments[0].firstChild.textContent"
    return [browser.execute_script(script, label) for label in all_of(browser, "#map > .cell > .label")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_drills_down_from_service_to_layer_to_directory(browser: Chrome, view: View, scheme: str) -> None:
    view(machine("web"), scheme=scheme)
    assert texts(browser, "h1") == ["web"]
    assert cells(browser) == ["services/web", "files"]
    all_of(browser, "#map > .cell.deep")[0].click()
    assert texts(browser, "#crumbs > *") == ["m", "/", "services/web"]
    assert cells(browser) == ["layer 0 0123", "layer 1 4567"]
    assert texts(browser, "#parts .line") == ["ADD web /", "RUN web"], "what made the layers"
    all_of(browser, "#map > .cell.deep")[0].click()
    assert cells(browser) == ["lib", "bin"]
    all_of(browser, "#parts .link")[0].click()
    assert texts(browser, "#crumbs > *") == ["m", "/", "services/web", "/", "layer 0 0123", "/", "lib"]
    assert cells(browser) == ["web.so", "b.so"], "what is hidden takes no room"
    assert texts(browser, "#parts tbody td:nth-child(6)") == ["", "", "900 B"]
    assert texts(browser, "#parts .line") == ["removed by layer 1"]
    all_of(browser, "#crumbs button")[0].click()
    assert texts(browser, "#crumbs > *") == ["m"]
    all_of(browser, "#measure button")[1].click()
    assert texts(browser, "#parts tbody tr:first-child td")[2] == "81.8 %"


def test_what_is_hidden_has_a_map_of_its_own(browser: Chrome, view: View) -> None:
    view(machine("web"))
    all_of(browser, "#measure button")[2].click()
    assert cells(browser) == ["services/web"]
    for names in (["layer 0 0123"], ["lib"], ["old.so"]):
        all_of(browser, "#map > .cell.deep")[0].click()
        assert cells(browser) == names
    all_of(browser, "#crumbs button")[1].click()
    all_of(browser, "#parts .link")[1].click()
    assert texts(browser, "#crumbs > *")[-1] == "layer 1 4567"
    assert texts(browser, "#map .empty") == ["Nothing is carried in vain here."]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: Chrome, view: View, scheme: str) -> None:
    """A contrast of 3 at least, which WCAG 2.2 asks of large text (1.4.3); 4.5 where people read sentences."""
    view(machine("web"), scheme=scheme)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (_luminance(ground) < 0.2) == (scheme == "dark")
    for selector, least in (
        ("h1", 4.5),
        (".about", 4.5),
        ("#parts td", 4.5),
        (".card span", 4.5),
        (".cell", 3.0),
        (".bar", 3.0),
    ):
        for element in all_of(browser, selector):
            ink, paper = browser.execute_script(_COLOURS, element)
            light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, (selector, element.text, ink, paper)


_COLOURS = """
let behind = arguments[0];
const clear = (element) => getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)";
while (behind.parentElement && clear(behind)) behind = behind.parentElement;
return [getComputedStyle(arguments[0]).color, getComputedStyle(behind).backgroundColor];
"""


def _luminance(colour: str) -> float:
    """Of `rgb(…)` (WCAG 2.2, relative luminance)."""
    parts = (int(part) / 255 for part in re.findall(r"[0-9]+", colour)[:3])
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def fleet(count: int) -> BuildReport:
    """A report of so many machines, the last of which nobody knows any more."""
    made = machine("web")
    one = made.machines[0]
    assert one.map is not None
    named = [
        replace(one, map=replace(one.map, name=f"m{n:02}"), record=replace(one.record, name=f"m{n:02}"))
        for n in range(count)
    ]
    named[-1] = replace(named[-1], map=None, note="gone")
    return replace(made, machines=tuple(named))


@pytest.mark.parametrize("width", [1280, 800])
def test_of_many_machines_each_is_a_part(browser: Chrome, view: View, width: int) -> None:
    view(fleet(20), width)
    assert texts(browser, "h1") == ["m00, m01, m02 and 17 more"]
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert texts(browser, "#crumbs > *") == ["19 machines"]
    assert sorted(cells(browser)) == [f"m{n:02}" for n in range(19)]
    assert sorted(texts(browser, "#parts tbody td.name")) == [f"m{n:02}" for n in range(19)], "all of them are told"
    assert "m19: gone" in texts(browser, "#map-note")[0]
    all_of(browser, "#parts .link")[4].click()
    assert cells(browser) == ["services/web", "files"]
    assert len({cell.value_of_css_property("background-color") for cell in all_of(browser, "#map > .cell")}) == 2
    all_of(browser, "#map > .cell.deep")[0].click()
    assert texts(browser, "#crumbs > *")[::2] == ["19 machines", "m04", "services/web"]


def test_parts_have_the_areas_of_their_bytes_and_none_overlaps(browser: Chrome, view: View) -> None:
    view(machine("web"), 800)
    boxes = [element.rect for element in all_of(browser, "#map > .cell")]
    assert boxes[0]["width"] * boxes[0]["height"] == pytest.approx(9 * boxes[1]["width"] * boxes[1]["height"], rel=0.05)
    for one in boxes:
        for other in boxes:
            apart = one["x"] + one["width"] <= other["x"] + 1 or other["x"] + other["width"] <= one["x"] + 1
            apart |= one["y"] + one["height"] <= other["y"] + 1 or other["y"] + other["height"] <= one["y"] + 1
            assert one == other or apart


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_wider_than_the_page(browser: Chrome, view: View, width: int) -> None:
    view(machine("a-service-with-a-name-that-is-" + "very-" * 30 + "long"), width)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_timeline_zooms_and_steps_are_sorted(browser: Chrome, view: View) -> None:
    view(machine("web"))
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


def test_what_is_pointed_at_is_told(browser: Chrome, view: View) -> None:
    view(machine("web"))
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
def test_hostile_names_do_nothing(browser: Chrome, view: View, name: str) -> None:
    view(machine(name))
    all_of(browser, "#map > .cell.deep")[0].click()
    assert browser.title != "owned"
    assert all_of(browser, "img, iframe, b b, main script, section script") == []
    told = browser.execute_script("return JSON.stringify(document.getElementById('title').textContent)")
    assert json.loads(told) == name


def test_a_build_of_nothing_is_told(browser: Chrome, view: View) -> None:
    made = report("web")
    empty = replace(made.record, steps=(), written=())
    view(replace(made, record=empty, machines=(replace(made.machines[0], map=None, note="gone"),),
                                     critical=replace(made.critical, steps=(), time=0)))  # fmt: skip
    assert texts(browser, "#map .empty") == ["gone"]
    assert "everything was in the cache" in texts(browser, "#timeline")[0]
