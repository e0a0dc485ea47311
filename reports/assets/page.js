/* The frame: filters at the top, one view below; the address determines which. */

const main = document.getElementById("view"), filters = document.getElementById("filters"), trail = document.getElementById("trail");
const first = document.getElementById("first-screen");

/* Filters ---------------------------------------------------------------------------------------------------------- */

function buildFilters() {
  let waiting;
  const searchNow = () => {
    clearTimeout(waiting);
    if (search.value !== STATE.q) adjust({ q: search.value });
  };
  const search = h("input", {
    type: "search", id: "q", placeholder: "Search: case, equation, reason …", "aria-label": "Search", autocomplete: "off", spellcheck: "false",
    oninput: () => { clearTimeout(waiting); waiting = setTimeout(searchNow, 120); },
    onchange: searchNow, // search at once when the field loses focus
  });
  const verdicts = DATA.verdicts.map((verdict) => h("button", {
    class: "toggle", "data-verdict": verdict, "data-toggle": verdict,
    onclick: () => adjust({ verdict: toggleValue(STATE.verdict, verdict) }),
  }, verdictChip(verdict), " ", h("span", { class: "count" })));
  const facets = Object.keys(FACETS).filter((facet) => valuesOf(facet).length > 1).map((facet) => h("details", { class: "facet", "data-facet": facet },
    h("summary", {}, facet, h("span", { class: "chosen" })),
    h("div", { class: "choices panel" }, valuesOf(facet).map((value) => h("label", {}, h("input", {
      type: "checkbox", value, onchange: () => adjust({ [facet]: toggleValue(STATE[facet], value) }),
    }), " ", value)))));
  const clear = h("button", { class: "quiet", id: "clear", onclick: () => {
    adjust({ q: "", verdict: [], from: "", to: "", ...Object.fromEntries(Object.keys(FACETS).map((facet) => [facet, []])) });
    search.focus();
  } }, "Clear");
  filters.append(search, h("div", { class: "row tight", role: "group", "aria-label": "Verdicts" }, verdicts), h("div", { class: "row tight" }, facets, clear));
  addEventListener("click", (event) => filters.querySelectorAll("details[open]").forEach((details) => { if (!details.contains(event.target)) details.open = false; }));
}

const toggleValue = (values, value) => (values.includes(value) ? values.filter((other) => other !== value) : [...values, value]);

function showFilters(checks) {
  const search = document.getElementById("q");
  if (search !== document.activeElement) search.value = STATE.q;
  const counts = {};
  for (const i of checks) counts[verdictOf(i)] = (counts[verdictOf(i)] ?? 0) + 1;
  for (const button of filters.querySelectorAll("[data-toggle]")) {
    button.setAttribute("aria-pressed", String(STATE.verdict.includes(button.dataset.toggle)));
    button.querySelector(".count").textContent = formatCount(counts[button.dataset.toggle] ?? 0);
  }
  for (const facet of filters.querySelectorAll("[data-facet]")) {
    const values = STATE[facet.dataset.facet];
    facet.querySelector(".chosen").textContent = values.length ? `: ${values.join(", ")}` : "";
    facet.querySelectorAll("input").forEach((box) => { box.checked = values.includes(box.value); });
  }
  const narrowed = STATE.q || STATE.verdict.length || STATE.from || STATE.to || Object.keys(FACETS).some((facet) => STATE[facet].length);
  document.getElementById("clear").hidden = !narrowed;
}

/* Views ------------------------------------------------------------------------------------------------------------ */

const makeLink = (text, href) => h("a", { href }, text);

function showTrail(parts, count) {
  const steps = [makeLink("All cases", linkAt("")), ...parts];
  const last = steps.pop();
  trail.replaceChildren(
    h("div", { class: "row" }, h("nav", { "aria-label": "Path", class: "path" }, steps.map((step) => [step, h("span", { class: "muted", "aria-hidden": "true" }, " / ")]),
      h("h2", { tabindex: -1, id: "heading" }, last.textContent)),
    STATE.check ? null : h("span", { class: "muted", role: "status" }, count === 1 ? "1 check" : `${formatCount(count)} checks`),
    STATE.check ? null : h("nav", { class: "push row tight", "aria-label": "Views" }, [["", "Grid"], ["checks", "Checks"], ["margin", "Distance to the bound"]].map(([view, label]) =>
      h("a", { class: "quiet tab", href: linkTo({ view, from: "", to: "" }), "aria-current": STATE.view === view ? "page" : null }, label)))));
}

