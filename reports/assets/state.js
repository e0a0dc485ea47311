/* The state of the view, all of it in the address, so that a view can be shared as a link. */

const SINGLE = ["view", "at", "check", "q", "sort", "order", "from", "to"];
const SEVERAL = [...Object.keys(FACETS), "verdict", "open"];

function readState() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries([
    ...SINGLE.map((name) => [name, parameters.get(name) ?? ""]),
    ...SEVERAL.map((name) => [name, parameters.getAll(name)]),
  ]);
}

function linkTo(changes, state = STATE) {
  const parameters = new URLSearchParams(), changed = { ...state, ...changes };
  for (const name of SINGLE) if (changed[name]) parameters.set(name, changed[name]);
  for (const name of SEVERAL) for (const value of changed[name]) parameters.append(name, value);
  return `#${parameters}`;
}

/* Another place in the run, with the same filters. */
const linkAt = (at, more = {}) => linkTo({ view: "", at, check: "", from: "", to: "", ...more });
const linkCheck = (i) => linkTo({ at: caseOf(i).case, check: COLUMN.id[i] });

let STATE = readState();

/* Change filters or presentation of the same place, without a new entry in the history. */
function adjust(changes) {
  history.replaceState(null, "", linkTo(changes) === "#" ? "#" : linkTo(changes));
  STATE = readState();
  render();
}

/* One step up: out of a check, then out of the other views, then from case to family to everything. */
function parentOf(state) {
  if (state.check) return { check: "" };
  if (state.view) return { view: "", from: "", to: "" };
  if (state.at.includes("::")) return { at: state.at.split("::")[0] };
  return state.at ? { at: "" } : null;
}
