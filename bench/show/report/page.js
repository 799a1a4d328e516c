// Helpers for all parts of the page: elements, numbers as text, colours of methods, light and dark.

const DATA = JSON.parse(document.getElementById("data").textContent);
const NONE = "—";

// An element. Children are elements or text; text never becomes markup.
function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function s(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map(
    (child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return element;
}

// --- numbers

const fixed = (value, digits) => (value === null || value === undefined ? NONE : value.toFixed(digits));

// A count with three digits and k, M, G.
function size(count) {
  if (count === null || count === undefined) return NONE;
  for (const [factor, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (count >= 0.9995 * factor) {
      const value = count / factor;
      return `${value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2)} ${letter}`;
    }
  }
  return count.toFixed(0);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const day = (iso) => iso.slice(0, 16).replace("T", " ") + " UTC";
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function quantile(values, at) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(at * sorted.length))];
}

// --- colours: a method has the same colour everywhere; shapes and dashes differ too, for readers without colour

const DASHES = ["", "8 4", "2.5 3.5", "10 4 2.5 4", "5 3", "14 4"];
const METHODS = [...new Set(DATA.benchmarks.flatMap((one) => one.boards.flatMap((board) => board.rows.map((row) => row.method))))]
  .filter((name) => name !== "mean_pose");
const HUES = 8;

function colour(method) {
  const place = METHODS.indexOf(method);
  return place < 0 ? "var(--m-none)" : `var(--m${place % HUES})`;
}

const dash = (method) => DASHES[(METHODS.indexOf(method) + 1 + Math.floor(METHODS.indexOf(method) / HUES)) % DASHES.length];

// The value of a variable of the style, for drawing on a canvas.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function dot(method) {
  return h("span", { class: "dot", "aria-hidden": "true", style: { background: colour(method) } });
}

// --- light and dark

const THEMES = { light: "Dark", dark: "Light" };

function startTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = recall("theme");
  const paint = (theme) => {
    root.dataset.theme = theme;
    document.dispatchEvent(new Event("theme"));
  };
  const apply = () => {
    const theme = chosen || (system.matches ? "dark" : "light");
    paint(theme);
    button.textContent = THEMES[theme];
    button.setAttribute("aria-label", `Change to ${THEMES[theme].toLowerCase()} colours`);
  };
  button.addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    remember("theme", chosen);
    apply();
  });
  system.addEventListener("change", apply);
  addEventListener("beforeprint", () => paint("light")); // paper is white
  addEventListener("afterprint", apply);
  apply();
}

// A page opened as a file may not be allowed to store anything.
function recall(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* then the choice is lost with the page */ }
}

// --- parts of a section

function section(id, title, lead, ...content) {
  return h("section", { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title), lead ? h("p", { class: "lead" }, lead) : null, ...content);
}

// The numbers of a picture as a table, for readers who cannot see it.
function numbersOf(head, rows, summary = "The numbers as a table") {
  return h("details", { class: "numbers" }, h("summary", {}, summary),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": summary },
      h("table", {}, h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))),
        h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell))))))));
}

// On a phone pictures are drawn narrower, not smaller, so that their text stays readable.
const NARROW = innerWidth < 600;

const command = (text) => h("code", { class: "command" }, text);
const how = (what, text) => h("p", { class: "empty" }, what, " ", command(text));
