// The first page: what happened, the table, charts, and the conditions under which the models were asked.

function overview(page) {
  const notes = page.notes ?? [];
  const charts = [capabilityChart(page), costChart(page), subsetChart(page)].filter(Boolean);
  const urgent = notes.filter((note) => /INCOMPLETE|NO SCORE/.test(note));
  return h("main", {}, page.live || Object.keys(page.progress ?? {}).length ? progressCard(page) : null,
    urgent.length ? h("ul.alert", {}, urgent.map((note) => h("li", {}, note))) : null,
    h("section.card.flush", { id: "table" }, h("div.card-head", {}, h("h2", {}, say("results")), tableKey(page)), scoreTable(page)),
    charts.length ? h("div.grid.charts", { id: "charts" }, h("h2.wide", {}, say("charts")),
      page.models.length > 1 ? h("div.wide", {}, legend(page)) : null, charts) : null,
    conditionsCard(page),
    notes.length ? h("details.card.notes", { id: "notes" }, h("summary", {}, say("allNotes")),
      h("ul", {}, notes.map((note) => h("li", {}, note)))) : null);
}

const FIRST = 12;

// The settings of each model: those that differ between models, else the first; the rest on request.
function conditionsCard(page) {
  const known = page.models.filter((model) => page.conditions?.[model]?.length);
  if (!known.length) return null;
  const values = Object.fromEntries(known.map((model) => [model, new Map(page.conditions[model])]));
  const names = merged(known.map((model) => [...values[model].keys()]));
  const other = names.filter((name) => new Set(known.map((model) => values[model].get(name))).size > 1);
  const same = names.filter((name) => !other.includes(name)), { kept } = app;
  const cell = (text, span) => h("td", { colspan: span }, h("span.setting", {}, text ?? "–"));
  const row = (name, differs) => h("tr", { class: differs ? "differs" : "same" },
    h("th.first", { scope: "row" }, name, differs ? h("small", {}, say("differs")) : null),
    differs ? known.map((model) => cell(values[model].get(name))) : cell(values[known[0]].get(name), String(known.length)));
  const head = other.length ? other.map((name) => row(name, true)) : same.splice(0, FIRST).map((name) => row(name, false));
  const rest = h("tbody", { hidden: !kept.settings }, same.map((name) => row(name, false)));
  const word = () => kept.settings ? say("showFewer") : say("showSame", { n: same.length });
  const more = h("button.plain", { onclick() {
    kept.settings = !kept.settings;
    rest.hidden = !kept.settings;
    more.textContent = word();
  } }, word());
  return h("section.card.flush", { id: "conditions" }, h("div.card-head", {}, h("h2", {}, say("conditions")),
    known.length > 1 && !other.length ? h("span.quiet", {}, say("noDifference")) : null),
    h("div.scroll", { tabindex: "0", role: "region", "aria-label": say("conditions") },
      h("table.conditions", {}, h("thead", {}, h("tr", {}, h("th.first", {}, say("setting")),
      known.map((model) => h("th", { scope: "col" }, modelName(model, page.models.indexOf(model)))))), h("tbody", {}, head), rest)),
    same.length ? h("div.below", {}, more) : null);
}

// One order of names out of several: each after the name that it follows in its own.
function merged(lists) {
  const all = [...lists[0]];
  for (const list of lists.slice(1)) {
    list.forEach((name, place) => { if (!all.includes(name)) all.splice(all.indexOf(list[place - 1]) + 1, 0, name); });
  }
  return all;
}

function progressCard(page) {
  const bars = page.models.map((model, place) => {
    const parts = Object.entries(page.progress?.[model] ?? {});
    const done = d3.sum(parts, ([, [n]]) => n), all = d3.sum(parts, ([, [, n]]) => n);
    return h("div.progress", {}, modelName(model, place), h("progress",
      { value: String(done), max: String(all || 1), "aria-label": model }),
      h("span.n", {}, `${count(done)} / ${count(all)}`), h("details", {}, h("summary", {}, say("task")),
        parts.map(([task, [n, of]]) =>
        h("div.progress.part", {}, h("span", {}, task), h("progress",
          { value: String(n), max: String(of || 1), "aria-label": task }), h("span.n", {}, `${count(n)} / ${count(of)}`)))));
  });
  return h("section.card", { id: "progress" }, h("div.card-head", {}, h("h2", {}, say("progress")),
    page.live ? h("span.live", {}, say("live")) : null), bars);
}
