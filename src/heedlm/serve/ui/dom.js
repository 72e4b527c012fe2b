// Elements made of parts; every text becomes a text node, so nothing that a model or a person writes is ever markup.

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, hear] of Object.entries(value)) node.addEventListener(event, hear);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "class") node.className = value;
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(node, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = {
  again: "M13.2 8a5.2 5.2 0 1 1-1.6-3.7M13 1.6v3h-3",
  copy: "M6 6h7.5v7.5H6zM3.5 10H2.5V2.5H10v1",
  close: "M4 4l8 8M12 4l-8 8",
  good: "M8 3.5l4.8 8H3.2z",
  bad: "M8 12.5l4.8-8H3.2z",
  note: "M3 13l.8-2.9 6.9-6.9 2.1 2.1-6.9 6.9zM9.2 4.7l2.1 2.1",
  done: "M3 8.5l3.2 3.2L13 5",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 1 0 0-11zM8 2.5v11M6 3.2v9.6M4.1 4.6v6.8",
  light:
    "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
  dark: "M13 9.8A5.5 5.5 0 0 1 6.2 3a5.5 5.5 0 1 0 6.8 6.8z",
};

// A small drawing in the colour of the text round it; what it means is said by the button that holds it.
export function icon(name) {
  const node = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  const attributes = { viewBox: "0 0 16 16", class: `icon i-${name}`, "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  path.setAttribute("d", DRAWN[name]);
  node.append(path);
  return node;
}

export const $ = (id) => document.getElementById(id);

export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

export function button(label, hear, props = {}) {
  return h("button", { type: "button", ...props, on: { click: hear } }, label);
}

export function field(label, control, note) {
  control.id ||= `f${++field.number}`;
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label),
    control,
    note && h("p", { class: "quiet" }, note),
  );
}
field.number = 0;

// A dialog that is made when it is opened and gone when it is closed; focus goes back to where it was.
export function dialog(title, body, { wide = false, onClose } = {}) {
  const before = document.activeElement;
  const close = button("Close", () => box.close(), { class: "plain close" });
  const name = `d${++field.number}`;
  const box = h(
    "dialog",
    { class: wide ? "wide" : "", "aria-labelledby": name },
    h("header", {}, h("h2", { id: name }, title), close),
    body,
  );
  box.addEventListener("close", () => {
    box.remove();
    onClose?.();
    if (before?.isConnected) before.focus();
  });
  box.addEventListener("click", (event) => {
    if (event.target === box && !box.dataset.keeps) box.close();
  });
  document.body.append(box);
  box.showModal();
  (body.querySelector("input, textarea, select") ?? close).focus();
  return box;
}

// Said to people who do not look.
export function say(text) {
  $("said").textContent = text;
}

export function copy(text, sign = "Copy") {
  return button(
    sign === "copy" ? icon("copy") : sign,
    async (event) => {
      try {
        await navigator.clipboard.writeText(text);
        const node = event.target.closest("button");
        node.replaceChildren(sign === "copy" ? icon("done") : "Copied");
        say("Copied");
      } catch {
        say("The browser does not let this page copy; select the text.");
      }
    },
    { class: "plain small", title: "Copy", "aria-label": "Copy" },
  );
}

export const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const short = (text, length) => {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > length ? `${line.slice(0, length - 1)}…` : line;
};
