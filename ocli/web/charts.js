// Charts by Observable Plot. A chart is drawn for its place's width, and again when that changes.
const colour = (place) => `var(--m${place % 8})`;

// A card with a chart: draw(width) returns Plot's options, or null where there is nothing to draw.
function chart(title, note, draw, ...tools) {
  const place = h("div.plot-place");
  let width = 0;
  const redraw = () => {
    if (!width) return;
    const described = draw(width);
    const figure = Plot.plot({ className: "plot", width, style: { fontSize: "12px", fontFamily: "inherit" }, ...described });
    figure.setAttribute("role", "img");
    figure.setAttribute("aria-label", title);
    fill(place, figure);
  };
  const watch = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (Math.abs(now - width) > 1) { width = now; redraw(); }
  });
  watch.observe(place);
  const card = h("section.card.chart", {}, h("div.card-head", {}, h("h3", {}, title), tools), note ? h("p.quiet", {}, note) : null,
    place);
  return Object.assign(card, { redraw });
}

function modelColours(page) {
  return { domain: page.models, range: page.models.map((_, place) => colour(place)) };
}

function legend(page) {
  return h("div.legend", {}, page.models.map(modelName));
}

// Room for the names at the left: about their width, at most 40 % of the chart.
function room(labels, width) {
  const wide = Math.max(...labels.map((label) => [...label].reduce((sum, letter) => sum + (letter > "⺀" ? 12.5 : 7), 0)), 40);
  return Math.min(wide + 24, width * 0.4);
}

function cut(label, pixels) {
  let left = pixels - 16, end = 0;
  for (const letter of label) {
    left -= letter > "⺀" ? 12.5 : 7;
    if (left < 0) return `${label.slice(0, end)}…`;
    end += letter.length;
  }
  return label;
}

// What a chart tells where the pointer is, and nothing twice.
const HIDDEN = Object.fromEntries(["x", "y", "x1", "x2", "y1", "y2", "fx", "fy", "fill", "stroke",
  "symbol"].map((name) => [name, false]));

function told(channels) {
  const named = Object.entries(channels).map(([key, value]) => [key, { label: key, value }]);
  return { channels: Object.fromEntries(named), tip: { format: HIDDEN, fill: "var(--card)", stroke: "var(--line-strong)" } };
}

const tellScore = (named) => told({
  [named]: "label", [say("model")]: "model", [say("score")]: (row) => number(row.score),
  [say("interval")]: (row) => row.ci95 ? `${number(row.ci95[0])} – ${number(row.ci95[1])}` : "–", n: (row) => count(row.n),
});

const DOT = 7;

// Bars with their intervals: a band for each label, in it a bar for each model; dots where there are many models.
function intervalBars(page, rows, labels, width, named) {
  const many = page.models.length, bars = many < 5, left = room(labels, width);
  const thick = many === 1 ? 16 : bars ? 10 : 0;
  const scored = rows.filter((row) => !missingScore(row.score));
  const percents = scored.every((row) => row.score <= 100 && !isPerplexity(row.metric));
  const whiskers = { x1: (row) => row.ci95[0], x2: (row) => row.ci95[1], stroke: bars ? "var(--ink)" : "model", strokeWidth: 1.3 };
  const sure = scored.filter((row) => row.ci95);
  const band = bars ? { fy: "label", y: "model" } : { y: "label" };
  const names = { anchor: "left", label: null, tickSize: 0, tickFormat: (label) => cut(label, left) };
  return {
    marginLeft: left, marginRight: 16, marginTop: 6, marginBottom: 36,
    height: labels.length * (bars ? many * thick + 12 : many * DOT + 14) + 44,
    x: { ...(percents ? { domain: [0, 100] } : { zero: true }), label: say("score"), labelArrow: "none" },
    ...(bars ? { fy: { domain: labels, label: null, padding: 0.16 }, y: { domain: page.models, axis: null, padding: 0.14 } }
      : { y: { domain: labels, label: null } }),
    color: modelColours(page),
    marks: [
      Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }),
      bars ? Plot.axisFy(names) : Plot.axisY(names),
      bars ? Plot.barX(scored, { ...band, x: "score", fill: "model", fillOpacity: 0.6, ...tellScore(named) }) : null,
      bars ? Plot.tickX(scored, { ...band, x: "score", stroke: "model", strokeWidth: 3 }) : null,
      bars ? Plot.ruleY(sure, { ...band, ...whiskers }) : page.models.map((model, place) => {
        const dy = (place - (many - 1) / 2) * DOT, mine = (row) => row.model === model;
        return [Plot.ruleY(sure.filter(mine), { ...band, ...whiskers, dy, strokeOpacity: 0.6 }),
          Plot.dot(scored.filter(mine), { ...band, x: "score", fill: "model", r: 3.2, dy, ...tellScore(named) })];
      }),
      Plot.ruleX([0], { stroke: "var(--line-strong)" }),
    ],
  };
}

