// Puts the page together: address, language, colours, keys, and what is asked anew while a run goes on.
const EVERY = 3000;
// What the reader has unfolded and chosen on the first page stays when that is drawn anew.
const app = { page: null, source: null, view: null, scroll: 0,
  kept: { open: new Set(), subsets: null, whole: false, settings: false } };

function route() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

function link(values) {
  return `#${new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== undefined && value !== null))}`;
}

function move(values, replace = false) {
  const address = link(values);
  if (address === (location.hash || "#")) return;
  if (!replace) { location.hash = address; return; }
  history.replaceState(null, "", address);
  show();
}

function header(page) {
  const next = language === "en" ? "zh" : "en";
  const made = page.made ? new Date(page.made) : null;
  const time = made && !Number.isNaN(made.getTime()) ? made.toLocaleString(language === "zh" ? "zh-CN" : "en-GB",
    { dateStyle: "medium", timeStyle: "short" }) : page.made;
  const theme = () => getComputedStyle(document.documentElement).colorScheme === "dark" ? "dark" : "light";
  const look = h("button", { title: say("switchTheme"), "aria-label": say("switchTheme"), id: "theme", onclick() {
    setTheme(theme() === "dark" ? "light" : "dark");
    look.textContent = theme() === "dark" ? `☀ ${say("light")}` : `☾ ${say("dark")}`;
  } }, theme() === "dark" ? `☀ ${say("light")}` : `☾ ${say("dark")}`);
  return h("header.top", {}, h("div.brand", {}, h("a", { href: "#" }, h("h1", {}, page.title || "ocli")),
    h("p.quiet", {}, say("made", { time, ocli: page.ocli ?? "" }), page.live ? h("span.live", {}, say("live")) : null)),
    h("div.buttons", {}, h("button", { id: "language", lang: next, onclick: () => { setLanguage(next); draw(); } },
      say("language")), look));
}

function setLanguage(name) {
  language = name;
  memory.set("language", name);
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  memory.set("theme", name);
}

// Builds everything anew, as after a change of language.
function draw() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  app.view = null;
  app.main = h("div", { id: "main" });
  fill(document.getElementById("app"), header(app.page), app.main);
  show();
}

function show() {
  const to = route(), { page } = app;
  if (to.task !== undefined && page.tasks[to.task]) {
    if (app.view?.task !== to.task) {
      if (!app.view) app.scroll = app.drawn ? scrollY : 0;
      app.view = new TaskView(page, to.task);
      fill(app.main, app.view.node);
      scrollTo(0, 0);
    }
    app.view.show(to);
  } else {
    app.view = null;
    document.body.classList.remove("reading");
    fill(app.main, to.task !== undefined ? h("p.alert", {}, say("unknownTask", { task: to.task })) : null, overview(page));
    // Charts take their height a frame later.
    requestAnimationFrame(() => requestAnimationFrame(() => { if (!app.view) scrollTo(0, app.scroll); }));
  }
  app.drawn = true;
  document.title = `${to.task ? `${to.task} · ` : ""}${page.title || "ocli"} · ocli`;
}

// While a run goes on, its page is asked for every few seconds; what the reader looks at stays where it is.
async function follow() {
  try {
    const page = await app.source.page();
    const changed = JSON.stringify({ ...page, made: 0 }) !== JSON.stringify({ ...app.page, made: 0 });
    app.page = page;
    if (changed && !app.view) { app.scroll = scrollY; draw(); }
    else if (changed && app.view && !app.view.route.id) { Object.assign(app.view,
      { page, about: page.tasks[app.view.task] ?? app.view.about }); app.view.drawFilters(); await app.view.load(); }
    document.getElementById("lost")?.remove();
  } catch (error) {
    if (!document.getElementById("lost")) document.body.prepend(h("p.alert", { id: "lost", role: "status" },
      say("lost", { error: error.message })));
  }
  if (app.page.live) setTimeout(follow, EVERY);
}

async function start() {
  language = memory.get("language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  if (!WORDS[language]) language = "en";
  const theme = memory.get("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  app.page = JSON.parse(document.getElementById("page").textContent);
  const served = document.getElementById("page").dataset.source === "server";
  app.source = served ? new ServerSource() : new FileSource(app.page);
  if (!app.page.models) app.page = await app.source.page();
  addEventListener("hashchange", show);
  addEventListener("keydown", (event) => app.view?.key(event));
  draw();
  if (app.page.live && served) setTimeout(follow, EVERY);
}

start();
