// What is on the screen, and what a reader does to it.
const PAGE = 50, PAIRS = 20;
const view = { mode: "list", page: 1, only: null, of: "", prompt: "" };
let pairs = [];

function showTabs() {
  if (!element("pairs")) return;
  const isPairs = view.mode === "pairs" && view.only === null;
  element("as-list").setAttribute("aria-pressed", String(!isPairs));
  element("as-pairs").setAttribute("aria-pressed", String(isPairs));
  element("pairs").hidden = !isPairs;
  for (const label of form.querySelectorAll(".of-arm")) label.hidden = isPairs;
}

function show() {
  const isPairs = view.mode === "pairs" && view.only === null;
  const rows = isPairs ? pairs : hits, size = isPairs ? PAIRS : PAGE;
  const pages = Math.max(1, Math.ceil(rows.length / size));
  view.page = Math.min(Math.max(1, view.page), pages);
  const total = isPairs ? `${number(rows.length)} pairs` : `${number(rows.length)} of ${number(store.count)} transcripts`;
  element("count").textContent = total + (view.prompt && !isPairs && view.only === null ? ` to the prompt ${view.prompt}` : "") + searching + (isPairs && rows.length ? `: ${tallyOf(rows)}` : "");
  element("page").textContent = `page ${view.page} of ${pages}`;
  element("previous").disabled = view.page === 1;
  element("next").disabled = view.page === pages;
  element("download").disabled = !rows.length;
  element("everything").hidden = view.only === null && !view.of && !view.prompt;
  const shown = rows.slice((view.page - 1) * size, view.page * size);
  element("entries").replaceChildren(...(shown.length ? shown.map(isPairs ? pairEntry : entry) : [make("p", nothing(isPairs), "nothing")]));
}

function nothing(isPairs) {
  if (searching) return "Nothing found yet.";
  if (view.only !== null) return "There is no such transcript in this report: the link may be of another run.";
  if (isPairs && element("pairs").elements.a.value === element("pairs").elements.b.value) return "Choose two different arms.";
  const filtered = selects().some((select) => select.value);
  if (!terms.length) return filtered ? "Nothing matches these filters." : "There is nothing to show.";
  return `Nothing contains ${terms.map((term) => `“${term}”`).join(" and ")}${filtered ? " under these filters" : ""}.`;
}

function tallyOf(rows) {
  const counts = new Map();
  for (const pair of rows) {
    const change = changeOf(pair) ?? "same";
    counts.set(change, (counts.get(change) ?? 0) + 1);
  }
  return [...Object.keys(TOLD), "same"].filter((name) => counts.has(name)).map((name) => `${number(counts.get(name))} ${TOLD[name] ?? "same outcome"}`).join(", ");
}

function pick(rows) {
  if (view.mode !== "pairs") {
    hits = rows;
    return;
  }
  const { a, b, change } = element("pairs").elements, chosen = new Set(rows), of = store.rowOf.get(view.of);
  pairs = pairsOf(a.value, b.value).filter((pair) => pair.some((row) => chosen.has(row)));
  if (view.of) pairs = pairs.filter((pair) => pair.includes(of));
  if (CHANGES[change.value]) pairs = pairs.filter(CHANGES[change.value]);
}

// Applies filters and search, and shows what is left; until then, what is shown is of an earlier choice.
async function refresh() {
  const mine = ++turn;
  element("entries").setAttribute("aria-busy", "true");
  try {
    await chooseAndShow(mine);
  } finally {
    if (mine === turn) element("entries").removeAttribute("aria-busy");
  }
}

async function chooseAndShow(mine) {
  searching = "";
  terms = termsOf(form.elements.text.value);
  showTabs();
  const rows = choose(view.mode === "pairs" ? ["arm"] : []);
  if (view.only !== null) hits = view.only >= 0 ? [view.only] : [];
  else {
    const found = await withTerms(rows, (some) => { if (mine === turn) { pick(some); show(); } });
    if (mine !== turn || found === null) return;
    searching = "";
    pick(found);
  }
  show();
}

async function changed(push, { everything = false } = {}) {
  view.page = 1;
  view.only = null;
  view.of = "";
  if (everything) view.prompt = "";
  element("unknown").hidden = true;
  const done = refresh();
  remember(push);
  await done;
}

function turnPage(by) {
  view.page += by;
  show();
  remember(true);
  element("transcripts").scrollIntoView();
  element("count").focus({ preventScroll: true });
}

