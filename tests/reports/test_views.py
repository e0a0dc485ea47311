"""Files made from a run: columns for the page, the summary, annotations and the badge."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import views
from reports.__main__ import main
from reports.annotations import MOST, annotate_failures, format_error
from reports.badge import render_badge
from reports.html import pack
from reports.markdown import LARGEST, code, render_summary
from reports.notices import collect_notices
from reports.page import render_page
from reports.read import Run, read
from specs.verdict.record import Record
from tests.support import runs
from tests.support.pages import read_data
from tests.support.runs import case, finding, record, write_run

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=alert(1)> `|@somebody <!-- ]]> &amp; \u2028"

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(*records: Record, **facts: Any) -> Run:
        """A run of these records of `product`."""
        return read(write_run(tmp_path / "run", [case()], records, facts))

    return make


def failing(backend: str = "torch", **rest: Any) -> Record:
    return record(case(), backend, "fail", 5677.0, **{"reason": "15 of 15 values are outside", **rest})


# The page as a file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [HOSTILE, "<!--<script>", "&lt;/script&gt;", "\ud800"])
def test_data_cannot_leave_their_block(text: str) -> None:
    block = pack({text: [text]})
    assert re.fullmatch("[A-Za-z0-9+/]+=*", block)
    assert json.loads(gzip.decompress(base64.b64decode(block))) == {text: [text]}


def test_a_page_made_again_is_the_same(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(record(case()), failing())
    texts = []
    for now in (1e9, 2e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        texts.append(render_page(run, list(run.records())))
    assert texts[0] == texts[1]


def test_the_page_has_the_ids_and_commands_of_its_records(fifty_thousand: Path) -> None:
    columns = read_data(fifty_thousand)["columns"]
    records = list(read(fifty_thousand).records())
    for name in ("id", "again"):
        assert columns[name] == [record[name] for record in records]


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_the_page_is_one_file_that_fetches_nothing(make_run: MakeRun) -> None:
    run = make_run(record(case()))
    assert views.write(run.folder) == {}
    tags = Tags((run.folder / "index.html").read_text()).elements
    fetched = [
        (tag, value) for tag, attributes in tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert fetched == [("link", "data:,")]
    policy = next(
        attributes["content"] for tag, attributes in tags if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_hostile_text_makes_no_element(make_run: MakeRun) -> None:
    harmless = make_run(
        failing(), backends={name: finding(name) for name in runs.BACKENDS} | {"x": finding("x", "r", "n")}
    )
    views.write(harmless.folder)
    tags = [tag for tag, _ in Tags((harmless.folder / "index.html").read_text()).elements]
    backends = {name: finding(name) for name in runs.BACKENDS} | {"x": finding("x", HOSTILE, HOSTILE)}
    hostile = make_run(failing(reason=HOSTILE), backends=backends)
    views.write(hostile.folder)
    assert [tag for tag, _ in Tags((hostile.folder / "index.html").read_text()).elements] == tags


def test_fifty_thousand_records_are_a_page_of_some_megabytes(fifty_thousand: Path) -> None:
    records, index = ((fifty_thousand / name).stat().st_size for name in ("records.jsonl", "index.html"))
    assert index < records / 12
    assert index < 4_000_000


def test_a_view_that_cannot_be_written_leaves_the_others(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(record(case()))
    assert views.write(run.folder) == {}
    (run.folder / "cases.jsonl").write_text("")
    assert main(["page", str(run.folder)]) == 1
    captured = capsys.readouterr()
    assert "index.html: " in captured.err
    assert "the run has no statement of the case einsum/products::product" in captured.err
    assert not (run.folder / "index.html").exists()
    assert (run.folder / "badge.json").exists()


def test_the_page_can_be_made_again(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(record(case()))
    assert main(["page", str(run.folder)]) == 0
    assert [line.rpartition("/")[2] for line in capsys.readouterr().out.splitlines()] == [
        "index.html: written",
        "summary.md: written",
        "badge.json: written",
    ]


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["page", str(tmp_path)])
    assert "holds no run: there is no run.json in it" in capsys.readouterr().err


# What did not run -----------------------------------------------------------------------------------------------------


def test_everything_that_did_not_run_has_a_notice(make_run: MakeRun) -> None:
    run = make_run(
        record(case()),
        complete=False,
        backends={
            "numpy": finding("numpy"),
            "absent": finding("absent", "not installed", "pip install absent"),
            "broken": finding("broken", "libbroken.so: undefined symbol"),
            "idle": finding("idle"),
        },
        unmet={"broken": "libbroken.so: undefined symbol"},
        broken_case_files={"cases/broken.yaml": ["cases/broken.yaml:3:13: unknown key"]},
        stale_deviations=["numpy.yaml:1 records `nan`, which no check of this run showed"],
        selection={"paths": ["cases"], "dtype": ["bfloat16"], "keyword": "mask", "adapter": ["mine.py"]},
    )
    by_title = {notice.title: (notice.lines, notice.severe) for notice in collect_notices(run, {"numpy"})}
    assert list(by_title) == [
        "The run is not complete",
        "broken had to run and could not",
        "cases/broken.yaml cannot be used, so none of its cases ran",
        "A recorded deviation is stale",
        "absent did not run",
        "idle did not run",
        "Only part of the suite was requested",
    ]
    assert by_title["absent did not run"] == (["not installed", "pip install absent"], False)
    assert by_title["idle did not run"] == (["the run ended before its first check had"], False)
    assert by_title["Only part of the suite was requested"] == (["dtype: bfloat16", "keyword: mask"], False)
    assert by_title["broken had to run and could not"][1]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"complete": False, "exit_status": None}, "the run ended before its first check had"),
        ({"complete": False, "exit_status": 5}, "nothing that was selected runs on it"),
        ({"selection": {"keyword": "mask"}}, "nothing that was selected runs on it"),
        ({"selection": {"backend": ["idle"]}}, "nothing that was selected runs on it"),
        ({"selection": {"backend": ["numpy"]}}, "it was not requested"),
    ],
)
def test_a_backend_without_results_is_said_to_be_what_it_is(make_run: MakeRun, facts: dict, reason: str) -> None:
    run = make_run(record(case()), backends={"numpy": finding("numpy"), "idle": finding("idle")}, **facts)
    assert [notice.lines for notice in collect_notices(run, {"numpy"}) if "idle" in notice.title] == [[reason]]


def test_a_whole_run_has_no_notices(make_run: MakeRun) -> None:
    assert list(collect_notices(make_run(record(case())), set(runs.BACKENDS))) == []


# The summary ----------------------------------------------------------------------------------------------------------


def test_the_summary_begins_with_what_failed(make_run: MakeRun) -> None:
    deviation = {"reason": "Known.", "grade": "choice", "link": "https://example.org/1", "place": "jax.yaml:1"}
    deviating = record(case(), "jax", "deviation", None, reason="Known.", deviation=deviation)
    crashed = record(case(), "jax", "error", None, reason="its worker process died", mode="jit")
    run = make_run(record(case()), deviating, crashed, failing())
    text = render_summary(run, list(run.records()))
    assert text.startswith("# ✕ Conformance: 1 pass, 1 deviation, 0 unsupported, 1 fail, 1 error\n")
    titles = ["## Failures (1)", "## Errors (1)", "| backend | version |", "<summary>Deviations (1)</summary>"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert "expected `-0.3960679153513782`, got `-0.39019012451171875`, bound `1.03e-06`, ratio 5677" in text
    assert "`pytest 'cases/einsum/products.yaml::product[torch-cpu-einsum-eager-float64]'`" in text
    assert "| `torch` | `2.13.0` | `cpu` | 0 | 0 | 0 | 1 | 0 |" in text
    assert "- 1 × `jax`, `choice`, `https://example.org/1`: `Known.`" in text


def test_a_summary_stays_below_the_limit_and_counts_what_is_left_out(make_run: MakeRun) -> None:
    run = make_run(*(failing(dtype=f"d{number}", reason="x" * 5000 + str(number)) for number in range(5000)))
    records = list(run.records())
    for limit in (LARGEST, 20_000):
        text = render_summary(run, records, limit)
        assert len(text.encode()) <= limit
        listed = text.count(" on `torch ")
        assert 5 < listed < 5000
        assert f"- … and {5000 - listed:,} more with fail" in text
        assert "| `torch` |" in text
    assert render_summary(run, records, 100) == ""


@pytest.mark.parametrize("text", [HOSTILE, "`", "``", "a\nb", "[x](javascript:1)", "|a|"])
def test_untrusted_text_becomes_code(text: str) -> None:
    span = code(text)
    fence = re.match("`+", span)
    assert fence
    assert span.endswith(fence[0])
    assert fence[0] not in re.findall("`+", span[len(fence[0]) : -len(fence[0])])
    assert "\n" not in span
    assert not re.search(r"(?<!\\)\|", span)


# Annotations ----------------------------------------------------------------------------------------------------------


def test_an_annotation_is_escaped_as_github_does() -> None:
    assert format_error("50%\r\nof a,b:c", file="a,b:c%.yaml", line=3, title="x\n::error::y") == (
        "::error file=a%2Cb%3Ac%25.yaml,line=3,title=x%0A%3A%3Aerror%3A%3Ay::50%25%0D%0Aof a,b:c"
    )


def test_a_failing_case_is_annotated_once_at_its_line(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(record(case()), failing(), failing("jax", reason="other"))
    (line,) = annotate_failures(run, tmp_path)
    assert line.startswith(
        "::error file=cases/einsum/products.yaml,line=5,title=einsum/products%3A%3Aproduct::torch cpu "
    )
    assert "fail: 15 of 15 values are outside%0A2 checks of this case fail%0Apytest 'cases" in line


def test_paths_start_from_the_repository(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    broken = {"cases/broken.yaml": ["cases/broken.yaml:3:13: unknown key: `a`", "cases/broken.yaml:4:1: more"]}
    (line,) = annotate_failures(make_run(record(case()), broken_case_files=broken), tmp_path / "suite")
    assert line == (
        "::error file=suite/cases/broken.yaml,line=3,col=13,title=broken case file::"
        "unknown key: `a` (and 1 more problems)"
    )


def test_many_annotations_are_counted(tmp_path: Path) -> None:
    cases = [case(f"einsum/products::case_{number}", number + 1) for number in range(40)]
    folder = write_run(
        tmp_path, cases, [record(failing_case, verdict="error", ratio=None, reason="crash") for failing_case in cases]
    )
    lines = annotate_failures(read(folder), tmp_path)
    assert len(lines) == MOST
    assert lines[-1] == "::error title=and more::31 more cases or files fail; the summary has them"


# The badge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "facts", "message", "colour"),
    [
        ([record(case())], {}, "1 pass", "brightgreen"),
        ([record(case()), failing()], {"exit_status": 1}, "1 fail, 1 pass", "red"),
        ([record(case())], {"exit_status": 1}, "1 pass", "red"),
        ([record(case())], {"complete": False, "exit_status": None}, "incomplete, 1 pass", "lightgrey"),
        ([record(case(), verdict="error", ratio=None)], {"exit_status": 1}, "1 error, 0 pass", "red"),
        ([record(case(), verdict="unsupported", ratio=None)], {}, "nothing computed, 0 pass", "red"),
    ],
)
def test_the_badge(make_run: MakeRun, records: list[Record], facts: dict, message: str, colour: str) -> None:
    run = make_run(*records, **facts)
    content = json.loads(render_badge(run, list(run.records())))
    assert content["schemaVersion"] == 1
    assert (content["label"], content["message"], content["color"]) == ("conformance", message, colour)
    assert content["isError"] == (colour == "red")
