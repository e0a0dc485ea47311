/* The run's records, and queries on them.  A check is represented by the index of its record. */

/* The data come last in the file, so that a page that was cut off still has this script to report it. */
async function unpack() {
  if (document.readyState === "loading") await new Promise((resolve) => { addEventListener("DOMContentLoaded", resolve); });
  const letters = atob(document.getElementById("data").textContent), bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index++) bytes[index] = letters.charCodeAt(index);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/* Show why the data cannot be read, and stop. */
function refuse(error) {
  const reason = typeof DecompressionStream === "undefined"
    ? "this browser cannot unpack them, because it has no DecompressionStream"
    : "they are damaged, or the file was cut off";
  document.getElementById("view").replaceChildren(h("p", { class: "notice", "data-verdict": "error", role: "alert" },
    `The data of this page cannot be read: ${reason}.  The records next to this file are not affected, and `,
    h("code", {}, "python -m reports page DIR"), " writes the page again from them."));
  throw error;
}

const DATA = await unpack().catch(refuse);
const CASES = DATA.cases, TABLE = DATA.tables, COUNT = DATA.columns.id.length;
const PLACES = TABLE.place.values, SETTINGS = TABLE.setting.values;
const SEVERITY = ["error", "fail", "deviation", "pass", "unsupported"]; // the worst first

/* For each field, its value in each record. */
const COLUMN = { ...DATA.columns };
for (const [name, { values, of }] of Object.entries(TABLE)) COLUMN[name] = of.map((place) => values[place]);

const FACETS = {
  backend: (i) => COLUMN.place[i][0], device: (i) => COLUMN.place[i][1], implementation: (i) => COLUMN.place[i][2],
  mode: (i) => COLUMN.setting[i][0], dtype: (i) => COLUMN.setting[i][1], direction: (i) => COLUMN.setting[i][2],
};

const verdictOf = (i) => COLUMN.verdict[i];
const caseOf = (i) => CASES[TABLE.case.of[i]];
const familyOf = (case_) => case_.case.split("::")[0];
const nameOf = (case_) => case_.case.slice(familyOf(case_).length + 2);
const versionOf = (backend) => DATA.versions[backend] ?? "";

/* -1: nothing was compared.  NaN and infinity count as the worst. */
const RATIO = Float64Array.from(COLUMN.error_ratio, (x) => (x === null ? -1 : typeof x === "number" ? x : Infinity));

/* A number for people: three digits, with an exponent if it is very small or large. */
function formatNumber(number) {
  if (number === null || number === undefined || number === -1) return "–";
  if (number === "inf" || number === Infinity) return "∞";
  if (typeof number === "string") return number;
  if (number === 0) return "0";
  const size = Math.abs(number), text = number.toPrecision(3);
  if (size >= 1e-3 && size < 1e5) return String(Number(text));
  return Number(text).toExponential().replace("e+", "e");
}
const formatCount = (number) => number.toLocaleString("en-US");

/* Families in the order of their names, and their cases in the order of their lines. */
const natural = new Intl.Collator("en", { numeric: true }).compare;
const FAMILIES = [...new Set(CASES.map(familyOf))].sort(natural);
const CASE_ORDER = CASES.map((_, index) => index).sort(
  (a, b) => natural(familyOf(CASES[a]), familyOf(CASES[b])) || CASES[a].line - CASES[b].line || natural(CASES[a].case, CASES[b].case));

/* Filters ---------------------------------------------------------------------------------------------------------- */

function valuesOf(facet) {
  const table = Object.keys(FACETS).indexOf(facet) < 3 ? PLACES : SETTINGS;
  const column = Object.keys(FACETS).indexOf(facet) % 3;
  return [...new Set(table.map((row) => row[column]))].sort(natural);
}

let texts = null; // the texts shared by many records, built at the first search
function searchTexts() {
  return texts ??= Object.entries({
    case: CASES.map((case_) => [case_.case, case_.file, case_.line, case_.about, case_.source, case_.config]),
    place: PLACES.map((place) => [...place, versionOf(place[0])]), setting: SETTINGS,
    reason: TABLE.reason.values, deviation: TABLE.deviation.values,
  }).map(([name, values]) => [values.map((value) => JSON.stringify(value).toLowerCase()), TABLE[name].of]);
}

/* The checks selected by the state; every word of the search occurs in one of a check's texts or in its id. */
function selectChecks(state) {
  const tests = [];
  for (const [facet, valueOf] of Object.entries({ ...FACETS, verdict: verdictOf })) {
    const selected = new Set(state[facet]);
    if (selected.size) tests.push((i) => selected.has(valueOf(i)));
  }
  if (state.from !== "" || state.to !== "") {
    const from = state.from === "" ? -1 : Number(state.from), to = state.to === "" ? Infinity : Number(state.to);
    tests.push((i) => RATIO[i] > from && RATIO[i] <= to); // the upper end is included, because a ratio of 1 passes
  }
  for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
    const escaped = JSON.stringify(word).slice(1, -1);
    const hits = searchTexts().map(([values, of]) => [values.map((text) => text.includes(escaped)), of])
      .filter(([hit]) => hit.some(Boolean));
    const looksLikeId = /[[\]:-]/.test(word);
    tests.push((i) => hits.some(([hit, of]) => hit[of[i]]) ||
      verdictOf(i) === word || (looksLikeId && COLUMN.id[i].toLowerCase().includes(word)));
  }
  const checks = [];
  for (let i = 0; i < COUNT; i++) if (tests.every((test) => test(i))) checks.push(i);
  return checks;
}

const checkWithId = (id) => COLUMN.id.indexOf(id);
