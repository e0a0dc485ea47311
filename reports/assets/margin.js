/* How close each backend comes to its bound: the distribution of error ratios on a logarithmic scale, with the limit. */

const DECADES = [-4, 2], STEPS = 4; // the scale of every ratio on the page, and bins per decade
const BINS = [
  { from: -1, to: 0, label: "exact" }, { from: 0, to: 10 ** DECADES[0], label: `below 1e${DECADES[0]}` },
  ...Array.from({ length: (DECADES[1] - DECADES[0]) * STEPS }, (_, bin) => ({
    from: 10 ** (DECADES[0] + bin / STEPS), to: 10 ** (DECADES[0] + (bin + 1) / STEPS),
  })),
  { from: 10 ** DECADES[1], to: Infinity, label: `above 1e${DECADES[1]}` },
];
const LIMIT_BIN = 2 - DECADES[0] * STEPS; // the first bin beyond 1

function binOf(ratio) {
  if (ratio === 0) return 0;
  const step = Math.ceil((Math.log10(ratio) - DECADES[0]) * STEPS); // a bin includes its upper end: a ratio of 1 still passes
  return 1 + Math.max(0, Math.min(BINS.length - 2, step));
}

function marginView(checks) {
  const measured = checks.filter((i) => RATIO[i] >= 0);
  const leaves = columnsOf(measured, true);
  const columnOf = new Map(leaves.map((leaf, column) => [leaf.places[0], column]));
  const checksOf = leaves.map(() => []);
  for (const i of measured) checksOf[columnOf.get(TABLE.place.of[i])].push(i);
  const body = h("tbody", {});
  const { draw } = rowsInView(body, leaves.length, 96, (row, isStop) => marginRow(leaves[row], checksOf[row], row, isStop), BINS.length);
  const ticks = Array.from({ length: DECADES[1] - DECADES[0] + 1 }, (_, k) => DECADES[0] + k);
  const position = (power) => `${(100 * (2 + (power - DECADES[0]) * STEPS)) / BINS.length}%`;
  const scale = h("div", { class: "scale", "aria-hidden": "true" }, h("span", { class: "tick", style: { left: `${50 / BINS.length}%` } }, "0"),
    ticks.map((power) => h("span", { class: power === 0 ? "tick limit" : "tick", style: { left: position(power) } }, power === 0 ? "1" : `1e${power}`)));
  return {
    element: h("div", { class: "stack" },
      h("p", { class: "muted" }, "The error of each check’s worst element divided by the bound of that element. A check passes if it is at most 1, the limit drawn as a line. ",
        "Each bar links to its checks. Its height is the square root of their number, so that a single check remains visible. Recorded deviations are left out of the median, the 99 % quantile and the largest ratio."),
      h("div", { class: "scroll" }, h("table", { class: "margins", role: "grid", "aria-label": "Error ratios of each backend" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "backend"), ["checks", "median", "99 %", "largest"].map((head) => h("th", { class: "number", scope: "col" }, head)),
          h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "distribution"), scale))), body))),
    draw,
    focusKey: () => false,
  };
}

function marginRow(leaf, checks, row, isStop) {
  const bins = BINS.map(() => ({ total: 0 }));
  for (const i of checks) {
    const bin = bins[binOf(RATIO[i])], verdict = verdictOf(i);
    bin.total += 1;
    bin[verdict] = (bin[verdict] ?? 0) + 1;
  }
  const most = Math.sqrt(Math.max(...bins.map((bin) => bin.total)));
  // The ratio of a deviation is expected to be large and would hide how close the others are to the bound
  const sorted = checks.filter((i) => verdictOf(i) !== "deviation").sort((a, b) => RATIO[a] - RATIO[b]);
  const quantile = (share) => (sorted.length ? RATIO[sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]] : -1);
  const largest = sorted.at(-1);
  const label = `${leaf.backend} ${leaf.device} ${leaf.implementation}`;
  const only = { view: "checks", backend: [leaf.backend], device: [leaf.device], implementation: [leaf.implementation] };
  const bars = bins.map((bin, index) => {
    const { from, to } = BINS[index];
    const range = BINS[index].label ?? `${formatNumber(from)} to ${formatNumber(to)}`;
    const description = `${label}, error ratio ${range}: ${bin.total ? describeCounts(bin) : "no check"}`;
    const place = { "data-r": row, "data-c": index, tabindex: isStop(index) ? 0 : -1, "aria-label": description, title: description };
    if (!bin.total) return h("span", { class: "bin", ...place });
    const parts = DATA.verdicts.filter((verdict) => bin[verdict]).map((verdict) => h("span", {
      "data-verdict": verdict, class: "part", style: { height: `${(100 * Math.sqrt(bin.total) * bin[verdict]) / bin.total / most}%` },
    }));
    const edges = { from: String(from), to: to === Infinity ? "" : String(to) };
    return h("a", { class: "bin", href: linkTo({ ...only, ...edges }), ...place }, parts.reverse());
  });
  return h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, leaf.backend, h("span", { class: "muted small" }, ` ${versionOf(leaf.backend)}`), h("br"), h("span", { class: "muted" }, `${leaf.device} · ${leaf.implementation}`)),
    [formatCount(checks.length), formatNumber(quantile(0.5)), formatNumber(quantile(0.99))].map((text) => h("td", { class: "number" }, text)),
    h("td", { class: "number" }, largest === undefined ? "–" : h("a", { href: linkCheck(largest) }, formatNumber(RATIO[largest]))),
    h("td", { role: "gridcell" }, h("div", { class: "bars" }, bars, h("span", { class: "limit", "aria-hidden": "true", style: { left: `${(100 * LIMIT_BIN) / BINS.length}%` } }))));
}
