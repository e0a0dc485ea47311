/* The run's records and what is asked of them.  A check is the number of its record. */

/* The data stand last in the file, so that one that was cut off has this script to say so. */
async function unpacked() {
  if (document.readyState === "loading") await new Promise((resolve) => { addEventListener("DOMContentLoaded", resolve); });
  const letters = atob(document.getElementById("data").textContent), bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/* Without data there is nothing to go on with. */
function refuse(error) {
  const reason = typeof DecompressionStream === "undefined"
    ? "this browser cannot unpack them, for it has no DecompressionStream"
    : "they are damaged, or the file was cut off";
  document.getElementById("view").replaceChildren(h("p", { class: "notice", "data-verdict": "error", role: "alert" },
    `The data of this page cannot be read: ${reason}.  The records beside this file do not depend on it, and `,
    h("code", {}, "python -m reports page DIR"), " makes it again from them."));
  throw error;
}

const DATA = await unpacked().catch(refuse);
const CASES = DATA.cases, TABLE = DATA.tables, COUNT = DATA.columns.id.length;
const PLACES = TABLE.place.values, SETTINGS = TABLE.setting.values;
const SEVERITY = ["error", "fail", "deviation", "pass", "unsupported"]; // the worst first

/* Of each field the value that each record has. */
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

/* -1: nothing was compared.  What is no number is worse than any. */
const RATIO = Float64Array.from(COLUMN.error_ratio, (x) => (x === null ? -1 : typeof x === "number" ? x : Infinity));

/* Numbers as people read them: three digits, and powers of ten beyond four places. */
function shown(number) {
  if (number === null || number === undefined || number === -1) return "–";
  if (number === "inf" || number === Infinity) return "∞";
  if (typeof number === "string") return number;
  if (number === 0) return "0";
  const size = Math.abs(number), text = number.toPrecision(3);
  if (size >= 1e-3 && size < 1e5) return String(Number(text));
  return Number(text).toExponential().replace("e+", "e");
}
const counted = (number) => number.toLocaleString("en-US");

/* Families and their cases, in the order of their names and of their lines. */
const natural = new Intl.Collator("en", { numeric: true }).compare;
const FAMILIES = [...new Set(CASES.map(familyOf))].sort(natural);
const CASE_ORDER = CASES.map((_, index) => index).sort(
  (a, b) => natural(familyOf(CASES[a]), familyOf(CASES[b])) || CASES[a].line - CASES[b].line || natural(CASES[a].case, CASES[b].case));

/* Filters ---------------------------------------------------------------------------------------------------------- */

function valuesOf(facet) {
  const found = new Set();
  const table = Object.keys(FACETS).indexOf(facet) < 3 ? PLACES : SETTINGS;
  const at = Object.keys(FACETS).indexOf(facet) % 3;
  for (const row of table) found.add(row[at]);
  return [...found].sort(natural);
}

let texts = null; // of what many records have in common, made when somebody first searches
function searched() {
  return texts ??= Object.entries({
    case: CASES.map((each) => [each.case, each.file, each.line, each.about, each.source, each.config]),
    place: PLACES.map((place) => [...place, versionOf(place[0])]), setting: SETTINGS,
    reason: TABLE.reason.values, deviation: TABLE.deviation.values,
  }).map(([name, values]) => [values.map((value) => JSON.stringify(value).toLowerCase()), TABLE[name].of]);
}

/* The checks that the state asks for: every word of the text occurs in one of its texts or in its id. */
function chosen(state) {
  const tests = [];
  for (const [facet, of] of Object.entries({ ...FACETS, verdict: verdictOf })) {
    const wanted = new Set(state[facet]);
    if (wanted.size) tests.push((i) => wanted.has(of(i)));
  }
  if (state.from !== "" || state.to !== "") {
    const from = state.from === "" ? -1 : Number(state.from), to = state.to === "" ? Infinity : Number(state.to);
    tests.push((i) => RATIO[i] > from && RATIO[i] <= to); // the upper end is within, as 1 is of what passes
  }
  for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
    const escaped = JSON.stringify(word).slice(1, -1);
    const hits = searched().map(([values, of]) => [values.map((text) => text.includes(escaped)), of])
      .filter(([hit]) => hit.some(Boolean));
    const looksLikeId = /[[\]:-]/.test(word);
    tests.push((i) => hits.some(([hit, of]) => hit[of[i]]) ||
      verdictOf(i) === word || (looksLikeId && COLUMN.id[i].toLowerCase().includes(word)));
  }
  const found = [];
  for (let i = 0; i < COUNT; i++) if (tests.every((test) => test(i))) found.push(i);
  return found;
}

const checkWithId = (id) => COLUMN.id.indexOf(id);
