// What became of a task's items, as bars and small tables above the list.

const OUTCOMES = ["right", "wrong", "failed", "missing"];

// One bar a model: right, wrong, failed, not yet asked; each part leads to its items.
function outcomeBars(page, task) {
  const about = page.tasks[task];
  if (isPerplexity(about.metric)) return null;
  const rows = page.models.map((model, place) => {
    const counts = about.counts[model] ?? {}, all = counts.all || 1;
    return h("div.outcome", {}, modelName(model, place), h("div.stack", {}, OUTCOMES.filter((key) => counts[key]).map((key) =>
      h("a", { class: key, href: link({ task, filter: key === "missing" ? "" : key, model: page.models.length > 1 ? model : "" }),
        css: { "flex-grow": String(counts[key]) },
        title: `${say(key)}: ${count(counts[key])} (${percent(counts[key], all)})` },
          counts[key] / all > 0.08 ? percent(counts[key], all) : ""))));
  });
  const used = OUTCOMES.filter((key) => page.models.some((model) => about.counts[model]?.[key]));
  return h("section.card", {}, h("div.card-head", {}, h("h3", {}, say("outcomes")),
    h("div.legend", {}, used.map((key) => h("span", {}, h("i.swatch", { class: `swatch ${key}` }), say(key))))), rows);
}

// How often each pattern of the extractor read an answer.
function patternTable(page, task) {
  const patterns = page.tasks[task].patterns ?? {};
  const names = [...new Set(page.models.flatMap((model) => Object.keys(patterns[model] ?? {})))];
  if (!names.some((name) => name)) return null;
  const total = (name) => d3.sum(page.models, (model) => patterns[model]?.[name] ?? 0);
  names.sort((a, b) => total(b) - total(a));
  return h("section.card", {}, h("h3", {}, say("patterns")), h("div.scroll", {}, h("table.small", {},
    h("thead", {}, h("tr", {}, h("th.first", {}, say("pattern")),
      page.models.map((model, place) => h("th", {}, modelName(model, place))))),
    h("tbody", {}, names.map((name) => h("tr", {}, h("th.first", {}, name || h("i", {}, say("nothing"))),
      page.models.map((model) => {
      const all = d3.sum(Object.values(patterns[model] ?? {})) || 1, n = patterns[model]?.[name] ?? 0;
      return h("td", { title: percent(n, all), css: { "--hue": colour(page.models.indexOf(model)) } }, count(n),
        h("div.track", {}, h("i.fillbar", { css: { width: `${100 * n / all}%` } })));
    })))))));
}

// Letters that the models chose beside those that are right: a model that likes one letter shows here.
function letterChart(page, task) {
  const { targets, answers } = page.tasks[task].letters ?? {};
  if (!targets) return null;
  const right = say("isTarget"), series = [right, ...page.models.filter((model) => answers[model])];
  const all = new Set([targets, ...Object.values(answers)].flatMap(Object.keys));
  const letters = [...all].filter((letter) => letter && letter.length <= 2).sort().slice(0, 12);
  const rows = series.flatMap((name) => {
    const counts = name === right ? targets : answers[name], all = d3.sum(Object.values(counts)) || 1;
    return letters.map((letter) => ({ letter, name, n: counts[letter] ?? 0, part: 100 * (counts[letter] ?? 0) / all }));
  });
  const colours = modelColours(page);
  return chart(say("letters"), null, () => ({
    height: 220, marginLeft: 40, marginBottom: 30, marginTop: 22, marginRight: 4,
    fx: { domain: letters, label: null, padding: 0.15 }, x: { domain: series, axis: null, padding: 0.1 },
    y: { label: `${say("share")} (%)`, labelArrow: "none", nice: true },
      color: { domain: [right, ...colours.domain], range: ["var(--target)", ...colours.range] },
    marks: [Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }), Plot.axisFx({ anchor: "bottom", label: null, tickSize: 0 }),
      Plot.barY(rows, { fx: "letter", x: "name", y: "part", fill: "name",
        ...told({ [say("answer")]: "letter", [say("model")]: "name", [say("count")]: (row) => count(row.n),
          [say("share")]: (row) => `${row.part.toFixed(1)} %` }) }),
      Plot.ruleY([0], { stroke: "var(--line-strong)" })],
  }), h("div.legend", {}, h("span", {}, h("i.swatch.letter"), right)));
}
