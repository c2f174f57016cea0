// A task's page: filters, the list of items, and the item that is open. The address keeps all of it.
const PAGE_SIZE = 100;
const FILTERS = ["all", "right", "wrong", "unanswered", "truncated", "failed", "differ"];
const COUNTED = 20000;
const FILTER_KEYS = ["filter", "model", "subset", "q", "from"];

// Questions without the words that each begins with as its neighbour does.
function apart(questions) {
  const common = (a, b = "") => {
    let n = 0;
    while (n < a.length && a[n] === b[n]) n += 1;
    return n;
  };
  return questions.map((text, place) => {
    const n = Math.max(...[place - 1, place + 1].filter((at) => questions[at] !== text).map((at) => common(text, questions[at])),
      0);
    const from = text.slice(0, n).search(/[^\s。！？：]*$/);
    return from > 12 && text.length - from > 6 ? `… ${text.slice(from)}` : text;
  });
}

class TaskView {
  constructor(page, task) {
    Object.assign(this, { page, task, about: page.tasks[task], route: {}, rows: [], at: -1, total: 0, asked: 0 });
    this.list = h("div.list", { "aria-busy": "true" });
    this.status = h("span.status", { "aria-live": "polite" });
    this.pager = h("div.pager");
    this.pane = h("aside.pane", { hidden: true, "aria-label": say("id"), tabindex: "-1" });
    this.tools = this.makeTools();
    this.node = h(`main.taskpage${page.models.length > 4 ? ".many" : ""}`, {}, this.head(), h("div.work", {},
      h("section.card.listing", {}, this.tools, h("div.statusline", {}, this.status, h("span.hint", {}, say("hint"))),
        this.columns(), this.list, this.pager), this.pane));
  }

