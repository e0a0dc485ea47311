/* The records, by columns (`reports.columns`), and what is asked of them. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLUMN = DATA.columns, CASES = DATA.cases, PLACES = DATA.places, SETTINGS = DATA.settings;
const SEVERITY = ["error", "fail", "deviation", "pass", "unsupported"]; // the worst first
const FACETS = {
  backend: (i) => PLACES[COLUMN.place[i]][0], device: (i) => PLACES[COLUMN.place[i]][1],
  implementation: (i) => PLACES[COLUMN.place[i]][2], mode: (i) => SETTINGS[COLUMN.setting[i]][0],
  dtype: (i) => SETTINGS[COLUMN.setting[i]][1], direction: (i) => SETTINGS[COLUMN.setting[i]][2],
};

const verdictOf = (i) => DATA.verdicts[COLUMN.verdict[i]];
const caseOf = (i) => CASES[COLUMN.case[i]];
const familyOf = (case_) => case_.case.split("::")[0];
const nameOf = (case_) => case_.case.slice(familyOf(case_).length + 2);
const versionOf = (backend) => DATA.versions[backend] ?? "";

/* -1: nothing was compared.  What is no number is worse than any. */
const RATIO = Float64Array.from(COLUMN.ratio, (x) => (x === null ? -1 : typeof x === "number" ? x : Infinity));

function idOf(i) {
  if (DATA.odd_ids[i]) return DATA.odd_ids[i];
  const [mode, dtype, direction] = SETTINGS[COLUMN.setting[i]], of = caseOf(i);
  const parts = [...PLACES[COLUMN.place[i]], mode, dtype, ...(direction === "grad" ? ["grad"] : [])];
  return `${of.file}::${nameOf(of)}[${parts.join("-")}]`;
}

/* As Python's shlex.quote. */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
const againOf = (i) => DATA.commands[COLUMN.command[i]].join(quoted(idOf(i)));

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

const lower = (values) => values.map((value) => JSON.stringify(value).toLowerCase());
let texts = null; // of the tables, made when somebody first searches
function searched() {
  return texts ??= {
    case: lower(CASES.map((each) => [each.case, each.file, each.line, each.about, each.source, each.config])),
    place: lower(PLACES.map((place) => [...place, versionOf(place[0])])), setting: lower(SETTINGS),
    reason: lower(DATA.reasons), deviation: lower(DATA.deviations),
  };
}

/* The checks that the state asks for: every word of the text occurs in one of its texts or in its id. */
function chosen(state) {
  const tests = [];
  for (const [facet, of] of Object.entries(FACETS)) {
    const wanted = new Set(state[facet]);
    if (wanted.size) tests.push((i) => wanted.has(of(i)));
  }
  if (state.verdict.length) {
    const wanted = DATA.verdicts.map((verdict) => state.verdict.includes(verdict));
    tests.push((i) => wanted[COLUMN.verdict[i]]);
  }
  if (state.from !== "" || state.to !== "") {
    const from = state.from === "" ? -1 : Number(state.from), to = state.to === "" ? Infinity : Number(state.to);
    tests.push((i) => RATIO[i] > from && RATIO[i] <= to); // the upper end is within, as 1 is of what passes
  }
  for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
    const hits = {};
    const escaped = JSON.stringify(word).slice(1, -1);
    for (const [column, all] of Object.entries(searched())) hits[column] = all.map((text) => text.includes(escaped));
    const columns = Object.entries(hits).filter(([, each]) => each.some(Boolean));
    const looksLikeId = /[[\]:-]/.test(word);
    tests.push((i) => columns.some(([column, each]) => each[COLUMN[column][i]]) ||
      verdictOf(i) === word || (looksLikeId && idOf(i).toLowerCase().includes(word)));
  }
  const found = [];
  for (let i = 0; i < DATA.count; i++) if (tests.every((test) => test(i))) found.push(i);
  return found;
}

function checkWithId(id) {
  for (let i = 0; i < DATA.count; i++) if (idOf(i) === id) return i;
  return -1;
}
