"""The page in a real browser: it sorts, filters, opens a record, fits a phone, and asks no host for anything."""

import os
import shutil

import pytest

from benchmark import report
from tests.benchmark.pages.example_records import write_all

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync", "--no-first-run", "--disable-quic"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian's package chromium)")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The report of the example's records."""
    folder = tmp_path_factory.mktemp("report")
    assert report.main(["--records", str(write_all(folder / "records")), "--output", str(folder)]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    """One headless Chromium for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def opened(browser, page_file):
    """Return a function that opens the page at a width and in a scheme; at the end nothing may have gone wrong."""
    troubles, requests, contexts = [], [], []

    def open_page(width=1440, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def column(page, table, index):
    """Return the texts of one column, visible rows alone."""
    rows = page.locator(f"#{table} tbody tr:not([hidden])")
    return [rows.nth(i).locator("th, td").nth(index).inner_text() for i in range(rows.count())]


def results_table(page):
    """Return the id of the first table of results."""
    return page.locator("table[id$='-results']").first.get_attribute("id")


def test_a_click_sorts_by_number_and_another_turns_it_round(opened):
    page = opened()
    table = results_table(page)
    head = page.locator(f"#{table} thead th").nth(4)
    assert "box AP" in head.inner_text()
    head.locator("button").click()
    values = [float(text.split()[0]) for text in column(page, table, 4) if text]
    assert values == sorted(values, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    values = [float(text.split()[0]) for text in column(page, table, 4) if text]
    assert values == sorted(values)


def test_filters_leave_the_rows_that_were_asked_for(opened):
    page = opened()
    table = results_table(page)
    form = page.locator(f"form[data-for='{table}']")
    form.locator("select[name=origin]").select_option("measured")
    heads = [head.split(" ")[0] for head in page.locator(f"#{table} thead th").all_inner_texts()]
    assert set(column(page, table, heads.index("origin"))) == {"measured"}
    form.locator("select[name=method]").select_option("Kernel-SSL")
    form.locator("select[name=epochs]").select_option("800")
    assert column(page, table, 0) == ["Kernel-SSL"]
    assert form.locator("output").inner_text().startswith("1 of ")


def test_a_figure_opens_its_records_by_keyboard_and_closes(opened):
    page = opened()
    button = page.locator(f"#{results_table(page)} .figure-button").first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog#record")
    assert dialog.is_visible()
    text = dialog.inner_text()
    assert "coco-c4-1x-random-0-0" in text
    assert "python transfer/coco.py" in text
    assert "A100" in text
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1440])
def test_no_width_makes_the_page_scroll_sideways(opened, width, scheme):
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")


def test_ticks_of_the_figures_do_not_collide(opened):
    page = opened()
    boxes = page.evaluate(
        """[...document.querySelectorAll('.plot svg')].map(svg => [...svg.querySelectorAll('g[id*="xtick"] text')]
           .map(text => { const box = text.getBoundingClientRect(); return [box.top, box.left, box.right]; }))"""
    )
    assert any(boxes)
    for figure in boxes:
        for top, _, right in figure:
            assert not any(abs(top - t) < 2 and 0 < left - right < 2 for t, left, _ in figure)
            assert not any(abs(top - t) < 2 and left < right < r for t, left, r in figure)


def test_the_choice_of_light_and_dark_is_a_button(opened):
    page = opened()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_axe_finds_nothing_serious(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme in ("light", "dark"):
        found = axe.Axe().run(opened(1440, scheme)).response["violations"]
        serious = {
            v["id"]: [n["target"] for n in v["nodes"]][:3] for v in found if v["impact"] in ("serious", "critical")
        }
        assert serious == {}


def test_it_prints_without_controls(opened):
    page = opened()
    page.emulate_media(media="print")
    assert not page.locator("#theme").is_visible()
    assert not page.locator(".filters").first.is_visible()


def test_the_file_is_small_and_self_contained(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert os.path.getsize(page_file) < 5 << 20
    assert "<link" not in text
    assert ' src="http' not in text
