/* One check: its outcome, the other backends for comparison, and how to run it again. */

const fact = (name, ...value) => (value.flat().every((part) => part === null || part === undefined || part === "")
  ? null : [h("dt", {}, name), h("dd", {}, value)]);
const facts = (...pairs) => h("dl", { class: "facts" }, pairs);

/* Only http and https URLs become links; anything else stays text. */
const linkOrText = (text) => (/^https?:\/\//.test(text) ? h("a", { href: text, rel: "noreferrer" }, text) : text);

/* Two numbers one below the other, with the differing digits highlighted. */
function highlightDifference(expected, got) {
  let prefix = 0;
  while (prefix < expected.length && expected[prefix] === got[prefix]) prefix++;
  const highlight = (text) => [text.slice(0, prefix), h("span", { class: "differs" }, text.slice(prefix))];
  return [["expected", expected], ["got", got]].map(([name, text]) => fact(name, h("code", {}, highlight(text))));
}

function worstElement(i) {
  const worst = COLUMN.worst[i], ratio = COLUMN.error_ratio[i], ulp = COLUMN.max_ulp[i], abs = COLUMN.max_abs[i];
  const numbers = worst === null ? [] : [
    fact("element", h("code", {}, `[${worst.index.join(", ")}]`), gradientOf(i)),
    ...highlightDifference(worst.expected, worst.got), fact("bound", h("code", {}, worst.bound)),
  ];
  const times = ratio === null ? null : `${formatNumber(ratio)} ${RATIO[i] <= 1 ? "of the bound" : "times the bound"}`;
  const rows = [...numbers, fact("error ratio", times), fact("ULPs", ulp === null ? null : `${formatNumber(ulp)} at most`),
    fact("absolute error", abs === null ? null : `${formatNumber(abs)} at most`)].filter(Boolean);
  return rows.length ? [h("h3", {}, "Worst element"), facts(...rows)] : null;
}

/* Statistics over all elements; nothing if errors are not known to average out. */
function allElements(i) {
  const rms = COLUMN.rms[i], bias = COLUMN.bias[i];
  return rms === null ? null : [h("h3", {}, "All elements"), facts(
    fact("RMS error", `${formatNumber(rms)} times the deviation of correct arithmetic`), fact("bias", h("code", {}, String(bias))))];
}

function gradientOf(i) {
  const operand = COLUMN.bound[i].gradient_of;
  return operand ? ` of the gradient of ${operand}` : null;
}

/* Why a check proves little, and the reason that its case gives for having it. */
function weaknessOf(i) {
  const weak = COLUMN.weak[i];
  return weak && `${weak.reason} (${weak.mark || "its case gives no reason to keep it"})`;
}

/* The entry of a recorded deviation, without its reason, which is the check's own. */
function deviationOf(i) {
  const deviation = COLUMN.deviation[i];
  return deviation && facts(
    fact("grade", deviation.grade), fact("observed", h("code", {}, toYaml(deviation.observed))),
    fact("versions", deviation.versions ? h("code", {}, toYaml(deviation.versions)) : null),
    fact("link", deviation.link ? linkOrText(deviation.link) : null), fact("recorded in", h("code", {}, deviation.place)));
}

function boundOf(i) {
  const { precision, gradient_of: _, ...rest } = COLUMN.bound[i];
  const pairs = [...Object.entries(rest), ...Object.entries(precision ?? {})];
  return pairs.length ? h("details", {}, h("summary", {}, "How the bound was derived"),
    facts(pairs.map(([name, value]) => fact(name.replaceAll("_", " "), h("code", {}, toYaml(value)))))) : null;
}

/* All checks with the same case, dtype and direction, on one scale. */
function sideBySide(i) {
  const [, dtype, direction] = COLUMN.setting[i];
  const others = [];
  for (let j = 0; j < COUNT; j++) {
    const setting = COLUMN.setting[j];
    if (COLUMN.case[j] === COLUMN.case[i] && setting[1] === dtype && setting[2] === direction) others.push(j);
  }
  const width = DECADES[1] - DECADES[0];
  const position = (ratio) => (ratio <= 0 ? 0 : Math.max(0, Math.min(1, (Math.log10(ratio) - DECADES[0]) / width)));
  const label = (j) => [...COLUMN.place[j], COLUMN.setting[j][0]].join(" · ");
  const rows = others.sort((a, b) => natural(label(a), label(b))).map((j) => h("tr", j === i ? { class: "this", "aria-current": "true" } : {},
    h("th", { scope: "row" }, h("a", { href: linkCheck(j) }, label(j))),
    h("td", {}, verdictChip(verdictOf(j))), h("td", { class: "number" }, formatNumber(RATIO[j])),
    h("td", { class: "track" }, h("div", { class: "ratio", "data-verdict": verdictOf(j), "aria-hidden": "true" },
      RATIO[j] < 0 ? null : h("span", { class: "dot", style: { left: `${100 * position(RATIO[j])}%` } }),
      h("span", { class: "limit", style: { left: `${(100 * -DECADES[0]) / width}%` } })))));
  return [h("h3", {}, `Error ratio side by side: ${dtype}, ${direction}`), h("div", { class: "scroll" }, h("table", { class: "ruled beside" },
    h("thead", {}, h("tr", {}, ["run on", "verdict", "ratio", `1e${DECADES[0]} to 1e${DECADES[1]}; the line is the bound`].map((head, column) =>
      h("th", { scope: "col", class: column === 2 ? "number" : null }, head)))), h("tbody", {}, rows)))];
}

const GRADIENTS = {
  einsum: "the gradient of each operand is another einsum, of the cotangent and the other operands.",
  attention: "the gradient of each operand is computed from a random cotangent of the output, back through the steps below.",
};

function checkView(i) {
  const verdict = verdictOf(i), reason = COLUMN.reason[i], case_ = caseOf(i), { mathematics, fields } = statementOf(case_);
  const shape = COLUMN.output_shape[i], repeatable = COLUMN.repeatable[i], isGradient = FACETS.direction(i) === "grad";
  return h("article", { class: "columns" },
    h("div", { class: "stack" }, case_.about ? h("p", {}, case_.about) : null,
      h("section", { class: "notice stack", "data-verdict": verdict },
        h("div", {}, verdictChip(verdict)), reason ? h("pre", { class: "reason" }, reason) : null, deviationOf(i)),
      worstElement(i),
      allElements(i),
      h("h3", {}, "Result"), facts(fact("dtype", COLUMN.output_dtype[i]), fact("shape", shape && shapeOf(shape)),
        fact("time", `${formatNumber(COLUMN.seconds[i])} s`), fact("host", COLUMN.host[i]), fact("repeatable", repeatable === null ? null : repeatable ? "yes" : "no"),
        fact("proves little", weaknessOf(i))),
      boundOf(i), sideBySide(i)),
    h("div", { class: "stack" },
      h("h3", {}, "Run it again"), copyBox(COLUMN.again[i], "the command that runs this check"),
      h("h3", {}, "Stand-alone script"), copyBox(COLUMN.script[i], "the command that prints a script"),
      isGradient ? h("p", { class: "muted" }, `This is a check of gradients: ${GRADIENTS[case_.kind]}`) : null,
      mathematics, fields));
}