// What is shown, all pages of it, as a table: one row for each transcript, or for each pair.
async function saveShown() {
  const isPairs = view.mode === "pairs" && view.only === null, rows = isPairs ? pairs : hits, parts = [];
  const names = Object.keys(store.columns), attacked = Object.keys(store.turns).length > 0;
  const own = [...names, ...TEXTS.map(([name]) => name), ...(attacked ? ["queries"] : []), "id"];
  const cells = async (row) => {
    const texts = textsAt(row) ?? await textsOf(row);
    const turns = attacked ? [texts.turns.length ? JSON.stringify(turnsAsObjects(row, texts)) : ""] : [];
    return [...names.map((name) => value(row, name)), ...TEXTS.map(([name]) => texts[name]), ...turns, store.ids[row]];
  };
  parts.push(csvLine(isPairs ? ["change", ...own.map((name) => `${name} (a)`), ...own.map((name) => `${name} (b)`)] : own));
  for (const [i, row] of rows.entries()) {
    parts.push(csvLine(isPairs ? [TOLD[changeOf(row)] ?? "same outcome", ...await cells(row[0]), ...await cells(row[1])] : await cells(row)));
    if (i % 500 === 499) say(`${number(i + 1)} of ${number(rows.length)} rows`);
  }
  download(isPairs ? "pairs.csv" : "transcripts.csv", parts);
  say(`${number(rows.length)} rows saved`);
}

// On paper: what is folded for its length is opened, and what is not there is told of.
function beforePrint() {
  const articles = [...document.querySelectorAll("#entries > article")], isPairs = view.mode === "pairs" && view.only === null;
  for (const details of document.querySelectorAll("details:not(.fold, .apart)")) {
    if (!details.open) { details.open = true; details.dataset.opened = ""; }
  }
  const folded = articles.filter((article) => article.querySelector(":scope > .fold:not([open])")).length;
  const coming = document.querySelectorAll("#entries [aria-busy]").length;
  const rest = (isPairs ? pairs : hits).length - articles.length, what = isPairs ? "pairs" : "transcripts";
  element("left-out").textContent = [
    rest > 0 ? `Left out on paper: ${number(rest)} more ${what} of this choice. All are on the page, which prints what it shows; “CSV of these” saves them.` : "",
    folded ? `${number(folded)} of those below are folded, as they may hurt to read: “Unfold harmful texts” prints them, too.` : "",
    coming ? `The texts of ${number(coming)} had not been read when this was printed: scroll to them, and print again.` : "",
  ].filter(Boolean).join(" ");
}

function afterPrint() {
  for (const details of document.querySelectorAll("details[data-opened]")) {
    details.open = false;
    delete details.dataset.opened;
  }
}

function listen() {
  element("unfold").addEventListener("change", (event) => {
    for (const folded of document.querySelectorAll("#entries .fold")) folded.open = event.target.checked;
  });
  form.addEventListener("input", (event) => {
    if (event.target.id === "unfold") return;
    changed(event.target.name !== "text");
  });
  for (const one of [form, element("pairs")]) one?.addEventListener("submit", (event) => event.preventDefault());
  element("pairs")?.addEventListener("input", () => changed(true));
  element("as-list")?.addEventListener("click", () => { view.mode = "list"; changed(true); });
  element("as-pairs")?.addEventListener("click", () => { view.mode = "pairs"; changed(true); });
  element("everything").addEventListener("click", () => changed(true, { everything: true }));
  element("clear").addEventListener("click", () => { form.reset(); changed(true, { everything: true }); });
  element("previous").addEventListener("click", () => turnPage(-1));
  element("next").addEventListener("click", () => turnPage(1));
  element("download").addEventListener("click", () => saveShown().catch((problem) => say(problem.message)));
  window.addEventListener("popstate", come);
  window.addEventListener("beforeprint", beforePrint);
  window.addEventListener("afterprint", afterPrint);
}

// To where the address says: a link was followed, or Back.
async function come() {
  const linked = recall();
  if (!linked && location.hash && location.hash !== "#transcripts") return;
  if (!linked) {
    form.reset();
    Object.assign(view, { mode: "list", page: 1, only: null, of: "", prompt: "" });
    element("unknown").hidden = true;
  }
  await refresh();
  if (linked) element("transcripts").scrollIntoView();
}

async function start() {
  await openStore();
  makeChoices();
  const linked = recall();
  if (!store.words) {
    for (let at = 0; at + 1 < store.first.length; at++) await loadChunk(at);
    makeHaystack();
  }
  listen();
  await refresh();
  if (linked) element("transcripts").scrollIntoView();
}

dressTables();
start().catch((problem) => { element("count").textContent = `The transcripts cannot be shown: ${problem.message}`; });