  head() {
    const { page, task, about } = this;
    const facts = [[say("capability"), capabilityName(about.capability)], [say("metric"), about.metric], [say("mode"), about.mode],
      [say("version"), about.version], [say("source"), about.source]];
    const partial = about.held < about.items ? h("p.alert", {},
      say("notAll", { held: count(about.held), items: count(about.items) })) : null;
    return h("div.taskhead", {}, h("a.back", { href: "#" }, `← ${say("back")}`), h("h2", {}, task),
      about.description ? h("p.lead", {}, about.description) : null,
      h("dl.line", {}, facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name),
        h("dd", {}, value)))), partial,
      outcomeBars(page, task), this.more());
  }

  // Letters and patterns, folded: the items are what most people come for.
  more() {
    const parts = [letterChart(this.page, this.task), patternTable(this.page, this.task)].filter(Boolean);
    if (!parts.length) return null;
    return h("details.more", { open: memory.get("more") === "open",
      ontoggle: (event) => memory.set("more", event.target.open ? "open" : "") },
      h("summary", {}, say("more")), h("div.grid", {}, parts));
  }

  makeTools() {
    const { page, about } = this;
    const change = (key, replace) => (event) => this.go({ [key]: event.target.value, from: "", id: "", sample: "" }, replace);
    this.search = h("input", { type: "search", placeholder: say("search"), "aria-label": say("search"),
      oninput: wait((event) => change("q", true)(event), 250) });
    this.model = h("select", { "aria-label": say("model"), onchange: change("model") },
      options([["", say("anyModel")], ...page.models.map((name) => [name, name])]));
    this.subset = h("select", { "aria-label": say("subset"), onchange: change("subset") },
      options([["", say("allSubsets")], ...about.subsets.map((name) => [name, name])]));
    const without = [page.models.length < 2 ? ["differ"] : [], isPerplexity(about.metric) ? ["right", "wrong", "differ"] : []].flat();
    const possible = FILTERS.filter((filter) => !without.includes(filter));
    this.filters = possible.map((filter) => h("button", { "data-filter": filter, "aria-pressed": "false",
      onclick: () => this.go({ filter: filter === "all" ? "" : filter, from: "", id: "", sample: "" }) }));
    return h("div.tools", {}, h("div.segments", { role: "group", "aria-label": say("filter") }, this.filters), h("div.selects", {},
      page.models.length > 1 ? this.model : null, about.subsets.length > 1 ? this.subset : null, this.search));
  }

  // Changes the address; from there everything follows.
  go(changes, replace = false) {
    move({ ...this.route, ...changes, task: this.task }, replace);
  }

  async show(route) {
    const before = this.route, again = FILTER_KEYS.some((key) => (before[key] ?? "") !== (route[key] ?? "")) || !this.asked;
    this.route = route;
    this.model.value = route.model ?? "";
    this.subset.value = route.subset ?? "";
    if (document.activeElement !== this.search) this.search.value = route.q ?? "";
    this.drawFilters();
    if (again) await this.load();
    await this.open();
  }

  drawFilters() {
    for (const button of this.filters) {
      const name = button.dataset.filter;
      button.setAttribute("aria-pressed", String((this.route.filter || "all") === name));
      if (!button.firstChild) fill(button, say(name), h("small", {}, " "));
    }
  }

  query() {
    const { filter, model, subset, q, from } = this.route;
    return { task: this.task, filter: filter || "all", model: model ?? "", subset: subset ?? "", q: q ?? "",
      offset: Number(from) || 0, limit: PAGE_SIZE };
  }

  async load() {
    const turn = ++this.asked, query = this.query();
    this.list.setAttribute("aria-busy", "true");
    if (!this.rows.length) this.status.textContent = say("loading");
    try {
      const { total, items, more } = await app.source.items(query);
      if (turn !== this.asked) return;
      Object.assign(this, { total, more, rows: items });
      this.at = this.placeOf(this.route);
      this.draw(query);
      this.countFilters(query, turn).catch(() => {});
    } catch (error) {
      this.status.textContent = say("cannot", { error: error.message });
    }
    this.list.setAttribute("aria-busy", "false");
  }

  // Says on each filter how many items it would show; of very many items that takes a server too long.
  async countFilters(query, turn) {
    if (this.about.held > COUNTED) return;
    await Promise.all(this.filters.map(async (button) => {
      const { total } = await app.source.items({ ...query, filter: button.dataset.filter, offset: 0, limit: 1 });
      if (turn === this.asked) button.lastChild.textContent = count(total);
    }));
  }

  draw({ offset, q }) {
    const { total, rows, about } = this;
    this.status.textContent = total === about.held ? say("found", { n: count(total) }) : say("foundOf",
      { n: count(total), all: count(about.held) });
    if (this.more) this.status.textContent += ` · ${say("searchEnded")}`;
    const asked = apart(rows.map((row) => row.question ?? ""));
    fill(this.list, rows.length ? rows.map((row, place) => this.row(row, place, asked[place], q)) : h("p.quiet.none", {},
      say("none")));
    fill(this.pager, total > PAGE_SIZE ? this.pages(offset) : null);
    const wordy = rows.some((row) => Object.values(row.answers).some((answer) => (answer?.answer ?? "").length > 3));
    this.node.classList.toggle("wordy", wordy);
    this.mark();
  }

  pages(offset) {
    const { total, rows } = this, last = Math.ceil(total / PAGE_SIZE);
    const to = (from) => this.go({ from: from || "", id: "", sample: "" });
    const turn = (from, word) => h("button", { disabled: from < 0 || from >= total, onclick: () => to(from) }, word);
    const field = h("input", { type: "number", min: "1", max: String(last), value: String(offset / PAGE_SIZE + 1),
      "aria-label": say("pageNumber"),
      onchange: () => to((Math.min(Math.max(Math.round(field.value) || 1, 1), last) - 1) * PAGE_SIZE) });
    return [turn(offset - PAGE_SIZE, `‹ ${say("previous")}`), h("span.pages", {}, field, ` / ${count(last)}`),
      turn(offset + PAGE_SIZE, `${say("next")} ›`),
      h("span.quiet", {}, say("page", { from: count(offset + 1), to: count(offset + rows.length), n: count(total) }))];
  }

  columns() {
    const { models } = this.page;
    return h("div.row.columns", { "aria-hidden": "true" }, h("span.id", {}, say("id")), h("span.question"),
      h("span.wanted", {}, say("target")),
      h("span.answers", {}, models.map((model, place) => h("span.chip.bare", { title: model },
        h("i.dot", { css: { background: colour(place) } }), h("span.said", {}, model)))));
  }

  row(row, place, asked, query) {
    return h("a.row", { href: link({ ...this.route, task: this.task, id: row.id, sample: row.sample || "" }),
      onclick: () => { this.at = place; } },
      h("span.id", {}, marked(row.id, query), row.sample ? h("small", {}, ` ${say("sample", { n: row.sample })}`) : null),
      h("span.question", {}, marked(asked, query)),
      h("span.wanted", { title: say("target") }, marked(row.target, query)),
      h("span.answers", {}, this.page.models.map((model) => this.chip(row.answers[model], model, query))));
  }

  chip(answer, model, query) {
    const kind = outcome(answer), odd = answer && !QUIET.includes(answer.status);
    const read = answer?.status === "failed" ? null : answer?.answer ?? null;
    const said = read ?? (!answer ? "" : say(answer.status === "ok" ? "nothing" : answer.status));
    return h("span", { class: `chip ${kind}${odd ? " odd" : ""}`,
      title: `${model}: ${say(kind === "unscored" ? "noScore" : kind)}${odd ? `, ${say(answer.status)}` : ""}` },
      h("i.sign", {}, SIGNS[kind]), h("span", { class: read === null ? "said word" : "said" }, marked(said, query)));
  }

  placeOf({ id, sample }) {
    return id === undefined ? -1 : this.rows.findIndex((row) => row.id === id && (row.sample ?? 0) === (Number(sample) || 0));
  }

  mark() {
    [...this.list.children].forEach((node, place) => node.classList.toggle("current", place === this.at));
    const node = this.list.children[this.at];
    if (node && this.rows.length) node.scrollIntoView({ block: "nearest" });
  }

  async open() {
    const { id, sample, q } = this.route;
    this.node.classList.toggle("opened", Boolean(id));
    document.body.classList.toggle("reading", Boolean(id));
    if (!id) { this.pane.hidden = true; return; }
    const place = this.placeOf(this.route);
    if (place >= 0) { this.at = place; this.mark(); }
    let item = null, problem = "";
    try { item = await app.source.item(this.task, id, Number(sample) || 0); } catch (error) { problem = error.message; }
    if (this.route.id !== id || this.route.sample !== sample) return;
    const step = (by, sign, word) => h("button", { title: word, "aria-label": word, disabled: !this.rows[this.at + by],
      onclick: () => this.step(by) }, sign);
    fill(this.pane, h("header", {}, h("div.item-name", {}, h("h3", {}, id),
      item?.subset && !id.startsWith(item.subset) ? h("span.quiet", {}, item.subset) : null,
      Number(sample) ? h("span.quiet", {}, say("sample", { n: sample })) : null),
      h("div.buttons", {}, step(-1, "↑", say("previous")), step(1, "↓", say("next")),
        h("button", { onclick: () => this.close(), title: `${say("close")} (Esc)`, "aria-label": say("close") }, "✕"))),
      item ? itemView(this.page, this.task, item, q) : h("p.alert", {}, problem ? say("cannot", { error: problem }) : say("none")));
    this.pane.hidden = false;
    this.pane.scrollTop = 0;
    if (getComputedStyle(this.pane).position === "fixed") this.pane.focus();
  }

  close() { this.go({ id: "", sample: "" }); }

  // Goes to the next or previous item; where one is open, it opens that one.
  step(by) {
    const to = this.at + by, offset = this.query().offset;
    if (to >= this.rows.length && offset + PAGE_SIZE < this.total) return this.go({ from: offset + PAGE_SIZE, id: "", sample: "" });
    if (!this.rows[to]) return undefined;
    this.at = to;
    this.mark();
    if (this.route.id) this.go({ id: this.rows[to].id, sample: this.rows[to].sample || "" }, true);
    return undefined;
  }

  key(event) {
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const row = this.rows[this.at], down = () => this.step(1), up = () => this.step(-1);
    const does = {
      j: down, ArrowDown: down, k: up, ArrowUp: up, "/": () => this.search.focus(),
      Escape: () => this.route.id ? this.close() : move({}),
      Enter: () => row && !this.route.id && this.go({ id: row.id, sample: row.sample || "" }),
    }[event.key];
    const elsewhere = (event.key.startsWith("Arrow") && this.pane.contains(document.activeElement))
      || (event.key === "Enter" && event.target.closest("a, button, summary"));
    if (!does || elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  }
}
