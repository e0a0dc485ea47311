"""The page in headless Chromium: the view of one check, hostile and damaged data, keyboard, themes and large runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from specs.case.einsum import EinsumConfig
from specs.verdict.record import Weakness
from tests.support.pages import (
    DEVIATION,
    FAILURE,
    ODD_IDS,
    PRODUCT,
    ROW,
    Look,
    block,
    check_address,
    count,
    make_page,
    make_records,
)
from tests.support.runs import case, finding, record

# From the grid to one check -------------------------------------------------------------------------------------------


def test_the_grid_leads_down_to_a_planted_failure(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_label("einsum/products, torch: 1 fail").click()
    page.get_by_label("product, torch: 1 fail").click()
    assert "A matrix product." in page.locator("#view").inner_text()
    page.get_by_label("float64 · eager, torch cpu einsum: 1 fail").click()
    text = page.locator("#view").inner_text()
    for expected in (
        FAILURE,
        "expected\n-0.3960679153513782",
        "got\n-0.39019012451171875",
        "bound\n1.03e-06",
        "5680 times the bound",
        "ULPs\n2.5 at most",
        "element\n[1, 0]",
        "ij,jk->ik",
        "2 × 3",
        "normal: standard normal numbers",
        "cases/einsum/products.yaml:5",
        "pytest 'cases/einsum/products.yaml::product[torch-cpu-einsum-eager-float64]'",
        "python -m reports script 'cases/einsum/products.yaml::product[torch-cpu-einsum-eager-float64]'",
    ):
        assert expected in text
    # Differing digits are highlighted
    assert [element.inner_text() for element in page.locator(".differs").all()] == ["60679153513782", "019012451171875"]
    labels = [element.inner_text().split("\t")[0].strip() for element in page.locator("table.beside tbody tr").all()]
    assert labels == ["jax · cpu · einsum · eager", "numpy · cpu · einsum · eager", "torch · cpu · einsum · eager"]


def test_the_formula_is_mathml_with_the_terms_of_the_case(run: Path, look: Look) -> None:
    page = look(run, urlencode({"at": ROW.id}))
    lines = page.locator(".formula math").all_text_contents()
    assert len(lines) == 5
    assert any("tanh" in line for line in lines)
    assert page.locator(".formula math mi").first.evaluate("e => e.namespaceURI").endswith("MathML")
    assert "A query without any key yields NaN." in page.locator("#view").inner_text()


def test_a_deviation_has_its_reason_grade_and_link(run: Path, look: Look) -> None:
    page = look(run, check_address(make_records()[-1]))
    text = page.locator("#view").inner_text()
    for expected in (DEVIATION["reason"], "grade\nchoice", "fully_masked: zeros", "recorded in\ntorch.yaml:7"):
        assert str(expected) in text
    assert page.get_by_role("link", name="https://example.org/thread/1").get_attribute("href") == DEVIATION["link"]


@pytest.mark.parametrize(
    ("mark", "explanation"),
    [(None, "its case gives no reason to keep it"), ("It pins the sign.", "It pins the sign.")],
)
def test_a_weak_check_has_its_reason(tmp_path: Path, look: Look, mark: str | None, explanation: str) -> None:
    weak_record = record(PRODUCT, weak=Weakness("almost any result passes", mark))
    text = look(make_page(tmp_path, [PRODUCT], [weak_record]), check_address(weak_record)).locator("#view").inner_text()
    assert f"proves little\nalmost any result passes ({explanation})" in text


def test_a_command_is_copied_by_its_button(run: Path, look: Look) -> None:
    page = look(run, check_address(make_records()[8]), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the command that runs this check").click()
    expect(page.get_by_role("button", name="Copy the command that runs this check")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == make_records()[8].again


@pytest.mark.parametrize("variables", ["", "KERAS_BACKEND=jax ", "A=b C=d,e "])
@pytest.mark.parametrize("program", ["pytest", "pytest conftest.py", "python -m runner"])
def test_odd_ids_and_commands_are_those_of_the_records(
    tmp_path: Path, look: Look, variables: str, program: str
) -> None:
    records = []
    for id in ODD_IDS:
        again = f"{variables}{program} {shlex.quote(id)} --mode jit --adapter=pytest.py"
        records.append(replace(record(PRODUCT), id=id, again=again))
    folder = make_page(tmp_path, [PRODUCT], records)
    for odd_record in records:
        page = look(folder, check_address(odd_record))
        commands = page.locator(".copying code").all_text_contents()[:2]
        program_command = f"{variables}python -m reports script {shlex.quote(odd_record.id)} --adapter=pytest.py"
        assert commands == [odd_record.again, program_command]
        assert page.locator("tr.this a").get_attribute("href") == f"#{check_address(odd_record)}"


def test_an_unknown_check_has_a_message(run: Path, look: Look) -> None:
    page = look(run, urlencode({"check": "cases/x.yaml::gone[torch-cpu]"}))
    assert "This run has no such check: cases/x.yaml::gone[torch-cpu]" in page.locator("#view").inner_text()


def test_how_close_each_backend_comes_to_its_bound(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_role("link", name="Distance to the bound").click()
    rows = page.locator("table.margins tbody tr[role=row]")
    assert rows.count() == 5
    numbers = {row.locator("th").inner_text(): row.locator("td.number").all_inner_texts() for row in rows.all()}
    assert numbers["torch 2.13.0\ncpu · einsum"] == ["4", "0.25", "5680", "5680"]
    assert numbers["torch 2.13.0\ncpu · sdpa"] == ["1", "–", "–", "–"]  # deviations are left out
    limits = page.locator("table.margins .bars .limit").all()
    bars = {element.get_attribute("aria-label") or "": element for element in page.locator("a.bin").all()}
    failing = next(bar for label, bar in bars.items() if "1 fail" in label)
    start = "torch cpu einsum, error ratio 0.178 to 0.316"
    passing = next(bar for label, bar in bars.items() if label.startswith(start))
    line = limits[0].bounding_box()
    assert line
    assert passing.bounding_box()["x"] < line["x"] <= failing.bounding_box()["x"]  # type: ignore[index]
    failing.click()
    assert count(page) == "1 check"
    assert page.locator(".check").inner_text().startswith("✕ fail")


# Hostile and damaged data, keyboard, themes, large runs ---------------------------------------------------------------


def test_hostile_text_is_text(tmp_path: Path, look: Look) -> None:
    hostile = "</script><img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
    config = EinsumConfig(equation=hostile, shapes=[[2]], about=hostile, source=hostile)
    hostile_case = case("einsum/hostile::product", 3, config)
    deviation = {
        **DEVIATION,
        "reason": hostile,
        "link": "javascript:document.title='run'",
        "observed": {"error": hostile},
    }
    records = [
        record(hostile_case, "torch", "fail", reason=hostile),
        record(hostile_case, "jax", "deviation", reason=hostile, deviation=deviation),
        record(hostile_case, "numpy", implementation=hostile),
    ]
    folder = make_page(
        tmp_path, [hostile_case], records, backends={"numpy": finding("numpy"), "torch": finding("torch", hostile)}
    )
    for address in (
        "",
        "at=einsum%2Fhostile",
        urlencode({"at": hostile_case.id}),
        "view=checks",
        *map(check_address, records),
    ):
        page = look(folder, address)
        assert "Conformance" in page.title()
        assert page.title() != "run"
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        assert page.locator("a[href^='javascript']").count() == 0
    assert hostile in look(folder, check_address(records[0])).locator("pre.reason").inner_text()
    assert hostile in look(folder, urlencode({"at": hostile_case.id})).locator("#view").inner_text()


def flip_a_letter(text: str) -> str:
    """A page with one letter of its data changed."""
    position = block(text).start("data") + 2000
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_letter,
        lambda text: text[: block(text).start("data") + 2000],
        lambda text: text[: block(text).start()],
        lambda text: text.replace(block(text)["data"], ""),
        lambda text: text.replace(block(text)["data"], "<script>"),
    ],
    ids=["a letter changed", "cut within the data", "cut before the data", "no data", "other data"],
)
def test_damaged_data_have_a_message(run: Path, browser: Browser, damage: Callable[[str], str]) -> None:
    index = run / "index.html"
    index.write_text(damage(index.read_text(encoding="utf-8")), encoding="utf-8")
    with browser.new_page() as page:
        page.goto(index.as_uri())
        expect(page.get_by_role("alert")).to_contain_text("they are damaged, or the file was cut off")
        assert page.get_by_role("heading", name="Everything that was requested ran").is_visible()


def test_a_page_that_is_cut_off_within_its_script_has_a_message(run: Path, browser: Browser) -> None:
    index = run / "index.html"
    text = index.read_text(encoding="utf-8")
    index.write_text(text[: text.index("<script>") + 500], encoding="utf-8")
    with browser.new_page() as page:
        page.goto(index.as_uri())
        expect(page.get_by_role("status")).to_contain_text("If they do not, this file was cut off or damaged")


def test_a_browser_without_decompression_gets_a_message(run: Path, browser: Browser) -> None:
    with browser.new_page() as page:
        page.add_init_script("delete window.DecompressionStream")
        page.goto((run / "index.html").as_uri())
        expect(page.get_by_role("alert")).to_contain_text("this browser cannot unpack them")


def test_the_keyboard_is_enough(run: Path, look: Look) -> None:
    page = look(run)
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "attention/masks":
            break
    assert page.evaluate(focused) == "attention/masks"
    for key in ("ArrowDown", "ArrowRight", "End"):
        page.keyboard.press(key)
    assert page.evaluate(focused).startswith("einsum/products, torch: 1 fail")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#heading")).to_have_text("einsum/products")
    assert page.evaluate("document.activeElement.id") == "heading"
    page.keyboard.press("Escape")
    expect(page.locator("#heading")).to_have_text("All cases")
    assert page.evaluate(focused) == "einsum/products"  # the row that was opened
    page.keyboard.press("/")
    page.keyboard.type("diagonal")
    expect(page.get_by_role("status")).to_have_text("6 checks")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_have_text("14 checks")


def test_escape_goes_up_from_a_check_to_the_grid(run: Path, look: Look) -> None:
    page = look(run, check_address(make_records()[0]))
    for heading in ("product", "einsum/products", "All cases"):
        page.keyboard.press("Escape")
        expect(page.locator("#heading")).to_have_text(heading)


def test_light_and_dark(run: Path, look: Look) -> None:
    def brightness(page: Page) -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    light, dark = look(run, color_scheme="light"), look(run, color_scheme="dark")
    assert brightness(light) > 200 > 60 > brightness(dark)
    light.get_by_label("Theme").select_option("dark")
    assert brightness(light) == brightness(dark)
    light.reload()
    assert brightness(light) == brightness(dark)
    light.get_by_label("Theme").select_option("system")
    assert brightness(light) > 200


@pytest.mark.parametrize(
    "address", ["", "at=einsum%2Fproducts", "view=checks", "view=margin", check_address(make_records()[8])]
)
def test_a_narrow_window_does_not_scroll_sideways(run: Path, look: Look, address: str) -> None:
    page = look(run, address, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_fifty_thousand_checks_are_opened_and_filtered_a_window_at_a_time(fifty_thousand: Path, look: Look) -> None:
    page = look(fifty_thousand, "view=checks&sort=case")
    elements = "document.querySelectorAll('*').length"
    assert count(page) == "50,000 checks"
    assert page.evaluate(elements) < 1000
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator(".check[data-r='49999']")).to_be_visible()
    assert page.evaluate(elements) < 1000
    page.keyboard.press("/")
    page.keyboard.type("family_7::case_3 torch jit grad float64")
    expect(page.get_by_role("status")).to_have_text("22 checks")
    assert page.evaluate(elements) < 1000
    page.get_by_role("link", name="Grid").click()
    expect(page.locator("table.grid")).to_be_visible()
    assert page.evaluate(elements) < 2000
