/* Create elements, never markup: any text stays text on the page. */

/* h("a", {href: "#", class: "x", style: {"--shade": 1}, onclick: f}, "text", node, [more], null) */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/* A tree of `reports.formula`, as MathML. */
function math(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, ...children] = tree;
  const element = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
  element.append(...children.map(math));
  return element;
}

function formulaOf(trees) {
  return trees.map((tree) => {
    const line = math(["math", tree]);
    line.setAttribute("displaystyle", "true");
    return h("div", {}, line);
  });
}

function copyBox(text, what) {
  const code = h("code", {}, text);
  const button = h("button", { class: "quiet small", "aria-label": `Copy ${what}`, onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // without access to the clipboard, select the text so that the user can copy it
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  return h("div", { class: "copying" }, code, button);
}

function glyph(verdict) {
  return h("span", { class: "glyph", "aria-hidden": "true" }, DATA.glyphs[verdict]);
}

function verdictChip(verdict) {
  return h("span", { class: "verdict", "data-verdict": verdict }, glyph(verdict), h("span", { class: "word" }, ` ${verdict}`));
}

/* Rows in view ----------------------------------------------------------------------------------------------------- */

let drawers = []; // functions that draw the rows near the window, one for each list on the page
const redraw = () => requestAnimationFrame(() => drawers.forEach((draw) => draw()));
addEventListener("scroll", redraw, { passive: true });
addEventListener("resize", redraw);

/* Fill `body` with rows of equal height, created by `make(row, isStop)` only when they are near the window.  Arrow keys
   move between the elements that have `data-r` and `data-c`, one of which is the tab stop.  Returns `draw`, which
   updates the rows, and `focus`, which scrolls to an element and focuses it. */
function rowsInView(body, count, height, make, columnCount = 1) {
  const space = (rows) => h(body.tagName === "TBODY" ? "tr" : "div", {
    "aria-hidden": "true", class: "space", style: { height: `${rows * height}px` },
  });
  let first = -1, last = -1, stop = [0, 0];

  function draw(force = false) {
    const above = -body.getBoundingClientRect().top;
    const from = Math.max(0, Math.min(count, Math.floor(above / height) - 8));
    const to = Math.max(from, Math.min(count, Math.ceil((above + innerHeight) / height) + 8));
    if (!force && from === first && to === last) return;
    [first, last] = [from, to];
    const focused = body.contains(document.activeElement) ? { ...document.activeElement.dataset } : null;
    if (stop[0] < from || stop[0] >= to) stop = [from, 0];
    const rows = [];
    for (let row = from; row < to; row++) rows.push(make(row, (column) => row === stop[0] && column === stop[1]));
    body.replaceChildren(space(from), ...rows, space(count - to));
    if (focused && focused.r !== undefined) elementAt(focused.r, focused.c)?.focus({ preventScroll: true });
  }

  const elementAt = (row, column) => body.querySelector(`[data-r="${row}"][data-c="${column}"]`);

  function focus(row, column) {
    const top = body.getBoundingClientRect().top + row * height, sticky = 240; // pixels that sticky elements may cover
    if (top < sticky) scrollBy(0, top - sticky);
    else if (top + 2 * height > innerHeight) scrollBy(0, top + 2 * height - innerHeight);
    stop = [row, column];
    draw(true);
    elementAt(row, column)?.focus({ preventScroll: true });
    elementAt(row, column)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  body.addEventListener("keydown", (event) => {
    const { r, c } = event.target.dataset;
    if (r === undefined || event.altKey || event.metaKey) return;
    const all = event.ctrlKey;
    const moves = {
      ArrowUp: [all ? -count : -1, 0], ArrowDown: [all ? count : 1, 0],
      ArrowLeft: [0, all ? -columnCount : -1], ArrowRight: [0, all ? columnCount : 1],
      PageUp: [-12, 0], PageDown: [12, 0],
      Home: [all ? -count : 0, -columnCount], End: [all ? count : 0, columnCount],
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    const clamp = (value, limit) => Math.max(0, Math.min(limit - 1, value));
    const [rows, columns] = moves[event.key];
    focus(clamp(Number(r) + rows, count), clamp(Number(c) + columns, columnCount));
  });
  drawers.push(draw);
  return { draw, focus };
}
