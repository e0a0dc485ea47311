"""The page in headless Chromium: the first screen, the filters and the address."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from reports.compare.sections import Section
from tests.support.pages import PRODUCT, Look, cells, count, make_page, state
from tests.support.runs import finding, record

# The first screen -----------------------------------------------------------------------------------------------------


def test_it_opens_with_the_grid_of_families_and_backends(run: Path, look: Look) -> None:
    page = look(run)
    assert [element.inner_text() for element in page.locator("table.grid thead th").all()][1:] == [
        "jax▸\n0.10.2",
        "numpy▸\n2.4.6",
        "torch▸\n2.13.0",
    ]
    assert [element.inner_text() for element in page.locator("tbody .name").all()] == [
        "attention/masks",
        "einsum/products",
    ]
    assert cells(page) == [
        "attention/masks, jax: 1 pass; largest error ratio 0.5",
        "attention/masks, numpy: no check",
        "attention/masks, torch: 1 deviation",
        "einsum/products, jax: 4 pass; largest error ratio 0.25",
        "einsum/products, numpy: 3 pass, 1 unsupported; largest error ratio 0.25",
        "einsum/products, torch: 1 fail, 3 pass; largest error ratio 5680",
    ]
    # A glyph shows the verdict without colour
    assert [element.inner_text()[0] for element in page.locator("table.grid .cell").all()] == list("✓·≠✓✓✕")
    assert page.get_by_role("heading", name="Everything that was requested ran").is_visible()


def test_a_cell_near_its_bound_is_darker(tmp_path: Path, look: Look) -> None:
    ratios = {"jax": 1e-3, "numpy": 0.03, "torch": 1.0}
    records = [record(PRODUCT, backend, ratio=ratio) for backend, ratio in ratios.items()]
    cells = look(make_page(tmp_path, [PRODUCT], records)).locator(".cell").all()
    shades = [float(cell.evaluate("cell => cell.style.getPropertyValue('--shade')")) for cell in cells]
    assert 0 <= shades[0] < shades[1] < shades[2] == 1
    assert len({cell.evaluate("cell => getComputedStyle(cell).backgroundColor") for cell in cells}) == 3


def test_backends_unfold_to_devices_and_implementations(tmp_path: Path, look: Look) -> None:
    places = [("cpu", "einsum"), ("cpu", "matmul"), ("cuda:0", "einsum")]
    records = [
        record(PRODUCT, "torch", device=device, implementation=implementation) for device, implementation in places
    ]
    page = look(make_page(tmp_path, [PRODUCT], [*records, record(PRODUCT, "jax")]))
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
        make_page(
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
    notices = page.locator(".notices").inner_text()
    for text in (
        "The run is not complete",
        "torch had to run and could not\nlibtorch.so: undefined symbol",
        "jax did not run\nnot installed\npython -m pip install jax",
        "cases/odd.yaml cannot be used, so none of its cases ran\ncases/odd.yaml:3:5: unknown key `equashun`",
    ):
        assert text in notices
    assert page.locator(".notices").is_visible()


def test_what_changed_since_a_baseline_unfolds(tmp_path: Path, look: Look) -> None:
    answer = Section("Is it safe?", "Not safe: 1 check newly fails.", tone="bad")
    evidence = Section("Newly failing", "1 check in 1 group.", ("what", "case"), (("<b>wrong</b>", "a/b::c"),), "bad")
    sections = [asdict(answer), asdict(evidence)]
    changes = {"since": "earlier", "regressed": True, "sections": sections}
    page = look(make_page(tmp_path, [PRODUCT], [record(PRODUCT)], changes=changes))
    assert "Worse than the run in earlier" in page.locator(".notices").inner_text()
    evidence_cell = page.get_by_role("cell", name="<b>wrong</b>")
    expect(evidence_cell).to_be_hidden()
    page.get_by_text("Compared with earlier: Not safe: 1 check newly fails.").click()
    expect(evidence_cell).to_be_visible()


def test_the_page_of_a_run_without_checks_has_a_message(tmp_path: Path, look: Look) -> None:
    page = look(make_page(tmp_path, [], [], broken_case_files={"cases/odd.yaml": ["cases/odd.yaml:3:5: unknown key"]}))
    assert page.locator("#view").inner_text() == "The run has no checks."
    assert "cases/odd.yaml cannot be used" in page.locator(".notices").inner_text()


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
    ("text", "expected"),
    [
        ("rounded to bfloat16", "1 check"),  # a reason
        ("ii->i", "6 checks"),  # an equation
        ("MATRIX PRODUCT", "6 checks"),  # about
        ("sdpa", "1 check"),
        ("products.yaml::product[jax-cpu-einsum-eager-bfloat16]", "1 check"),
        ("nothing at all", "0 checks"),
    ],
)
def test_the_search_covers_all_texts(run: Path, look: Look, text: str, expected: str) -> None:
    assert count(look(run, urlencode({"q": text}))) == expected


@pytest.mark.parametrize(
    ("facet", "value", "expected"),
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
def test_every_facet_filters(run: Path, look: Look, facet: str, value: str, expected: str) -> None:
    assert count(look(run, urlencode({facet: value}))) == expected


def test_the_address_restores_the_view(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_role("button", name="torch").click()
    page.get_by_role("link", name="einsum/products", exact=True).click()
    page.locator("#q").fill("matrix product")
    page.get_by_role("button", name="pass").click()  # at once, so the text must not be lost
    expect(page.get_by_role("status")).to_have_text("5 checks")
    page.get_by_role("button", name="worst first").click()
    again = look(run, page.url.partition("#")[2])
    assert cells(again) == cells(page) != []
    assert again.locator("#trail").inner_text() == page.locator("#trail").inner_text()
    assert again.locator("#q").input_value() == "matrix product"
    assert again.get_by_role("button", name="pass").get_attribute("aria-pressed") == "true"


def test_the_back_button_restores_the_previous_view(run: Path, look: Look) -> None:
    page = look(run)
    page.get_by_role("link", name="einsum/products", exact=True).click()
    page.get_by_role("link", name="diagonal", exact=True).click()
    page.go_back()
    assert page.locator("#heading").inner_text() == "einsum/products"
    page.go_back()
    assert page.locator("#heading").inner_text() == "All cases"
