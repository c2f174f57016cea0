// Where items come from: this file, or the server of `ocli view`. Both have items(query), item(task, id, sample) and page().

// Whether one model's answer is what the filter asks for.
function fits(answer, filter) {
  if (!answer) return filter === "all";
  const { score, status } = answer;
  // A reply cut off before its answer is both truncated and unanswered, as in the table.
  if (filter === "unanswered" && status === "truncated") return missingScore(answer.answer);
  if (filter === "all") return true;
  if (filter === "right") return !missingScore(score) && score >= 1;
  if (filter === "wrong") return !missingScore(score) && score < 1;
  return status === filter;
}

function differ(row, models) {
  const scores = models.map((model) => row.answers[model]?.score ?? null);
  return scores.some((score) => score !== scores[0]);
}

class FileSource {
  constructor(page) {
    this.models = page.models;
    this.tasks = new Map();
  }

  // Unpack a task's items once.
  open(task) {
    if (!this.tasks.has(task)) this.tasks.set(task, this.unpack(task));
    return this.tasks.get(task);
  }

  async unpack(task) {
    const holder = [...document.querySelectorAll("script[data-task]")].find((node) => node.dataset.task === task);
    if (!holder) return [];
    const bytes = Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const { prompts, items } = JSON.parse(await new Response(stream).text());
    for (const item of items) {
      for (const reply of Object.values(item.replies)) Object.assign(reply, prompts[reply.prompt], { shared: reply.prompt });
    }
    for (const prompt of prompts) prompt.low = searchable(prompt);
    items.prompts = prompts;
    return items;
  }

  async items({ task, filter = "all", model = "", subset = "", q = "", offset = 0, limit = 100 }) {
    const all = await this.open(task), wanted = q.trim().toLowerCase(), asked = model ? [model] : this.models;
    const found = all.filter((item) =>
      (filter === "differ" ? differ(item, this.models) : filter === "all" || asked.some((name) => fits(item.answers[name], filter)))
      && (!subset || item.subset === subset)
      && (!wanted || this.says(item, wanted, all.prompts)));
    const rows = found.slice(offset, offset + limit);
    for (const row of rows) row.question ??= question(Object.values(row.replies)[0]);
    return { total: found.length, items: rows };
  }

  says(item, wanted, prompts) {
    item.low ??= [item.id, item.target, ...Object.values(item.answers).map((answer) => answer.answer),
      ...Object.values(item.replies).map((reply) => reply.text)].join("\n").toLowerCase();
    return item.low.includes(wanted) || Object.values(item.replies).some((reply) => prompts[reply.shared]?.low.includes(wanted));
  }

  async item(task, id, sample) {
    return (await this.open(task)).find((item) => item.id === id && (item.sample ?? 0) === sample) ?? null;
  }
}

class ServerSource {
  async ask(path, query) {
    const values = Object.entries(query ?? {}).filter(([, value]) => value !== "" && value !== undefined);
    const answer = await fetch(`api/${path}?${new URLSearchParams(values)}`);
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error ?? answer.status);
    return said;
  }

  page() { return this.ask("page"); }
  items(query) { return this.ask("items", query); }
  item(task, id, sample) { return this.ask("item", { task, id, sample }); }
}

// All contexts that were sent for an item, each a list of turns; a base model's text is one turn of the role "text".
function contexts(reply) {
  if (Array.isArray(reply?.messages)) return Array.isArray(reply.messages[0]) ? reply.messages : [reply.messages];
  return [reply?.prompt].flat().filter((text) => typeof text === "string").map((content) => [{ role: "text", content }]);
}

function searchable(prompt) {
  return contexts(prompt).flat().map((turn) => turn.content).join("\n").toLowerCase();
}

// The beginning of what is asked, for the list.
function question(reply) {
  const turns = contexts(reply)[0] ?? [];
  const last = turns.findLast((turn) => turn.role !== "assistant") ?? turns.at(-1);
  const lines = (last?.content ?? "").trim().split("\n");
  const shown = last?.role === "text" ? lines.slice(-6) : lines;
  return shown.join(" ").slice(0, 240);
}
