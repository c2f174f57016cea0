// Nodes from names and texts. Text only ever becomes a text node, so nothing that a model wrote is markup.

// h("div.card", {onclick, title, css: {width: "3px"}}, child, ...): children are nodes, texts, arrays or nothing.
function h(kind, attributes, ...children) {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "css") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

// The text with each place that says what is searched marked.
function marked(text, query) {
  text = String(text ?? "");
  const wanted = (query ?? "").trim().toLowerCase(), low = text.toLowerCase();
  if (!wanted || low.length !== text.length) return [text];
  const parts = [];
  let from = 0;
  for (let at = low.indexOf(wanted); at >= 0 && parts.length < 400; at = low.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  return [...parts, text.slice(from)];
}

function options(pairs, chosen) {
  return pairs.map(([value, label]) => h("option", { value, selected: value === chosen }, label));
}

const wait = (run, milliseconds) => {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => run(...values), milliseconds); };
};

// What the reader chose last time; a browser may refuse to remember.
const memory = {
  get(name) { try { return localStorage.getItem(`ocli-${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`ocli-${name}`, value); } catch { /* not remembered, then */ } },
};
