/* One check: what was found, how the other backends did, and how to run it again. */

const fact = (name, ...value) => (value.flat().every((each) => each === null || each === undefined || each === "")
  ? null : [h("dt", {}, name), h("dd", {}, value)]);
const facts = (...pairs) => h("dl", { class: "facts" }, pairs);

/* Only an address of the web is a link; anything else is text. */
const linkOrText = (text) => (/^https?:\/\//.test(text) ? h("a", { href: text, rel: "noreferrer" }, text) : text);

/* Two numbers one below the other, with what differs set off. */
function differing(expected, got) {
  let same = 0;
  while (same < expected.length && expected[same] === got[same]) same++;
  const marked = (text) => [text.slice(0, same), h("span", { class: "differs" }, text.slice(same))];
  return [["expected", expected], ["got", got]].map(([name, text]) => fact(name, h("code", {}, marked(text))));
}

function worstElement(i) {
  const worst = COLUMN.worst[i], ratio = COLUMN.error_ratio[i], ulp = COLUMN.max_ulp[i], abs = COLUMN.max_abs[i];
  const numbers = worst === null ? [] : [
    fact("element", h("code", {}, `[${worst.index.join(", ")}]`), gradientOf(i)),
    ...differing(worst.expected, worst.got), fact("bound", h("code", {}, worst.bound)),
  ];
  const times = ratio === null ? null : `${shown(ratio)} ${RATIO[i] <= 1 ? "of the bound" : "times the bound"}`;
  const rows = [...numbers, fact("error ratio", times), fact("ULPs", ulp === null ? null : `${shown(ulp)} at most`),
    fact("absolute error", abs === null ? null : `${shown(abs)} at most`)].filter(Boolean);
  return rows.length ? [h("h3", {}, "Worst element"), facts(...rows)] : null;
}

/* What only all elements show: nothing where errors are not known to average out. */
function allElements(i) {
  const rms = COLUMN.rms[i], bias = COLUMN.bias[i];
  return rms === null ? null : [h("h3", {}, "All elements"), facts(
    fact("RMS error", `${shown(rms)} times the deviation of correct arithmetic`), fact("bias", h("code", {}, String(bias))))];
}

function gradientOf(i) {
  const operand = COLUMN.bound[i].gradient_of;
  return operand ? ` of the gradient of ${operand}` : null;
}

/* Why a check proves little, and what its case says to that. */
function weaknessOf(i) {
  const weak = COLUMN.weak[i];
  return weak && `${weak.reason} (${weak.mark || "its case does not say why it is worth having"})`;
}

/* What is recorded of a deviation, its reason being that of the check. */
function deviationOf(i) {
  const deviation = COLUMN.deviation[i];
  return deviation && facts(
    fact("grade", deviation.grade), fact("observed", h("code", {}, spelledOut(deviation.observed))),
    fact("versions", deviation.versions ? h("code", {}, spelledOut(deviation.versions)) : null),
    fact("link", deviation.link ? linkOrText(deviation.link) : null), fact("recorded in", h("code", {}, deviation.place)));
}

function boundOf(i) {
  const { precision, gradient_of: _, ...rest } = COLUMN.bound[i];
  const pairs = [...Object.entries(rest), ...Object.entries(precision ?? {})];
  return pairs.length ? h("details", {}, h("summary", {}, "How the bound was derived"),
    facts(pairs.map(([name, value]) => fact(name.replaceAll("_", " "), h("code", {}, spelledOut(value)))))) : null;
}

/* The same case, dtype and direction wherever it ran, on one scale. */
function sideBySide(i) {
  const [, dtype, direction] = COLUMN.setting[i];
  const others = [];
  for (let j = 0; j < COUNT; j++) {
    const setting = COLUMN.setting[j];
    if (COLUMN.case[j] === COLUMN.case[i] && setting[1] === dtype && setting[2] === direction) others.push(j);
  }
  const width = DECADES[1] - DECADES[0];
  const at = (ratio) => (ratio <= 0 ? 0 : Math.max(0, Math.min(1, (Math.log10(ratio) - DECADES[0]) / width)));
  const label = (j) => [...COLUMN.place[j], COLUMN.setting[j][0]].join(" · ");
  const rows = others.sort((a, b) => natural(label(a), label(b))).map((j) => h("tr", j === i ? { class: "this", "aria-current": "true" } : {},
    h("th", { scope: "row" }, h("a", { href: linkCheck(j) }, label(j))),
    h("td", {}, verdictChip(verdictOf(j))), h("td", { class: "number" }, shown(RATIO[j])),
    h("td", { class: "track" }, h("div", { class: "ratio", "data-verdict": verdictOf(j), "aria-hidden": "true" },
      RATIO[j] < 0 ? null : h("span", { class: "dot", style: { left: `${100 * at(RATIO[j])}%` } }),
      h("span", { class: "limit", style: { left: `${(100 * -DECADES[0]) / width}%` } })))));
  return [h("h3", {}, `Error ratio side by side: ${dtype}, ${direction}`), h("div", { class: "scroll" }, h("table", { class: "ruled beside" },
    h("thead", {}, h("tr", {}, ["where", "verdict", "ratio", `1e${DECADES[0]} to 1e${DECADES[1]}; the line is the bound`].map((head, column) =>
      h("th", { scope: "col", class: column === 2 ? "number" : null }, head)))), h("tbody", {}, rows)))];
}

const GRADIENTS = {
  einsum: "that of each operand is an einsum too, of the cotangent and the other operands.",
  attention: "of each operand, from a random cotangent of the output, back through the steps below.",
};

function checkView(i) {
  const verdict = verdictOf(i), reason = COLUMN.reason[i], of = caseOf(i), { mathematics, written } = statementOf(of);
  const shape = COLUMN.output_shape[i], repeatable = COLUMN.repeatable[i], isGradient = FACETS.direction(i) === "grad";
  return h("article", { class: "columns" },
    h("div", { class: "stack" }, of.about ? h("p", {}, of.about) : null,
      h("section", { class: "notice stack", "data-verdict": verdict },
        h("div", {}, verdictChip(verdict)), reason ? h("pre", { class: "reason" }, reason) : null, deviationOf(i)),
      worstElement(i),
      allElements(i),
      h("h3", {}, "Result"), facts(fact("dtype", COLUMN.output_dtype[i]), fact("shape", shape && shapeOf(shape)),
        fact("time", `${shown(COLUMN.seconds[i])} s`), fact("repeatable", repeatable === null ? null : repeatable ? "yes" : "no"),
        fact("proves little", weaknessOf(i))),
      boundOf(i), sideBySide(i)),
    h("div", { class: "stack" },
      h("h3", {}, "Run it again"), copying(COLUMN.again[i], "the command that runs this check"),
      h("h3", {}, "Stand-alone script"), copying(COLUMN.script[i], "the command that prints a script"),
      isGradient ? h("p", { class: "muted" }, `This is a check of gradients: ${GRADIENTS[of.kind]}`) : null,
      mathematics, written));
}
