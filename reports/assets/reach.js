/* Which features of cases met in this run: a triangular table for each kind of case, drawn when it is opened. */

function reachTable(kind, table, view) {
  const cellOf = (row, column) => table.cells[(row * (row + 1)) / 2 + column];
  const body = table.features.map((feature, row) => h("tr", {},
    h("th", { scope: "row" }, feature),
    table.features.slice(0, row + 1).map((other, column) => {
      const cell = cellOf(row, column), possible = typeof cell !== "string";
      const what = row === column ? feature : `${feature} and ${other}`;
      const title = !possible ? `${what}: ${cell}` : cell[view] === null ? `${what}: not in this run` : `${what}: up to ${table.size} ${cell[view]}`;
      return h("td", { class: possible ? (cell[view] === null ? "unmet" : "met") : "impossible", title }, possible ? cell[view] ?? "·" : "–");
    })));
  const heads = table.features.map((feature) => h("th", { scope: "col" }, h("span", {}, feature)));
  return h("table", { class: "reach", "aria-label": `Features of ${kind} that meet` }, h("thead", {}, h("tr", {}, h("td", {}), heads)), h("tbody", {}, body));
}

function fillReach(details) {
  if (details.dataset.drawn) return;
  details.dataset.drawn = "true";
  for (const [kind, table] of Object.entries(DATA.reach)) {
    const place = h("div", { class: "scroll" });
    const draw = () => place.replaceChildren(reachTable(kind, table, select.selectedIndex));
    const select = h("select", { "aria-label": `Dtypes and direction of ${kind}`, onchange: draw }, table.views.map((view) => h("option", {}, view)));
    details.append(h("div", { class: "row tight" }, h("strong", {}, kind), select, h("span", { class: "muted" }, `A number is the largest ${table.size} at which both features met.`)), place);
    draw();
  }
}

document.getElementById("reach")?.addEventListener("toggle", (event) => fillReach(event.currentTarget));
