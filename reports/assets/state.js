/* What is looked at, all of it in the address: a view can be sent to somebody as its link. */

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

/* Elsewhere in the run, under the same filters. */
const linkAt = (at, more = {}) => linkTo({ view: "", at, check: "", from: "", to: "", ...more });
const linkCheck = (i) => linkTo({ at: caseOf(i).case, check: COLUMN.id[i] });

let STATE = readState();

/* A narrower or differently shown view of the same thing: no step to go back to. */
function adjust(changes) {
  history.replaceState(null, "", linkTo(changes) === "#" ? "#" : linkTo(changes));
  STATE = readState();
  render();
}

/* One step up: check, case, family, everything; then out of the other views. */
function above(state) {
  if (state.check) return { check: "" };
  if (state.view) return { view: "", from: "", to: "" };
  if (state.at.includes("::")) return { at: state.at.split("::")[0] };
  return state.at ? { at: "" } : null;
}
