/* A case: its statement, the formula of its reference, and all of its checks. */

const shapeOf = (shape) => (shape.length ? shape.join(" × ") : "scalar");
const SHOWN_SEPARATELY = new Set(["equation", "shapes", "sizes", "dtypes", "data", "expect"]);

/* A value in the notation of case files, on one line. */
function toYaml(value, isInside = false) {
  if (Array.isArray(value)) return `[${value.map((item) => toYaml(item, true)).join(", ")}]`;
  if (value === null || typeof value !== "object") return typeof value === "string" ? value : JSON.stringify(value);
  const pairs = Object.entries(value).map(([name, item]) => `${name}: ${toYaml(item, true)}`).join(", ");
  return isInside ? `{${pairs}}` : pairs;
}

/* The formula and shapes of a case (`mathematics`), and its fields and position in the file (`fields`). */
function statementOf(case_) {
  const { config } = case_, codeOf = (value) => h("code", {}, toYaml(value));
  const rest = Object.entries(config).filter(([name]) => !SHOWN_SEPARATELY.has(name));
  const expected = config.expect && (config.expect.error ? ["every backend refuses it: ", h("code", {}, config.expect.error)] : ["the value ", codeOf(config.expect.value)]);
  const shapes = Object.entries(case_.shapes ?? {});
  const letter = (index) => (case_.names[index] ? [math(["math", ["mi", case_.names[index]]]), " "] : null);
  return {
    mathematics: [
      case_.formula.length ? [h("h3", {}, "Formula of the reference"), h("div", { class: "formula" }, formulaOf(case_.formula)), case_.notes.map((note) => h("p", { class: "muted small" }, note))] : null,
      shapes.length ? [h("h3", {}, "Shapes"), h("table", { class: "ruled" }, h("tbody", {}, shapes.map(([name, shape], index) => h("tr", {},
        h("th", { scope: "row" }, letter(index), h("code", {}, name)), h("td", { class: "number" }, shapeOf(shape))))))] : null,
    ],
    fields: [
      h("h3", {}, "The case"),
      facts(
        fact("equation", config.equation === undefined ? null : h("code", { class: "equation" }, config.equation)),
        rest.map(([name, value]) => fact(name, codeOf(value))),
        fact("inputs", `${case_.data}: ${DATA.recipes[case_.data]}`, config.operands || config.query ? " (for those that are not literal)" : null),
        fact("dtypes", (config.dtypes ?? []).join(", ")), fact("expected", expected), fact("source", case_.source)),
      h("h3", {}, "Location"), copyBox(`${case_.file}:${case_.line}`, "the location of the case"),
    ],
  };
}

function caseView(case_, checks) {
  const rows = SETTINGS.map(([mode, dtype, direction], setting) => ({ key: String(setting), label: `${dtype} · ${mode}${direction === "grad" ? " · grad" : ""}`, setting }));
  rows.forEach((row) => {
    const [mode, dtype, direction] = SETTINGS[row.setting];
    row.link = linkTo({ view: "checks", dtype: [dtype], mode: [mode], direction: [direction] });
  });
  const table = grid({
    title: `Checks of ${case_.case}`, rowTitle: "setting", rows, checks, unfolded: true, rowOf: (i) => TABLE.setting.of[i],
    linkCell: (row, leaf, cell) => linkCheck(cell.only),
  });
  const { mathematics, fields } = statementOf(case_);
  return { ...table, element: h("article", { class: "stack" }, case_.about ? h("p", {}, case_.about) : null, table.element,
    h("div", { class: "columns even" }, h("div", { class: "stack" }, mathematics), h("div", { class: "stack" }, fields))) };
}
