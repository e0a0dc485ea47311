/* A case: what it says, the formula of its reference, and every check of it. */

const shapeOf = (shape) => (shape.length ? shape.join(" × ") : "scalar");
const OWN_PLACE = new Set(["equation", "shapes", "sizes", "dtypes", "data", "expect"]);

/* A value as a case file writes it, on one line. */
function spelledOut(value, isInside = false) {
  if (Array.isArray(value)) return `[${value.map((each) => spelledOut(each, true)).join(", ")}]`;
  if (value === null || typeof value !== "object") return typeof value === "string" ? value : JSON.stringify(value);
  const pairs = Object.entries(value).map(([name, each]) => `${name}: ${spelledOut(each, true)}`).join(", ");
  return isInside ? `{${pairs}}` : pairs;
}

/* The mathematics, and what is written. */
function statementOf(of) {
  const { config } = of, said = (value) => h("code", {}, spelledOut(value));
  const rest = Object.entries(config).filter(([name]) => !OWN_PLACE.has(name));
  const expected = config.expect && (config.expect.error ? ["every backend refuses it: ", h("code", {}, config.expect.error)] : ["the value ", said(config.expect.value)]);
  const shapes = Object.entries(of.shapes ?? {});
  const letter = (at) => (of.names[at] ? [math(["math", ["mi", of.names[at]]]), " "] : null);
  return {
    mathematics: [
      of.formula.length ? [h("h3", {}, "Formula of the reference"), h("div", { class: "formula" }, formulaOf(of.formula)), of.notes.map((note) => h("p", { class: "muted small" }, note))] : null,
      shapes.length ? [h("h3", {}, "Shapes"), h("table", { class: "ruled" }, h("tbody", {}, shapes.map(([name, shape], at) => h("tr", {},
        h("th", { scope: "row" }, letter(at), h("code", {}, name)), h("td", { class: "number" }, shapeOf(shape))))))] : null,
    ],
    written: [
      h("h3", {}, "The case"),
      facts(
        fact("equation", config.equation === undefined ? null : h("code", { class: "equation" }, config.equation)),
        rest.map(([name, value]) => fact(name, said(value))),
        fact("inputs", `${of.data}: ${DATA.recipes[of.data]}`, config.operands || config.query ? " (where they are not literal)" : null),
        fact("dtypes", (config.dtypes ?? []).join(", ")), fact("expected", expected), fact("source", of.source)),
      h("h3", {}, "Where it stands"), copying(`${of.file}:${of.line}`, "the place of the case"),
    ],
  };
}

function caseView(of, checks) {
  const rows = SETTINGS.map(([mode, dtype, direction], setting) => ({ key: String(setting), label: `${dtype} · ${mode}${direction === "grad" ? " · grad" : ""}`, setting }));
  rows.forEach((row) => {
    const [mode, dtype, direction] = SETTINGS[row.setting];
    row.link = linkTo({ view: "checks", dtype: [dtype], mode: [mode], direction: [direction] });
  });
  const made = grid({
    title: `Checks of ${of.case}`, rowTitle: "setting", rows, checks, unfolded: true, rowOf: (i) => TABLE.setting.of[i],
    linkCell: (row, leaf, cell) => linkCheck(cell.only),
  });
  const { mathematics, written } = statementOf(of);
  return { ...made, element: h("article", { class: "stack" }, of.about ? h("p", {}, of.about) : null, made.element,
    h("div", { class: "columns even" }, h("div", { class: "stack" }, mathematics), h("div", { class: "stack" }, written))) };
}
