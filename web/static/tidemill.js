// Makes pages live: one event stream for the tab, palette, keys, copying. Pages work without it.
const policy = window.trustedTypes
  ? trustedTypes.createPolicy("tidemill", { createHTML: (html) => html }) // only for what our own stream sends
  : { createHTML: (html) => html };
const $ = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const root = document.documentElement;
root.classList.add("has-js");

const remembered = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* a browser that keeps nothing */ } },
};

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  return template.content;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// --- pieces of the page ---

const held = new Map(); // pieces that came while somebody was in them

function isInUse(element) {
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && selection.containsNode(element, true);
  const active = document.activeElement;
  return selected || (element.contains(active) && active !== element && active.matches("input, select, textarea, button"));
}

function put(piece) {
  const old = document.getElementById(piece.id);
  if (!old || old.isEqualNode(piece)) return;
  if (isInUse(old)) {
    held.set(piece.id, piece);
    if (!$("[data-new]")) {
      const button = make("button", { type: "button", class: "second small", "data-new": "" }, "New data");
      button.onclick = () => { button.remove(); held.forEach(replace); held.clear(); };
      $("#link").after(button);
    }
    return;
  }
  replace(piece);
}

function replace(piece) {
  const old = document.getElementById(piece.id);
  const scroll = old.scrollTop;
  const focused = old === document.activeElement || (old.contains(document.activeElement) && document.activeElement.getAttribute("href"));
  old.replaceWith(piece);
  piece.scrollTop = scroll;
  if (focused === true) piece.focus({ preventScroll: true });
  else if (focused) all("a", piece).find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
  filterRows();
  zone(piece);
}

// --- logs ---

const log = $("[data-lines]");
const LINES_MAX = 5000;
let paused = false;
let waiting = [];
let follows = true;
const more = make("button", { type: "button", class: "more", hidden: "" });

function atEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function addLines(lines) {
  if (paused || !follows) {
    waiting.push(...lines);
    waiting = waiting.slice(-LINES_MAX);
    more.textContent = waiting.length + " new line" + (waiting.length > 1 ? "s" : "");
    more.hidden = false;
    return;
  }
  log.append(...lines);
  lines.forEach(zone);
  log.append(more);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  $("#nolines")?.remove();
  log.scrollTop = log.scrollHeight;
}

function toEnd() {
  follows = true;
  more.hidden = true;
  const lines = waiting;
  waiting = [];
  if (!paused) addLines(lines);
  log.scrollTop = log.scrollHeight;
}

if (log) {
  log.append(more);
  more.onclick = () => { press($("[data-do=pause]"), false); paused = false; toEnd(); };
  if (!location.hash.startsWith("#L")) log.scrollTop = log.scrollHeight;
  log.addEventListener("scroll", () => {
    follows = atEnd();
    if (follows && !paused && waiting.length) toEnd();
  }, { passive: true });
}

let local = remembered.get("zone") === "local";

function zone(from) {
  if (!log || !from.querySelectorAll) return;
  for (const time of all(".ln time", from.matches?.(".ln") ? from.parentNode : from)) {
    if (time.dataset.zone === String(local)) continue;
    time.dataset.zone = local;
    const at = new Date(time.dateTime);
    time.textContent = local ? at.toTimeString().slice(0, 8) : at.toISOString().slice(11, 19);
  }
}

function press(button, on) {
  button?.setAttribute("aria-pressed", on);
}

const switches = {
  pause: () => { paused = !paused; if (!paused) toEnd(); return paused; },
  wrap: () => !log.classList.toggle("nowrap-lines"),
  zone: () => { local = !local; remembered.set("zone", local ? "local" : "utc"); zone(log); return local; },
};
if (local && log) { zone(log); press($("[data-do=zone]"), true); }
for (const button of all("button[data-do]")) button.onclick = () => press(button, switches[button.dataset.do]());

// --- the stream ---

const note = $("#link");
const at = document.body.dataset.at;
let stream = null;
let last = log?.dataset.after || "";
let wait = 1000;
let timer = 0;

function say(text) {
  if (note && note.textContent !== text) note.textContent = text;
}

function open() {
  clearTimeout(timer);
  if (stream || !at || !note) return;
  let address = "/events?topics=" + encodeURIComponent(at);
  if (last) address += "&after=" + encodeURIComponent(last);
  stream = new EventSource(address);
  stream.onopen = () => { wait = 1000; say("live"); };
  stream.addEventListener("piece", (event) => {
    const piece = parsed(event.data).firstElementChild;
    if (piece) put(piece);
  });
  stream.addEventListener("lines", (event) => {
    last = event.lastEventId;
    if (log) addLines([...parsed(event.data).children].filter((line) => !document.getElementById(line.id)));
  });
  stream.addEventListener("gone", () => { close(); say("This page is no longer there; reload it."); });
  stream.onerror = () => {
    close();
    say("reconnecting");
    timer = setTimeout(open, wait + Math.random() * 500);
    wait = Math.min(wait * 2, 30000);
  };
}

function close() {
  stream?.close();
  stream = null;
}

let hidden = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(() => { close(); clearTimeout(timer); say("paused"); }, 30000);
  else if (!stream) open();
});
addEventListener("pagehide", close);
addEventListener("pageshow", (event) => { if (event.persisted) open(); });
if ($("[data-lines]") || document.body.innerHTML.includes("<!--live-->")) open();