const isWithin = (at) => (i) => caseOf(i).case === at || familyOf(caseOf(i)) === at;

function view(checks) {
  if (STATE.view === "checks") return checksView(checks);
  if (STATE.view === "margin") return marginView(checks);
  const case_ = CASES.find((candidate) => candidate.case === STATE.at);
  if (case_) return caseView(case_, checks);
  const openCase = (row, leaf, cell) => (cell.total === 1 ? linkCheck(cell.only) : row.link);
  if (STATE.at) {
    const rank = new Map(CASE_ORDER.filter((index) => familyOf(CASES[index]) === STATE.at).map((index, row) => [index, row]));
    const rows = [...rank.keys()].map((index) => ({
      key: CASES[index].case, label: nameOf(CASES[index]), aside: CASES[index].config.equation, link: linkAt(CASES[index].case),
    }));
    return grid({ title: `Cases of ${STATE.at} by backend`, rowTitle: "case", rows, checks, rowOf: (i) => rank.get(TABLE.case.of[i]), linkCell: openCase });
  }
  const familyRow = new Map(FAMILIES.map((family, row) => [family, row]));
  const rowOfCase = CASES.map((case_) => familyRow.get(familyOf(case_)));
  return grid({
    title: "Case families by backend", rowTitle: "family", checks, rowOf: (i) => rowOfCase[TABLE.case.of[i]],
    rows: FAMILIES.map((family) => ({ key: family, label: family, link: linkAt(family) })), linkCell: openCase,
  });
}

let focusKey = () => false;

function render() {
  drawers = [];
  focusKey = () => false;
  const i = STATE.check ? checkWithId(STATE.check) : -1;
  const ofAnyVerdict = selectChecks({ ...STATE, verdict: [] }).filter(STATE.at ? isWithin(STATE.at) : () => true);
  const checks = STATE.verdict.length ? ofAnyVerdict.filter((check) => STATE.verdict.includes(verdictOf(check))) : ofAnyVerdict;
  const [family] = STATE.at.split("::");
  const steps = STATE.at ? [makeLink(family, linkAt(family))] : [];
  if (STATE.at.includes("::")) steps.push(makeLink(STATE.at.slice(family.length + 2), linkAt(STATE.at)));
  if (STATE.check) steps.push(h("span", {}, i < 0 ? "unknown check" : placeAndSetting(i)));
  showTrail(steps, checks.length);
  showFilters(ofAnyVerdict);
  filters.hidden = Boolean(STATE.check);
  first.hidden = Boolean(STATE.at || STATE.check || STATE.view);
  document.title = [steps.at(-1)?.textContent, "Conformance"].filter(Boolean).join(" · ");
  if (STATE.check) {
    main.replaceChildren(i < 0 ? h("p", {}, "This run has no such check: ", h("code", {}, STATE.check)) : checkView(i));
  } else if (!checks.length) {
    main.replaceChildren(h("p", { class: "muted" }, COUNT ? "No check matches these filters." : "The run has no checks."));
  } else {
    const currentView = view(checks);
    main.replaceChildren(currentView.element);
    currentView.draw();
    focusKey = currentView.focusKey;
  }
}

/* After navigation, focus the heading; when going up, focus the row of the previous place instead. */
function follow() {
  const before = STATE;
  STATE = readState();
  render();
  if (linkTo({}, before) === linkTo({})) return;
  scrollTo(0, 0);
  const child = [before.check, before.at, before.at.split("::")[0]].find((key) => key && key !== STATE.at && focusKey(key));
  if (!child) document.getElementById("heading").focus({ preventScroll: true });
}

addEventListener("hashchange", follow);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(event.target.tagName)) {
    event.preventDefault();
    document.getElementById("q").focus();
  }
  if (event.key !== "Escape") return;
  const open = filters.querySelector("details[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  } else if (event.target.id === "q" && event.target.value) {
    event.target.value = "";
    adjust({ q: "" });
  } else if (parentOf(STATE)) location.hash = linkTo(parentOf(STATE));
});

buildFilters();
const bar = document.querySelector(".bar");
new ResizeObserver(() => {
  const isSticky = getComputedStyle(bar).position === "sticky";
  document.documentElement.style.setProperty("--bar", isSticky && !filters.hidden ? `${bar.offsetHeight}px` : "0px");
}).observe(bar);
render();
