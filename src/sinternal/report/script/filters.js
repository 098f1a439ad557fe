// Which transcripts are chosen; the state lives in the address, so that it can be sent to somebody else.
const form = element("filters");
const SAFE = new Set(["refused", "helped", "not helpful", "safe"]);
let hits = [];
let terms = [];
let searching = "";
let turn = 0;

const selects = () => [...form.querySelectorAll("select[data-column]")];

// Choices are whatever names a run has, so they are made here and not in the markup, which changes some characters.
function offer(select, values, chosen) {
  for (const name of values) {
    const option = make("option", name);
    option.value = name;
    option.selected = name === chosen;
    select.append(option);
  }
}

function makeChoices() {
  for (const select of selects()) {
    const names = store.names[select.name].filter(Boolean);
    offer(select, select.name === "broken" ? names.sort(new Intl.Collator("en", { numeric: true }).compare) : names, null);
  }
  if (!element("pairs")) return;
  ["a", "b"].forEach((name, i) => offer(element("pairs").elements[name], store.names.arm, store.pairs[i]));
}

// Rows that pass all filters, and for each choice how many would if it were chosen.
function choose(ignored = []) {
  const used = selects().filter(({ name }) => store.columns[name] && !ignored.includes(name));
  const columns = used.map(({ name }) => store.columns[name]);
  const wanted = used.map((select) => (select.value === "" ? -1 : store.names[select.name].indexOf(select.value)));
  const counts = used.map(({ name }) => new Uint32Array(store.names[name].length));
  const rows = [], prompt = view.prompt ? store.promptOf.get(view.prompt) : undefined;
  for (let row = 0; row < store.count; row++) {
    if (view.prompt && store.prompts[row] !== prompt) continue;
    let failed = -1, failures = 0;
    for (let i = 0; i < columns.length && failures < 2; i++) {
      if (wanted[i] !== -1 && columns[i][row] !== wanted[i]) { failed = i; failures++; }
    }
    if (failures === 0) {
      rows.push(row);
      for (let i = 0; i < columns.length; i++) counts[i][columns[i][row]]++;
    } else if (failures === 1) counts[failed][columns[failed][row]]++;
  }
  used.forEach((select, i) => {
    for (const option of select.options) {
      if (option.value === "") continue;
      const count = counts[i][store.names[select.name].indexOf(option.value)];
      const told = `${inWords(select.name, option.value)} (${number(count)})`;
      if (option.label !== told) option.label = told;
    }
  });
  return rows;
}

// Of some rows those that hold all terms; where only the texts can say, they come as they are found.
async function withTerms(rows, found) {
  if (!terms.length) return rows;
  if (!store.words) return rows.filter((row) => terms.every((term) => occurs(haystack[row], term)));
  const mine = turn;
  const { every, sure } = await candidates(terms);
  const possible = rows.filter((row) => every[row]);
  if (sure || mine !== turn) return possible;
  const sureRows = [];
  let told = performance.now();
  for (let i = 0; i < possible.length; i++) {
    const straw = strawOf(textsAt(possible[i]) ?? await textsOf(possible[i]));
    if (mine !== turn) return null;
    if (terms.every((term) => occurs(straw, term))) sureRows.push(possible[i]);
    if (performance.now() - told > 300) {
      searching = `, ${number(i + 1)} of ${number(possible.length)} looked through`;
      found(sureRows);
      told = performance.now();
    }
  }
  searching = "";
  return sureRows;
}

function stateOf() {
  const state = new URLSearchParams();
  for (const field of form.elements) if (field.name && field.value && !(view.mode === "pairs" && field.name === "arm")) state.set(field.name, field.value);
  if (view.mode === "pairs") for (const name of ["a", "b", "change"]) state.set(name, element("pairs").elements[name].value);
  if (view.only !== null) return new URLSearchParams({ transcript: store.ids[view.only] ?? "" });
  if (view.of) state.set("of", view.of);
  if (view.prompt) state.set("prompt", view.prompt);
  if (view.page > 1) state.set("page", view.page);
  return state;
}

function remember(push = false) {
  const state = stateOf();
  const address = state.size ? `#${state}` : "#transcripts";
  if (address === location.hash) return;
  try {
    if (push) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  } catch { /* in a sandbox, or too often: the page works without */ }
}

// A hash without "=" is an ordinary link to a part of the page.
function recall() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return false;
  const state = new URLSearchParams(hash);
  const wanted = state.get("transcript");
  view.only = wanted === null ? null : store.rowOf.get(wanted) ?? -1;
  view.mode = state.has("a") && state.has("b") && element("pairs") ? "pairs" : "list";
  const unknown = [];
  const known = (name, isKnown) => {
    const asked = state.get(name) ?? "";
    if (!asked || isKnown(asked)) return asked;
    unknown.push([name, asked]);
    return "";
  };
  view.of = known("of", (id) => store.rowOf.has(id));
  view.prompt = known("prompt", (id) => store.promptOf.has(id));
  for (const field of form.elements) {
    if (!field.name) continue;
    field.value = known(field.name, (asked) => field.type === "search" || [...field.options].some(({ value }) => value === asked));
  }
  if (element("pairs")) for (const name of ["a", "b", "change"]) {
    const select = element("pairs").elements[name], asked = known(name, (word) => [...select.options].some(({ value }) => value === word));
    if (asked || name === "change") select.value = asked;
  }
  view.page = Number(known("page", (page) => /^[1-9]\d*$/.test(page))) || 1;
  for (const [name, asked] of state) if (!namesInAddress().has(name) && !(store.names[name]?.length === 1 && store.names[name][0] === asked)) unknown.push([name, asked]);
  sayUnknown(unknown);
  return true;
}

// What an address can name; where a column has but one value, there is no filter, and naming that value changes nothing.
function namesInAddress() {
  return new Set(["transcript", "of", "prompt", "page", ...[form, element("pairs")].flatMap((own) => [...(own?.elements ?? [])].map(({ name }) => name))].filter(Boolean));
}

function sayUnknown(unknown) {
  const line = element("unknown"), labels = new Map(selects().map((select) => [select.name, select.closest("label").firstChild.textContent.trim()]));
  const told = unknown.slice(0, 3).map(([name, asked]) => `${labels.get(name) ?? name} “${asked.slice(0, 80)}”`).join(", ");
  line.textContent = `The address asks for what this report does not have, so it was left out: ${told}${unknown.length > 3 ? `, and ${unknown.length - 3} more` : ""}.`;
  line.hidden = !unknown.length;
}
