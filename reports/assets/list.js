/* The list of checks, two lines each; only the rows in view are created. */

const CHECK_ROW = 54;
const SORTS = {
  "": ["worst first", (a, b) => severityOf(a) - severityOf(b) || RATIO[b] - RATIO[a] || a - b],
  ratio: ["by error ratio", (a, b) => RATIO[b] - RATIO[a] || a - b],
  slowest: ["slowest first", (a, b) => COLUMN.seconds[b] - COLUMN.seconds[a] || a - b],
  case: ["by case", (a, b) => CASE_RANK[TABLE.case.of[a]] - CASE_RANK[TABLE.case.of[b]] || a - b],
};
const CASE_RANK = [];
CASE_ORDER.forEach((index, rank) => { CASE_RANK[index] = rank; });
const severityOf = (i) => SEVERITY.indexOf(verdictOf(i));

function placeAndSetting(i) {
  const [backend, ...rest] = COLUMN.place[i];
  return [`${backend} ${versionOf(backend)}`.trim(), ...rest, ...COLUMN.setting[i]].join(" · ");
}

function checkRow(i, row, isStop) {
  const verdict = verdictOf(i), reason = COLUMN.reason[i];
  const number = STATE.sort === "slowest" ? `${formatNumber(COLUMN.seconds[i])} s` : formatNumber(RATIO[i]);
  return h("li", { style: { height: `${CHECK_ROW}px` } }, h("a", {
    class: "check", href: linkCheck(i), "data-r": row, "data-c": 0, "data-verdict": verdict, tabindex: isStop(0) ? 0 : -1,
  },
  verdictChip(verdict),
  h("span", { class: "case" }, caseOf(i).case), h("span", { class: "number" }, number),
  h("span", { class: "on muted small" }, placeAndSetting(i), reason ? h("span", { class: "reason" }, ` — ${reason}`) : null)));
}

function checksView(checks) {
  const sorted = [...checks].sort((SORTS[STATE.sort] ?? SORTS[""])[1]);
  const body = h("ol", { class: "plain checks", role: "list", "aria-label": "Checks" });
  const { draw, focus } = rowsInView(body, sorted.length, CHECK_ROW, (row, isStop) => checkRow(sorted[row], row, isStop));
  const sorting = h("label", {}, "Order: ", h("select", { id: "sort", onchange: (event) => {
    adjust({ sort: event.target.value });
    document.getElementById("sort").focus();
  } }, Object.entries(SORTS).map(([key, [label]]) => h("option", { value: key, selected: key === STATE.sort }, label))));
  const upTo = STATE.to === "" ? "" : ` up to ${formatNumber(Number(STATE.to))}`, above = Number(STATE.from) >= 0 && STATE.from !== "" ? ` above ${formatNumber(Number(STATE.from))}` : "";
  const range = above + upTo === "" ? null : h("span", {}, `error ratio${above}${upTo} `,
    h("button", { class: "quiet", onclick: () => adjust({ from: "", to: "" }) }, "any"));
  const legend = STATE.sort === "slowest" ? "seconds" : "error ratio";
  return {
    element: h("div", { class: "stack" }, h("div", { class: "row" }, sorting, range, h("span", { class: "muted small push" }, legend)), body),
    draw,
    focusKey: (key) => {
      const at = sorted.findIndex((i) => COLUMN.id[i] === key);
      if (at >= 0) focus(at, 0);
      return at >= 0;
    },
  };
}
