/* The grid: rows (families, the cases of a family, or the settings of a case) by backends, which unfold to devices and
   implementations.  A cell has the colour and glyph of its worst verdict and is shaded by its error ratio. */

const ROW = 34;

/* The columns for these checks, as leaves of the tree backend, device, implementation. */
function columnsOf(checks, unfolded) {
  const used = new Set(checks.map((i) => TABLE.place.of[i]));
  const tree = new Map();
  PLACES.forEach(([backend, device, implementation], place) => {
    if (!used.has(place)) return;
    const devices = tree.get(backend) ?? tree.set(backend, new Map()).get(backend);
    const places = devices.get(device) ?? devices.set(device, new Map()).get(device);
    places.set(implementation, place);
  });
  const leaves = [];
  for (const [backend, devices] of [...tree].sort(([a], [b]) => natural(a, b))) {
    const isOpen = unfolded || STATE.open.includes(backend);
    if (!isOpen) {
      leaves.push({ backend, places: [...devices.values()].flatMap((implementations) => [...implementations.values()]) });
      continue;
    }
    for (const [device, places] of devices) {
      // If there is only one device, show its implementations at once
      const deviceOpen = unfolded || devices.size === 1 || STATE.open.includes(`${backend} ${device}`);
      if (!deviceOpen) leaves.push({ backend, device, closed: true, places: [...places.values()] });
      else for (const [implementation, place] of [...places].sort(([a], [b]) => natural(a, b)))
        leaves.push({ backend, device, implementation, places: [place], closable: devices.size > 1 });
    }
  }
  return leaves;
}

/* For each row and column: counts of verdicts, the largest ratios, the worst verdict and the first check. */
function tally(checks, rowCount, rowOf, leaves) {
  const columnOf = new Map(leaves.flatMap((leaf, column) => leaf.places.map((place) => [place, column])));
  const cells = Array.from({ length: rowCount * leaves.length });
  for (const i of checks) {
    const index = rowOf(i) * leaves.length + columnOf.get(TABLE.place.of[i]);
    const cell = cells[index] ??= { counts: {}, ratio: -1, failRatio: -1, only: i, total: 0 };
    const verdict = verdictOf(i);
    cell.counts[verdict] = (cell.counts[verdict] ?? 0) + 1;
    cell.total += 1;
    // The ratio of a deviation is expected to be large and would hide how close the others are to the bound
    if (verdict === "pass") cell.ratio = Math.max(cell.ratio, RATIO[i]);
    else if (verdict === "fail") cell.failRatio = Math.max(cell.failRatio, RATIO[i]);
  }
  for (const cell of cells) if (cell) cell.worst = SEVERITY.find((verdict) => cell.counts[verdict]);
  return cells;
}

/* 0 to 1: for passes, how close to the bound on a scale of three decades; for failures, how far beyond it. */
function shadeOf(cell) {
  const clamp = (value) => Math.max(0, Math.min(1, value));
  if (cell.worst === "pass") return cell.ratio > 0 ? clamp(1 + Math.log10(cell.ratio) / 3) : 0;
  if (cell.worst === "fail") return cell.failRatio > 0 ? 0.35 + 0.65 * clamp(Math.log10(cell.failRatio) / 4) : 0.35;
  return { deviation: 0.3, error: 0.8, unsupported: 0 }[cell.worst];
}

const describeCounts = (counts) => SEVERITY.filter((verdict) => counts[verdict])
  .map((verdict) => `${formatCount(counts[verdict])} ${verdict}`).join(", ");

function cellOf(cell, link, label, row, column, isStop) {
  const place = { "data-r": row, "data-c": column, tabindex: isStop(column) ? 0 : -1 };
  if (!cell) return h("td", { role: "gridcell" }, h("span", { class: "cell empty", ...place, "aria-label": `${label}: no check` }, "·"));
  const ratio = cell.worst === "fail" ? cell.failRatio : cell.ratio;
  const isRatio = cell.worst === "pass" || cell.total === 1; // otherwise show how many checks have the worst verdict
  const text = !isRatio ? formatCount(cell.counts[cell.worst]) : ratio < 0 ? "" : formatNumber(ratio);
  const description = `${label}: ${describeCounts(cell.counts)}${ratio >= 0 ? `; largest error ratio ${formatNumber(ratio)}` : ""}`;
  const unsupported = cell.worst !== "unsupported" && cell.counts.unsupported;
  return h("td", { role: "gridcell" }, h("a", {
    class: "cell shaded", href: link(cell), "data-verdict": cell.worst, style: { "--shade": shadeOf(cell) },
    title: description, "aria-label": description, ...place,
  }, glyph(cell.worst), h("span", { class: "value" }, text),
  unsupported ? h("span", { class: "unsupported-count" }, `${DATA.glyphs.unsupported}${formatCount(unsupported)}`) : null));
}

