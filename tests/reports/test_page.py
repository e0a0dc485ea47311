"""The page as its reader meets it, in headless Chromium: every test opens a file and looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest
from made_runs import MASKED, case, finding, record, write_run
from playwright.sync_api import Browser, Page, expect

from reports import views
from specs.case import Case, EinsumConfig
from specs.record import Record

FAILURE = "15 of 15 values are outside the error bound; consistent with operands rounded to bfloat16"
DEVIATION = {
    "reason": "A query without any key yields zeros.",
    "observed": {"fully_masked": "zeros"},
    "grade": "choice",
    "link": "https://example.org/thread/1",
    "place": "torch.yaml:7",
}
PRODUCT = case("einsum/products::product", 5)
DIAGONAL = case("einsum/products::diagonal", 9, EinsumConfig(equation="ii->i", shapes=[[3, 3]]))
ROW = case("attention/masks::causal_row", 4, MASKED)


def planted() -> list[Record]:
    """A pass of each backend at two dtypes, with a failure, a deviation and something unsupported among them."""
    records = []
    for backend in ("jax", "numpy", "torch"):
        for dtype in ("float64", "bfloat16"):
            for of in (PRODUCT, DIAGONAL):
                records.append(record(of, backend, dtype=dtype, ratio=0.25 if of is PRODUCT else 0.0))
    records[8] = record(PRODUCT, "torch", "fail", 5677.0, reason=FAILURE)
    records[7] = record(DIAGONAL, "numpy", "unsupported", None, dtype="bfloat16", reason="NumPy has no bfloat16")
    for backend, implementation in (("jax", "dot-product-attention"), ("torch", "sdpa")):
        records.append(record(ROW, backend, implementation=implementation, ratio=0.5))
    records[-1] = record(
        ROW, "torch", "deviation", 1e9, implementation="sdpa", reason=DEVIATION["reason"], deviation=DEVIATION
    )
    return records


def made(folder: Path, cases: list[Case], records: list[Record], **facts: object) -> Path:
    write_run(folder, cases, records, facts)
    assert views.write(folder) == {}
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made(tmp_path, [PRODUCT, DIAGONAL, ROW], planted())


Look = Callable[..., Page]


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Opens the page of a run's folder, in a certain state; whatever it complains of or asks for fails the test."""
    contexts, complaints = [], []

    def opened(folder: Path, state: str = "", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        url = (folder / "index.html").as_uri()
        page.on("request", lambda sent: sent.url.startswith((url, "data:,")) or complaints.append(sent.url))
        page.goto(f"{url}#{state}")
        expect(page.locator("#view > *").first).to_be_attached()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def state(page: Page) -> dict[str, list[str]]:
    return parse_qs(page.url.partition("#")[2])


def count(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def cells(page: Page) -> list[str]:
    return [each.get_attribute("aria-label") or "" for each in page.locator("table.grid .cell").all()]


def of_check(each: Record) -> str:
    return urlencode({"at": each.case, "check": each.id})


# The first screen -----------------------------------------------------------------------------------------------------


def test_it_opens_with_the_grid_of_families_and_backends(run: Path, look: Look) -> None:
    page = look(run)
    assert [each.inner_text() for each in page.locator("table.grid thead th").all()][1:] == [
        "jax▸\n0.10.2",
        "numpy▸\n2.4.6",
        "torch▸\n2.13.0",
    ]
    assert [each.inner_text() for each in page.locator("tbody .name").all()] == ["attention/masks", "einsum/products"]
    assert cells(page) == [
        "attention/masks, jax: 1 pass; largest error ratio 0.5",
        "attention/masks, numpy: no check",
        "attention/masks, torch: 1 deviation",
        "einsum/products, jax: 4 pass; largest error ratio 0.25",
        "einsum/products, numpy: 3 pass, 1 unsupported; largest error ratio 0.25",
        "einsum/products, torch: 1 fail, 3 pass; largest error ratio 5680",
    ]
    # A glyph says the verdict without its colour
    assert [each.inner_text()[0] for each in page.locator("table.grid .cell").all()] == list("✓·≠✓✓✕")
    assert page.get_by_role("heading", name="Everything that was asked for ran").is_visible()


def test_a_cell_near_its_bound_is_darker(tmp_path: Path, look: Look) -> None:
    ratios = {"jax": 1e-3, "numpy": 0.03, "torch": 1.0}
    records = [record(PRODUCT, backend, ratio=ratio) for backend, ratio in ratios.items()]
    shown = look(made(tmp_path, [PRODUCT], records)).locator(".cell").all()
    shades = [float(cell.evaluate("cell => cell.style.getPropertyValue('--shade')")) for cell in shown]
    assert 0 <= shades[0] < shades[1] < shades[2] == 1
    assert len({cell.evaluate("cell => getComputedStyle(cell).backgroundColor") for cell in shown}) == 3


def test_backends_unfold_to_devices_and_implementations(tmp_path: Path, look: Look) -> None:
    places = [("cpu", "einsum"), ("cpu", "matmul"), ("cuda:0", "einsum")]
    records = [record(PRODUCT, "torch", device=device, implementation=how) for device, how in places]
    page = look(made(tmp_path, [PRODUCT], [*records, record(PRODUCT, "jax")]))
    heads = page.locator("table.grid thead")
    heads.get_by_role("button", name="torch").click()
    assert "torch cpu: 2 pass" in cells(page)[1]
    assert heads.get_by_role("button", name="torch").get_attribute("aria-expanded") == "true"
    heads.get_by_role("button", name="cpu").click()
    assert [label.split(":")[0] for label in cells(page)] == [
        "einsum/products, jax",
        "einsum/products, torch cpu einsum",
        "einsum/products, torch cpu matmul",
        "einsum/products, torch cuda",
    ]
    assert state(page)["open"] == ["torch", "torch cpu"]
    heads.get_by_role("button", name="torch").click()
    assert len(cells(page)) == 2


def test_what_did_not_run_is_listed_with_its_reason(tmp_path: Path, look: Look) -> None:
    page = look(
        made(
            tmp_path,
            [PRODUCT],
            [record(PRODUCT)],
            complete=False,
            backends={
                "numpy": finding("numpy"),
                "jax": finding("jax", "not installed", "python -m pip install jax"),
                "torch": finding("torch", "libtorch.so: undefined symbol"),
            },
            unmet={"torch": "libtorch.so: undefined symbol"},
            broken_case_files={"cases/odd.yaml": ["cases/odd.yaml:3:5: unknown key `equashun`"]},
        )
    )
    listed = page.locator(".notices").inner_text()
    for said in (
        "The run is not complete",
        "torch had to run and could not\nlibtorch.so: undefined symbol",
        "jax did not run\nnot installed\npython -m pip install jax",
        "cases/odd.yaml cannot be used, so none of its cases ran\ncases/odd.yaml:3:5: unknown key `equashun`",
    ):
        assert said in listed
    assert page.locator(".notices").is_visible()


# Filters and the address ----------------------------------------------------------------------------------------------


def test_filters_narrow(run: Path, look: Look) -> None:
    page = look(run)
    assert count(page) == "14 checks"
    page.get_by_role("button", name="fail").click()
    assert (count(page), state(page)) == ("1 check", {"verdict": ["fail"]})
    page.get_by_role("button", name="fail").click()
    page.get_by_text("dtype", exact=True).click()
    page.get_by_label("bfloat16").check()
    assert count(page) == "6 checks"
    page.locator("#q").fill("diagonal numpy")
    expect(page.get_by_role("status")).to_have_text("1 check")
    assert state(page) == {"dtype": ["bfloat16"], "q": ["diagonal numpy"]}
    page.get_by_role("button", name="Clear").click()
    assert (count(page), state(page)) == ("14 checks", {})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("rounded to bfloat16", "1 check"),  # a reason
        ("ii->i", "6 checks"),  # an equation
        ("MATRIX PRODUCT", "6 checks"),  # about
        ("sdpa", "1 check"),
        ("products.yaml::product[jax-cpu-einsum-eager-bfloat16]", "1 check"),
        ("nothing at all", "0 checks"),
    ],
)
def test_text_is_found_wherever_it_stands(run: Path, look: Look, text: str, found: str) -> None:
    assert count(look(run, urlencode({"q": text}))) == found


