// The table: models by tasks, by capability; a task unfolds to its groups, subsets and further rules.
const PERPLEXITIES = ["token_perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"];
const isPerplexity = (metric) => PERPLEXITIES.includes(metric);
const LOUD = 0.01;

const isTaskMean = (row) => row.subset === null && row.group === null && row.average !== "micro";
const isHeadline = (row) => isTaskMean(row) && row.headline && row.task !== null;

// The headline row of each model for a task.
function headlines(page, task) {
  return byModel(page.summary.rows.filter((row) => row.task === task && isHeadline(row)));
}

function byModel(rows) {
  return Object.fromEntries(rows.map((row) => [row.model, row]));
}

// Tasks by capability, in the tool's order of capabilities.
function grouped(page) {
  const names = Object.keys(page.tasks), groups = new Map();
  for (const task of names) {
    const capability = page.tasks[task].capability;
    groups.set(capability, [...(groups.get(capability) ?? []), task]);
  }
  return [...groups].sort(([a], [b]) => CAPABILITIES.indexOf(a) - CAPABILITIES.indexOf(b));
}

function capabilityMean(page, capability) {
  return byModel(page.summary.rows.filter((row) => row.task === null && row.group === capability));
}

function scoreTable(page) {
  const table = h("table.scores", {}, h("thead", {}, h("tr", {},
    h("th.first", { scope: "col" }, say("task")),
    page.models.map((model, place) => h("th", { scope: "col" }, modelName(model, place))))));
  for (const [capability, tasks] of grouped(page)) {
    table.append(capabilityRow(page, capability, tasks));
    for (const task of tasks) table.append(...taskRows(page, task));
  }
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": say("results") }, table);
}

// What the signs of the table mean, as far as it has them.
function tableKey(page) {
  return h("p.key", {}, page.models.length > 1 ? h("span", {}, `★ ${say("best")}`) : null,
    page.models.length > 1 ? h("span", {}, `☆ ${say("bestClose")}`) : null, h("span", {}, h("i.bar"), say("interval")));
}

function modelName(model, place) {
  return h("span.model", { title: model }, h("i.dot", { css: { background: colour(place) } }), model);
}

function capabilityRow(page, capability, tasks) {
  const mean = capabilityMean(page, capability);
  const best = bestOf(mean, false);
  return h("tbody.capability", {}, h("tr", {},
    h("th.first", { scope: "rowgroup" }, capabilityName(capability),
      Object.keys(mean).length ? h("small", {}, say("meanOf", { n: tasks.length })) : null),
    page.models.map((model) => mean[model]
      ? h("td", { class: best[model] }, h("b.score", { title: bestWord(best[model]) }, number(mean[model].score)),
        range(mean[model])) : h("td"))));
}

function taskRows(page, task) {
  const rows = headlines(page, task), about = page.tasks[task], first = Object.values(rows)[0];
  const parts = h("tbody.parts", { hidden: true }), { open } = app.kept;
  const unfold = (shown) => {
    if (shown && !parts.childElementCount) parts.append(...partRows(page, task));
    parts.hidden = !shown;
    fold.setAttribute("aria-expanded", String(shown));
  };
  const fold = h("button.fold", { title: say("unfold", { task }), "aria-label": say("unfold", { task }), onclick() {
    if (!open.delete(task)) open.add(task);
    unfold(open.has(task));
  } }, "›");
  unfold(open.has(task));
  const has = page.summary.rows.some((row) => row.task === task && !isHeadline(row));
  const best = bestOf(rows, isPerplexity(about.metric));
  const body = h("tbody.task", {}, h("tr", {},
    h("th.first", { scope: "row" }, h("div.name", {}, has ? fold : h("span.fold"),
      h("div", {}, h("a", { href: link({ task }), title: about.description },
        task.split(/(?<=[_-])/).flatMap((part) => [part, h("wbr")])),
        h("small", {}, [about.metric, about.mode, first?.version ?? about.version].filter(Boolean).join(" · "),
          isPerplexity(about.metric) ? ` · ${say("lower")}` : null),
        marks(page, task, first)))),
    page.models.map((model) => scoreCell(page, rows[model], model, best[model]))));
  return [body, parts];
}

function marks(page, task, row) {
  const part = page.summary.partial?.[task];
  const short = row?.subsets && row.subsets[0] < row.subsets[1];
  return [part ? h("span.badge.warn", {}, say("partial", { part })) : null,
    short ? h("span.badge.warn", {}, say("incomplete", { part: row.subsets.join("/") })) : null];
}