function headsOf(leaves, unfolded, rowTitle, order) {
  const deep = leaves.some((leaf) => leaf.device), last = deep ? 3 : 1;
  const rows = Array.from({ length: last }, () => h("tr", { role: "row" }));
  rows[0].append(h("th", { class: "rowhead", role: "columnheader", scope: "col", rowspan: last }, rowTitle, " ", order));
  const toggle = (key, label, isOpen) => (unfolded ? h("span", {}, label) : h("button", {
    class: "quiet unfold", "aria-expanded": String(isOpen), "data-unfold": key,
    onclick: () => {
      adjust({ open: isOpen ? STATE.open.filter((name) => name !== key && !name.startsWith(`${key} `)) : [...STATE.open, key] });
      document.querySelector(`[data-unfold="${CSS.escape(key)}"]`)?.focus();
    },
  }, label, h("span", { class: "arrow", "aria-hidden": "true" }, isOpen ? "▾" : "▸")));
  const head = (row, content, span, depth = 1) => rows[row].append(h("th", {
    role: "columnheader", scope: span > 1 ? "colgroup" : "col", colspan: span, rowspan: depth,
  }, content));
  for (let at = 0; at < leaves.length;) {
    const { backend } = leaves[at], isOpen = Boolean(leaves[at].device);
    let end = at;
    while (end < leaves.length && leaves[end].backend === backend) end++;
    const version = h("span", { class: "version", title: versionOf(backend) }, versionOf(backend));
    head(0, [toggle(backend, backend, isOpen), version], end - at, isOpen ? 1 : last);
    while (isOpen && at < end) {
      const { device, closed, closable } = leaves[at];
      let stop = at;
      while (stop < end && leaves[stop].device === device) stop++;
      const key = `${backend} ${device}`;
      head(1, closed || closable ? toggle(key, device, !closed) : h("span", { class: "device" }, device), stop - at, closed ? 2 : 1);
      for (; at < stop; at++) if (leaves[at].implementation) head(2, h("span", { class: "implementation" }, leaves[at].implementation), 1);
    }
    at = end;
  }
  return rows;
}

/* `rows`: objects with key, label, link and optionally `aside`, a second text; `rowOf(check)`: the index of its row;
   `linkCell(row, leaf, cell)`: the address that a cell leads to. */
function grid({ title, rowTitle, rows, checks, rowOf, linkCell, unfolded = false }) {
  const leaves = columnsOf(checks, unfolded);
  const cells = tally(checks, rows.length, rowOf, leaves);
  const width = leaves.length;
  const worst = (row) => Math.min(...Array.from({ length: width }, (_, column) => {
    const cell = cells[row * width + column];
    return cell ? SEVERITY.indexOf(cell.worst) - shadeOf(cell) / 2 : SEVERITY.length;
  }));
  let order = rows.map((_, row) => row).filter((row) => worst(row) < SEVERITY.length);
  if (STATE.order === "worst") order = order.map((row) => [worst(row), row]).sort((a, b) => a[0] - b[0]).map(([, row]) => row);
  const sorting = unfolded ? null : h("button", {
    class: "small", "aria-pressed": String(STATE.order === "worst"), "data-order": true,
    onclick: () => { adjust({ order: STATE.order === "worst" ? "" : "worst" }); document.querySelector("[data-order]")?.focus(); },
  }, "worst first");

  const body = h("tbody", {});
  const { draw, focus } = rowsInView(body, order.length, ROW, (at, isStop) => {
    const row = rows[order[at]];
    const head = h("a", {
      class: "name", href: row.link, title: row.label, "data-r": at, "data-c": 0, tabindex: isStop(0) ? 0 : -1,
    }, row.label);
    return h("tr", { role: "row", "aria-rowindex": at + 2 },
      h("th", { class: "rowhead", role: "rowheader", scope: "row" }, head, row.aside ? h("code", { class: "aside", title: row.aside }, row.aside) : null),
      leaves.map((leaf, column) => cellOf(cells[order[at] * width + column], (cell) => linkCell(row, leaf, cell),
        `${row.label}, ${[leaf.backend, leaf.device, leaf.implementation].filter(Boolean).join(" ")}`, at, column + 1, isStop)));
  }, width + 1);
  const letters = Math.max(12, ...rows.map((row) => row.label.length + (row.aside ? row.aside.length * 1.2 + 3 : 0)));
  const table = h("table", {
    class: "grid", style: { "--leaves": width, "--letters": letters }, role: "grid", "aria-label": title, "aria-rowcount": order.length + 1, "aria-colcount": width + 1,
  }, h("colgroup", {}, h("col", { class: "rowhead" }), leaves.map(() => h("col"))),
  h("thead", {}, headsOf(leaves, unfolded, rowTitle, sorting)), body);
  const frame = h("div", {}, table);
  return {
    element: frame,
    draw: () => {
      // The header stays in view, unless the columns need a scroll bar of their own
      frame.classList.toggle("scroll", table.offsetWidth > frame.clientWidth);
      draw();
    },
    focusKey: (key) => {
      const at = order.findIndex((row) => rows[row].key === key);
      if (at >= 0) focus(at, 0);
      return at >= 0;
    },
  };
}
