// Shows the transcripts. All text of models reaches the page through textContent, so it can never become markup.
"use strict";

const PAGE = 50;
const element = (id) => document.getElementById(id);
const form = element("filters");
const SEARCHED = ["prompt", "thinking", "answer", "critique"];
const TEXTS = [["prompt", "Prompt"], ["thinking", "Thinking"], ["answer", "Answer"]];
const VERDICTS = [["verified_without_spec", "no spec"], ["verified_with_spec", "with spec"]];
let columns = null;
let haystack = [];
let hits = [];
let page = 1;

async function unpack(id) {
  const bytes = Uint8Array.from(atob(element(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function make(tag, text, kind) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function badges(row) {
  const value = (name) => columns[name][row];
  const origin = ["kind", "variant", "arm", "family", "split", "request"].filter((name) => form.elements[name]);
  const made = [make("span", value("outcome"), `badge ${value("outcome").replaceAll(" ", "-")}`)];
  made.push(make("span", [...origin.map(value), `seed ${value("seed")}`].join(" · "), "muted"));
  if (value("checked") !== null) made.push(make("span", value("checked") ? "thinking checks safety" : "no safety check", "badge plain"));
  return made;
}

function entry(row) {
  const made = element("entry").content.cloneNode(true);
  made.querySelector(".badges").append(...badges(row));
  const list = made.querySelector("dl");
  for (const [name, label] of TEXTS) {
    const text = columns[name][row];
    list.append(make("dt", label), text === null ? make("dd", "none", "muted") : make("dd", text, "text"));
  }
  const verdicts = VERDICTS.filter(([name]) => columns[name][row] !== null);
  if (verdicts.length) {
    list.append(make("dt", "Own verdict"), make("dd", verdicts.map(([name, label]) => `${columns[name][row]} (${label})`).join(", ")));
  }
  const details = made.querySelector(".critique");
  const critique = columns.critique[row];
  if (critique === null) details.remove();
  else {
    details.querySelector("summary").textContent = "Its critique of this answer, written without the specification";
    details.querySelector("p").textContent = critique;
  }
  fold(made, row);
  return made;
}

// What may hurt to read waits for a click, or for Enter on the line that says what it is.
function fold(made, row) {
  const harmful = columns.request[row] === "harmful", unsafe = columns.outcome[row] === "unsafe";
  const folded = made.querySelector(".fold");
  if (!harmful && !unsafe) {
    folded.remove();
    return;
  }
  const reasons = [harmful && "the request is marked as harmful", unsafe && "the answer was judged unsafe"].filter(Boolean);
  folded.querySelector("summary").textContent = `Show this text: ${reasons.join(", and ")}`;
  folded.append(made.querySelector(".texts"));
  folded.open = element("unfold").checked;
}

function choose() {
  const wanted = [...form.querySelectorAll("select")].filter((select) => select.value).map((select) => [columns[select.name], select.value]);
  const text = form.elements.text.value.trim().toLowerCase();
  hits = [];
  for (let row = 0; row < columns.prompt.length; row++) {
    if (wanted.every(([column, value]) => column[row] === value) && (!text || haystack[row].includes(text))) hits.push(row);
  }
}

function show() {
  const pages = Math.max(1, Math.ceil(hits.length / PAGE));
  page = Math.min(Math.max(1, page), pages);
  const total = columns.prompt.length.toLocaleString("en");
  element("count").textContent = `${hits.length.toLocaleString("en")} of ${total} transcripts`;
  element("page").textContent = `page ${page} of ${pages}`;
  element("previous").disabled = page === 1;
  element("next").disabled = page === pages;
  element("entries").replaceChildren(...hits.slice((page - 1) * PAGE, page * PAGE).map(entry));
}

// The state lives in the address, so that a selection can be sent to somebody else.
function remember() {
  const state = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  if (page > 1) state.set("page", page);
  history.replaceState(null, "", state.size ? `#${state}` : "#transcripts");
}

// A hash without "=" is an ordinary link to a part of the page.
function recall() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return false;
  const state = new URLSearchParams(hash);
  for (const field of form.elements) if (field.name) field.value = state.get(field.name) ?? "";
  page = Number(state.get("page")) || 1;
  return true;
}

function turn(by) {
  page += by;
  show();
  remember();
  element("transcripts").scrollIntoView();
}

async function start() {
  columns = await unpack("packed");
  haystack = columns.prompt.map((_, row) => SEARCHED.map((name) => columns[name][row] ?? "").join("\n").toLowerCase());
  const linked = recall();
  choose();
  show();
  if (linked) element("transcripts").scrollIntoView();
  element("unfold").addEventListener("change", (event) => {
    for (const folded of document.querySelectorAll("#entries .fold")) folded.open = event.target.checked;
  });
  form.addEventListener("input", (event) => {
    if (event.target.id === "unfold") return;
    page = 1;
    choose();
    show();
    remember();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  element("previous").addEventListener("click", () => turn(-1));
  element("next").addEventListener("click", () => turn(1));
  window.addEventListener("hashchange", () => { if (recall()) { choose(); show(); } });
}

start().catch((problem) => { element("count").textContent = `The transcripts cannot be shown: ${problem.message}`; });
