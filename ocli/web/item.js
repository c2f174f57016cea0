// One item: the prompt, and what each model made of it, side by side.

function outcome(answer) {
  if (!answer || answer.status === "missing") return "missing";
  if (answer.status === "failed") return "failed";
  if (missingScore(answer.score)) return "unscored";
  return answer.score >= 1 ? "right" : answer.score > 0 ? "partly" : "wrong";
}

const QUIET = ["ok", "failed", "missing", "pending"];
const SIGNS = { right: "✓", wrong: "✗", partly: "◐", failed: "!", missing: "…", unscored: "·" };

function verdict(answer) {
  const kind = outcome(answer);
  const words = { unscored: answer?.status === "pending" ? say("pending") : say("noScore") };
  return h("span", { class: `verdict ${kind}` }, `${SIGNS[kind]} ${words[kind] ?? say(kind)}`);
}

function itemView(page, task, item, query) {
  const models = page.models.filter((model) => item.replies[model] || item.answers[model]);
  const prompts = models.map((model) => item.replies[model]).filter(Boolean);
  const sent = (reply) => JSON.stringify(contexts(reply));
  const same = prompts.length > 0 && prompts.every((reply) => sent(reply) === sent(prompts[0]));
  const accepted = (item.accepted ?? []).filter((answer) => answer !== item.target);
  return h("div.item-body", {},
    item.target ? h("div.target", {}, h("span.label", {}, say("target")), h("span.value", {}, item.target),
      accepted.length ? [h("span.label", {}, say("accepted")), h("span.value", {}, accepted.join(" · "))] : null) : null,
    same && searchable(prompts[0]) ? h("section", {}, h("h4", {}, say("prompt")), promptView(prompts[0], query)) : null,
    h("div.replies", {}, models.map((model) => replyView(page, item, model,
      { same, query, perplexity: isPerplexity(page.tasks[task].metric) }))));
}

function replyView(page, item, model, { same, query, perplexity }) {
  const answer = item.answers[model], reply = item.replies[model];
  const head = h("div.reply-head", {}, modelName(model, page.models.indexOf(model)), perplexity ? null : verdict(answer),
    answer && !QUIET.includes(answer.status) ? h("span", { class: `badge loud ${answer.status}` }, say(answer.status)) : null);
  if (!reply) return h("article.reply", {}, head, h("p.quiet", {}, say("noReply")));
  return h("article.reply", {}, head, facts(answer, reply, query, perplexity),
    reply.error ? h("div.error", {}, h("b", {}, say("error")), h("pre", {}, reply.error)) : null,
    same ? null : folded(say("prompt"), false, promptView(reply, query)),
    reply.reasoning ? folded([say("reasoning"), h("span.quiet", {},
      ` ${say("characters", { n: count(reply.reasoning.length) })}`)], false,
      [h("pre.reasoning", {}, marked(reply.reasoning, query))]) : null,
    reply.choices ? choiceTable(item, answer, reply) : reply.error ? null
      : [h("h4", {}, say("reply")), reply.text ? h("pre.text", {}, marked(reply.text, query)) : h("p.quiet", {},
        say("emptyReply"))]);
}

// Of a perplexity the results hold nats per unit.
function ruleScore(rule, score) {
  if (!isPerplexity(rule) || missingScore(score)) return share(score);
  return number(rule === "bits_per_byte" ? score / Math.LN2 : Math.exp(score));
}

function facts(answer, reply, query, perplexity) {
  const usage = reply.usage ?? {}, rules = Object.entries(reply.rules ?? {});
  const known = !missingScore(usage.prompt) || !missingScore(usage.completion);
  const pairs = [
    [say("extracted"), perplexity ? null : answer?.answer === null || answer?.answer === undefined ? h("i.quiet", {},
      say("nothing")) : h("b.answer", {}, marked(answer.answer, query))],
    [say("pattern"), answer?.pattern], [say("rules"), rules.length ? rules.map(([rule, score]) => h("span.rule", {}, `${rule} `,
      h("b", {}, ruleScore(rule, score)))) : null],
    [say("finish"), reply.finish_reason],
    [say("tokens"), known ? say("tokensOf", { prompt: missingScore(usage.prompt) ? "?" : count(usage.prompt),
      completion: missingScore(usage.completion) ? "?" : count(usage.completion) }) : null],
    [say("seconds"), reply.seconds ? reply.seconds.toFixed(2) : null],
  ];
  return h("dl.facts", {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name,
    value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// A question's choices with their log-probabilities; the bar is the probability relative to the likeliest.
function choiceTable(item, answer, reply) {
  const names = item.choices ?? [], best = Math.max(...reply.choices.map((choice) => choice.logprob ?? -Infinity));
  const is = (place, text) => text !== null && text !== undefined
    && (names[place] === text || reply.choices[place].text.trim() === String(text).trim());
  return [h("h4", {}, say(reply.choices.length > 1 ? "choices" : "likelihood")), h("div.scroll", {}, h("table.small.choices", {},
    h("thead", {}, h("tr", {}, [say("choice"), say("logprob"), say("perToken"), say("tokens")].map((word) => h("th", {}, word)))),
    h("tbody", {}, reply.choices.map((choice, place) => {
      const right = item.right === undefined || item.right === null ? is(place, item.target) : item.right === place;
      const label = names[place] && names[place] !== choice.text.trim() ? `${names[place]}  ${choice.text.trim()}` : choice.text;
      const told = !missingScore(choice.logprob);
      const preferred = is(place, answer?.answer) ? h("span.badge.preferred", {}, `● ${say("preferred")}`) : null;
      const isRight = right ? h("span.badge.rightone", {}, `✓ ${say("isRight")}`) : null;
      return h("tr", { class: right ? "right" : null }, h("td", {}, h("span.choice", {}, label),
        h("div.badges", {}, preferred, isRight)),
        h("td.num", {}, told ? choice.logprob.toFixed(3) : "–",
          told ? h("div.track", { title: say("relative") }, h("i.fillbar",
          { css: { width: `${100 * Math.exp(choice.logprob - best)}%` } })) : null),
        h("td.num", {}, told && choice.tokens ? (choice.logprob / choice.tokens).toFixed(3) : "–"),
          h("td.num", {}, choice.tokens ?? "–"));
    }))))];
}
