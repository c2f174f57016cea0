// A prompt as it was sent: turns as turns, with what leads up to the last question folded.
const LONG = 400, LINES = 16;

function promptView(reply, query) {
  const all = contexts(reply);
  if (!all.length) return null;
  return all.map((turns, place) => h("div.turns", {}, all.length > 1 ? h("div.label", {}, `${say("context")} ${place + 1}`) : null,
    turnsView(turns, query)));
}

function turnsView(turns, query) {
  const last = turns.findLastIndex((turn) => turn.role !== "assistant");
  const opening = turns[0]?.role === "system" && last > 0 ? 1 : 0;
  const earlier = turns.slice(opening, Math.max(last, opening)), shown = turns.slice(Math.max(last, opening));
  const found = (some) => query && some.some((turn) => turn.content.toLowerCase().includes(query.toLowerCase()));
  return [
    opening ? folded(say("systemTurn"), turns[0].content.length < LONG, [turnView(turns[0], query)]) : null,
    earlier.length ? folded(say("earlier", { n: earlier.length }), found(earlier),
      earlier.map((turn) => turnView(turn, query))) : null,
    shown.map((turn) => turn.role === "text" ? textView(turn.content, query) : turnView(turn, query)),
  ];
}

function folded(title, open, content) {
  return h("details", { open: Boolean(open) }, h("summary", {}, title), content);
}

function turnView(turn, query) {
  return h(`div.turn`, { class: `turn ${["system", "user", "assistant"].includes(turn.role) ? turn.role : "other"}` },
    h("div.role", {}, WORDS[language][turn.role] ?? turn.role), h("pre", { lang: "" }, marked(turn.content, query)));
}

// A base model's text: its end is the question, what stands before it folds.
function textView(text, query) {
  const lines = text.split("\n"), cutAt = lines.length > LINES ? lines.length - LINES : 0;
  const before = lines.slice(0, cutAt).join("\n"), end = lines.slice(cutAt).join("\n");
  return h("div.turn.user", {}, h("div.role", {}, say("text")),
    before ? folded(say("examples", { n: cutAt }), query && before.toLowerCase().includes(query.toLowerCase()),
      [h("pre", {}, marked(before, query))]) : null,
    h("pre", {}, marked(end, query)));
}