// Scores by capability, or by task where there is one capability or each has one task.
function capabilityChart(page) {
  const groups = grouped(page), byTask = groups.length < 2, rows = [];
  for (const [capability, tasks] of groups) {
    const counted = tasks.filter((task) => !isPerplexity(page.tasks[task].metric));
    const mean = capabilityMean(page, capability);
    if (byTask) for (const task of counted) rows.push(...labelled(headlines(page, task), task));
    else if (Object.keys(mean).length) rows.push(...labelled(mean, capabilityName(capability)));
    else if (counted.length === 1) rows.push(...labelled(headlines(page, counted[0]), capabilityName(capability)));
  }
  const labels = [...new Set(rows.filter((row) => !missingScore(row.score)).map((row) => row.label))];
  if (!labels.length) return null;
  const named = say(byTask ? "task" : "capability");
  return chart(say(byTask ? "byTask" : "byCapability"), say("chartNote"),
    (width) => intervalBars(page, rows, labels, width, named));
}

function labelled(rows, label) {
  return Object.values(rows).map((row) => ({ ...row, label }));
}

const FEW = 20;

// The subsets of a task that the reader chooses, best first.
function subsetChart(page) {
  const isPart = (row) => row.subset !== null && row.headline && !missingScore(row.score);
  const parts = (task) => page.summary.rows.filter((row) => row.task === task && isPart(row));
  const tasks = Object.keys(page.tasks).filter((task) => parts(task).length);
  if (!tasks.length) return null;
  const { kept } = app;
  const more = h("button.plain", { onclick() { kept.whole = !kept.whole; card.redraw(); } });
  const choose = h("select", { "aria-label": say("task"), onchange() { kept.subsets = choose.value; card.redraw(); } },
    options(tasks.map((name) => [name, name]), kept.subsets));
  const card = chart(say("bySubset"), `${say("subsetNote")} ${say("chartNote")}`, (width) => {
    const task = choose.value, rows = parts(task).map((row) => ({ ...row, label: row.subset }));
    const means = d3.rollup(rows, (some) => d3.mean(some, (row) => row.score), (row) => row.label);
    const low = isPerplexity(page.tasks[task].metric);
    const labels = [...means.keys()].sort((a, b) => low ? means.get(a) - means.get(b) : means.get(b) - means.get(a));
    const shown = kept.whole ? labels : labels.slice(0, FEW);
    more.hidden = labels.length <= FEW;
    more.textContent = kept.whole ? say("showFewer") : say("showAll", { n: labels.length });
    return intervalBars(page, rows.filter((row) => shown.includes(row.label)), shown, width, say("subset"));
  }, choose);
  card.append(more);
  card.classList.add("wide");
  return card;
}

// Mean score against tokens a reply, or against the cost of the run where the models have prices.
function costChart(page) {
  const points = page.models.map((model) => {
    const spent = page.summary.spent?.[model];
    const counts = (row) => isHeadline(row) && !isPerplexity(row.metric) && !missingScore(row.score);
    const heads = page.summary.rows.filter((row) => row.model === model && counts(row));
    return { model, score: d3.mean(heads, (row) => row.score), tokens: spent?.requests ? spent.completion / spent.requests : null,
      cost: spent?.cost, currency: spent?.currency };
  }).filter((point) => point.score !== undefined && point.tokens);
  if (points.length < 2) return null;
  const priced = points.every((point) => !missingScore(point.cost) && point.currency === points[0].currency && point.cost > 0);
  const draw = (value, label) => (width) => ({
    height: 290, marginLeft: 44, marginRight: 30, marginBottom: 40, marginTop: 26, inset: 16, color: modelColours(page),
    x: { label, labelArrow: "none", labelAnchor: "center", nice: true, zero: true, ticks: width / 90 },
      y: { label: say("meanScore"), labelArrow: "none", nice: true, tickSize: 0 },
    marks: [
      Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }), Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.dot(points, { x: value, y: "score", fill: "model", r: 7, stroke: "var(--card)",
        ...told({ [say("model")]: "model", [say("meanScore")]: (point) => number(point.score),
          [say("perItem")]: (point) => point.tokens.toFixed(1),
          ...(priced ? { [say("cost")]: (point) => `${point.cost.toPrecision(3)} ${point.currency}` } : {}) }) }),
      Plot.text(points, { x: value, y: "score", text: "model", dy: -14, fill: "var(--ink)", stroke: "var(--card)",
        strokeWidth: 4 }),
    ],
  });
  const ways = { tokens: draw("tokens", say("perItem")), cost: draw("cost", say("costOf", { currency: points[0].currency })) };
  const choose = h("select", { "aria-label": say("versusTokens"), onchange: () => card.redraw() },
    options([["tokens", say("tokens")], ["cost", say("cost")]], "tokens"));
  const card = chart(say(priced ? "versusCost" : "versusTokens"), null, (width) => ways[choose.value](width),
    priced ? choose : null);
  return card;
}