// --- copying ---

document.addEventListener("click", async (event) => {
  const code = event.target.closest("[data-copy]");
  if (!code || getSelection().toString()) return;
  try {
    await navigator.clipboard.writeText(code.textContent.trim());
    say("copied");
  } catch { getSelection().selectAllChildren(code); }
});

// --- filters and lists ---

let picked = -1;

function filterRows() {
  const input = $("[data-filter]");
  if (!input) return;
  const words = input.value.toLowerCase().split(/\s+/);
  for (const row of all("#" + input.dataset.filter + " tbody tr"))
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
}
$("[data-filter]")?.addEventListener("input", filterRows);

function pick(step) {
  const rows = all(".rows tbody tr, ul.rows > li").filter((row) => !row.hidden);
  if (!rows.length) return;
  rows[picked]?.classList.remove("on");
  picked = Math.max(0, Math.min(rows.length - 1, picked + step));
  rows[picked].classList.add("on");
  rows[picked].scrollIntoView({ block: "nearest" });
  $("a", rows[picked])?.focus({ preventScroll: true });
}

// --- palette ---

let palette = null;

function openPalette() {
  if (!palette) buildPalette();
  if (!palette.open) palette.showModal();
  const input = $("input", palette);
  input.select();
  input.dispatchEvent(new Event("input"));
}

function buildPalette() {
  const input = make("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "hits", "aria-label": "Go to or do", placeholder: "Go to or do …", autocomplete: "off", spellcheck: "false" });
  const list = make("ul", { id: "hits", role: "listbox", "aria-label": "Hits" });
  palette = make("dialog", { "aria-label": "Palette" }, input, list, make("p", {}, "Enter go · Tab copy command · Esc close"));
  document.body.append(palette);
  let hits = [];
  let index = 0;
  let asked = 0;
  const mark = () => {
    all("li", list).forEach((item, i) => item.setAttribute("aria-selected", i === index));
    list.children[index]?.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", hits.length ? "hit" + index : "");
  };
  const go = (hit) => { if (hit) location.href = hit.link; };
  input.addEventListener("input", async () => {
    const mine = ++asked;
    const answer = await fetch("/search.json?q=" + encodeURIComponent(input.value)).catch(() => null);
    if (!answer?.ok || mine !== asked) return;
    hits = (await answer.json()).hits;
    index = 0;
    list.replaceChildren(...hits.map((hit, i) => {
      const item = make("li", { role: "option", id: "hit" + i }, make("span", {}, hit.title), make("code", {}, hit.keys || hit.cli));
      item.onclick = () => go(hit);
      return item;
    }));
    mark();
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { index = (index + step + hits.length) % (hits.length || 1); mark(); event.preventDefault(); }
    else if (event.key === "Enter") { go(hits[index]); event.preventDefault(); }
    else if (event.key === "Tab" && hits[index]?.cli) {
      navigator.clipboard?.writeText(hits[index].cli).then(() => say("copied"), () => {});
      event.preventDefault();
    }
  });
}

function openHelp() {
  let help = $("#help");
  if (!help) {
    const keys = [["Ctrl K", "palette"], ["/", "filter or search"], ["g a, g m, g s", "apps, machine, search"], ["g o t b r e l c d", "in an app: overview, activity, builds, resources, metrics, logs, config, domains"], ["j k Enter", "up and down in lists, open"], ["Esc", "close, leave"]];
    const list = make("dl", {});
    for (const [key, what] of keys) list.append(make("dt", {}, make("kbd", {}, key)), make("dd", {}, what));
    help = make("dialog", { id: "help", "aria-label": "Keys" }, list);
    document.body.append(help);
  }
  help.showModal();
}

// On a phone the tabs scroll; the one in use is to be seen.
const tab = $(".tabs [aria-current]");
if (tab) tab.parentNode.scrollLeft = tab.offsetLeft - tab.parentNode.offsetLeft - 40;

// --- keys ---

const single = $("[data-do=keys]");
if (single) {
  single.checked = remembered.get("keys") !== "off";
  single.onchange = () => remembered.set("keys", single.checked ? "on" : "off");
}

let afterG = 0;
const app = location.pathname.match(/^\/apps\/([^/]+)/)?.[1];
const places = { a: "/", m: "/machine", s: "/search" };
const tabs = { o: "", t: "/activity", b: "/activity", r: "/resources", e: "/metrics", l: "/logs", c: "/config", d: "/domains" };

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  const field = event.target.closest?.("input, select, textarea, [contenteditable]");
  if (event.key === "Escape" && field && !palette?.open) field.blur();
  if (field || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || remembered.get("keys") === "off") return;
  if (afterG && Date.now() - afterG < 1500) {
    afterG = 0;
    const place = app && app !== "new" ? tabs[event.key] : undefined;
    if (place !== undefined) location.href = "/apps/" + app + place;
    else if (places[event.key]) location.href = places[event.key];
    return;
  }
  if (event.key === "g") afterG = Date.now();
  else if (event.key === "/") { ($(".filter") || $(".find input"))?.focus(); event.preventDefault(); }
  else if (event.key === "?") openHelp();
  else if (event.key === "j" || event.key === "k") pick(event.key === "j" ? 1 : -1);
});