@pytest.mark.parametrize(
    ("facet", "value", "found"),
    [
        ("backend", "torch", "5 checks"),
        ("device", "cpu", "14 checks"),
        ("implementation", "sdpa", "1 check"),
        ("mode", "eager", "14 checks"),
        ("dtype", "float64", "8 checks"),
        ("direction", "grad", "0 checks"),
        ("verdict", "deviation", "1 check"),
    ],
)
def test_every_facet_filters(run: Path, look: Look, facet: str, value: str, found: str) -> None:
    assert count(look(run, urlencode({facet: value}))) == found


def test_the_address_restores_the_view(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_role("button", name="torch").click()
    page.get_by_role("link", name="einsum/products", exact=True).click()
    page.locator("#q").fill("product")
    page.get_by_role("button", name="pass").click()
    expect(page.get_by_role("status")).to_have_text("10 checks")
    page.get_by_role("button", name="worst first").click()
    again = look(run, page.url.partition("#")[2])
    assert cells(again) == cells(page) != []
    assert again.locator("#trail").inner_text() == page.locator("#trail").inner_text()
    assert again.locator("#q").input_value() == "product"
    assert again.get_by_role("button", name="pass").get_attribute("aria-pressed") == "true"


def test_going_back_goes_back(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_role("link", name="einsum/products", exact=True).click()
    page.get_by_role("link", name="diagonal", exact=True).click()
    page.go_back()
    assert page.locator("#heading").inner_text() == "einsum/products"
    page.go_back()
    assert page.locator("#heading").inner_text() == "All cases"


# From the grid to one check -------------------------------------------------------------------------------------------


def test_a_planted_failure_is_found_from_the_grid_down(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_label("einsum/products, torch: 1 fail").click()
    page.get_by_label("product, torch: 1 fail").click()
    assert "A matrix product." in page.locator("#view").inner_text()
    page.get_by_label("float64 · eager, torch cpu einsum: 1 fail").click()
    text = page.locator("#view").inner_text()
    for said in (
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
        assert said in text
    # What differs is set off
    assert [each.inner_text() for each in page.locator(".differs").all()] == ["60679153513782", "019012451171875"]
    beside = [each.inner_text().split("\t")[0].strip() for each in page.locator("table.beside tbody tr").all()]
    assert beside == ["jax · cpu · einsum · eager", "numpy · cpu · einsum · eager", "torch · cpu · einsum · eager"]


def test_the_formula_is_mathematics_with_the_terms_of_the_case(run: Path, look: Look) -> None:
    page = look(run, urlencode({"at": ROW.id}))
    lines = page.locator(".formula math").all_text_contents()
    assert len(lines) == 5
    assert any("tanh" in line for line in lines)
    assert page.locator(".formula math mi").first.evaluate("e => e.namespaceURI").endswith("MathML")
    assert "A query without any key yields NaN." in page.locator("#view").inner_text()


def test_a_deviation_shows_its_reason_grade_and_link(run: Path, look: Look) -> None:
    page = look(run, of_check(planted()[-1]))
    text = page.locator("#view").inner_text()
    for said in (DEVIATION["reason"], "grade\nchoice", "fully_masked: zeros", "recorded in\ntorch.yaml:7"):
        assert str(said) in text
    assert page.get_by_role("link", name="https://example.org/thread/1").get_attribute("href") == DEVIATION["link"]


def test_a_command_is_copied_by_its_button(run: Path, look: Look) -> None:
    page = look(run, of_check(planted()[8]), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the command that runs this check").click()
    expect(page.get_by_role("button", name="Copy the command that runs this check")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == planted()[8].again


def test_a_check_that_is_not_there_is_said(run: Path, look: Look) -> None:
    page = look(run, urlencode({"check": "cases/x.yaml::gone[torch-cpu]"}))
    assert "This run has no such check: cases/x.yaml::gone[torch-cpu]" in page.locator("#view").inner_text()


def test_how_close_each_backend_comes_to_its_bound(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_role("link", name="Distance to the bound").click()
    rows = page.locator("table.margins tbody tr[role=row]")
    assert rows.count() == 5
    limits = page.locator("table.margins .bars .limit").all()
    bars = {each.get_attribute("aria-label") or "": each for each in page.locator("a.bin").all()}
    failing = next(bar for label, bar in bars.items() if "1 fail" in label)
    near = "torch cpu einsum, error ratio 0.178 to 0.316"
    passing = next(bar for label, bar in bars.items() if label.startswith(near))
    line = limits[0].bounding_box()
    assert line
    assert passing.bounding_box()["x"] < line["x"] <= failing.bounding_box()["x"]  # type: ignore[index]
    failing.click()
    assert count(page) == "1 check"
    assert page.locator(".check").inner_text().startswith("✕ fail")


# Whoever looks, and whatever is written -------------------------------------------------------------------------------


def test_hostile_text_is_text(tmp_path: Path, look: Look) -> None:
    hostile = "</script><img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
    config = EinsumConfig(equation=hostile, shapes=[[2]], about=hostile, source=hostile)
    of = case("einsum/hostile::product", 3, config)
    deviation = {
        **DEVIATION,
        "reason": hostile,
        "link": "javascript:document.title='run'",
        "observed": {"error": hostile},
    }
    records = [
        record(of, "torch", "fail", reason=hostile),
        record(of, "jax", "deviation", reason=hostile, deviation=deviation),
        record(of, "numpy", implementation=hostile),
    ]
    folder = made(tmp_path, [of], records, backends={"numpy": finding("numpy"), "torch": finding("torch", hostile)})
    for where in ("", "at=einsum%2Fhostile", urlencode({"at": of.id}), "view=checks", *map(of_check, records)):
        page = look(folder, where)
        assert "Conformance" in page.title()
        assert page.title() != "run"
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        assert page.locator("a[href^='javascript']").count() == 0
    assert hostile in look(folder, of_check(records[0])).locator("pre.reason").inner_text()
    assert hostile in look(folder, urlencode({"at": of.id})).locator("#view").inner_text()


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
    assert page.evaluate(focused) == "einsum/products"  # where one came from
    page.keyboard.press("/")
    page.keyboard.type("diagonal")
    expect(page.get_by_role("status")).to_have_text("6 checks")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_have_text("14 checks")


def test_escape_goes_up_from_a_check_to_the_grid(run: Path, look: Look) -> None:
    page = look(run, of_check(planted()[0]))
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


@pytest.mark.parametrize("where", ["", "at=einsum%2Fproducts", "view=checks", "view=margin", of_check(planted()[8])])
def test_a_narrow_window_does_not_scroll_sideways(run: Path, look: Look, where: str) -> None:
    page = look(run, where, viewport={"width": 400, "height": 800})
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