// How the best score of a row is marked, for each model that has it: "best", or "best close" where the interval of another
// model's score meets its own.
function bestOf(rows, low) {
  const scored = Object.values(rows).filter((row) => !missingScore(row.score));
  if (scored.length < 2) return {};
  const best = (low ? Math.min : Math.max)(...scored.map((row) => row.score));
  const tops = scored.filter((row) => row.score === best), others = scored.filter((row) => row.score !== best);
  const meets = (a, b) => !a.ci95 || !b.ci95 || (a.ci95[0] <= b.ci95[1] && b.ci95[0] <= a.ci95[1]);
  return Object.fromEntries(tops.map((row) => [row.model, others.every((other) => !meets(row, other)) ? "best" : "best close"]));
}

const bestWord = (mark) => mark ? say(mark === "best" ? "best" : "bestClose") : null;

function scoreCell(page, row, model, best) {
  if (!row) return h("td", {}, h("span.quiet", {}, "–"));
  return h("td", { class: best, css: { "--hue": colour(page.models.indexOf(model)) } },
    h("b.score", { title: bestWord(best) }, number(row.score)),
    range(row), whisker(row), badges(row, model), published(row));
}

function range(row) {
  return h("small", { title: say("interval") }, row.ci95 ? `${short(row.ci95[0])}–${short(row.ci95[1])}` : null,
    row.task !== null || !row.ci95 ? h("span.n", {}, `${row.ci95 ? " · " : ""}n ${count(row.n)}`) : null);
}

const short = (score) => score < 1000 ? score.toFixed(1) : number(score);

// The interval as a line on the way from 0 to 100.
function whisker(row) {
  if (!row.ci95 || isPerplexity(row.metric) || row.score === null) return null;
  const [low, high] = row.ci95;
  return h("div.track", { "aria-hidden": "true" },
    h("i.span", { css: { left: `${low}%`, width: `${Math.max(high - low, 0.5)}%` } }),
      h("i.point", { css: { left: `${row.score}%` } }));
}

// What went wrong, with its share; loud above one in a hundred.
function badges(row, model) {
  const whole = row.replies || row.n + row.failed || 1;
  return h("div.badges", {}, ["unanswered", "truncated", "failed"].filter((word) => row[word]).map((word) => {
    const classes = `badge ${word} ${row[word] / whole > LOUD ? "loud" : "mild"}`;
    const text = `${percent(row[word], whole)} ${say(word)}`;
    return row.task === null || row.subset !== null ? h("span", { class: classes }, text)
      : h("a", { class: classes, href: link({ task: row.task, filter: word, model: app.page.models.length > 1 ? model : "" }),
        title: count(row[word]) }, text);
  }));
}

function published(row) {
  if (!row.reference) return null;
  const by = row.score - row.reference.score;
  const away = missingScore(row.score) ? "" : ` (${by >= 0 ? "+" : "−"}${Math.abs(by).toFixed(2)})`;
  return h("small", { title: row.reference.source }, say("reference", { score: number(row.reference.score) }), away);
}

// Groups, then subsets, then further rules and the mean over all items.
function partRows(page, task) {
  const lines = new Map();
  for (const row of page.summary.rows) {
    if (row.task !== task || isHeadline(row)) continue;
    const further = isTaskMean(row) || row.average === "micro";
    if (!further && !row.headline) continue;
    const rank = row.group !== null ? 0 : row.subset !== null ? 1 : 2;
    const key = JSON.stringify([rank, row.dataset, row.metric]);
    if (!lines.has(key)) lines.set(key, { rank, row, models: {} });
    lines.get(key).models[row.model] = row;
  }
  return [...lines.values()].sort((a, b) => a.rank - b.rank).map(({ rank, row, models }) => {
    const label = rank === 2 ? row.metric : row.subset ?? row.group;
    const kind = [say("group"), "", row.average === "micro" ? say("micro") : say("rule")][rank];
    const best = bestOf(models, isPerplexity(row.metric));
    const name = rank === 1 ? h("a", { href: link({ task, subset: row.subset }) }, label) : label;
    return h("tr", {}, h("th.first", { scope: "row" }, name, kind ? h("small", {}, kind) : null),
      page.models.map((model) => models[model] ? h("td", { class: best[model] },
        h("span.score", { title: bestWord(best[model]) }, number(models[model].score)), range(models[model]),
          badges(models[model], model)) : h("td", {}, "–")));
  });
}
