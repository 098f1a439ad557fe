// Asks the server every other second what is new, and shows it. All text is set as text, never as markup.

const EVERY = 2000;
const MAIN = document.getElementById("main");
const TITLE = document.getElementById("title");
const CONNECTION = document.getElementById("connection");
const CRUMB = document.getElementById("crumb");
const FIRST = ["loss", "reward", "asr", "over_refusal", "balanced_accuracy", "length"];
const NAMES = {
  loss: "loss", reward: "mean reward", asr: "attack success", over_refusal: "over-refusal", length: "mean length, tokens",
  balanced_accuracy: "verdicts that are right (balanced)", entropy: "entropy, nats a token", truncated: "truncated",
};
const SVG = "http://www.w3.org/2000/svg";
const chosen = new Set();
const opened = new Set();
const shown = new Map();
let timer = 0;
let turn = 0;

function place() {
  const parts = new URLSearchParams(location.hash.slice(1));
  return { token: parts.get("token") || "", run: parts.get("run") || "", a: parts.get("a") || "", b: parts.get("b") || "" };
}

function link(more) {
  return "#" + new URLSearchParams({ token: place().token, ...more }).toString();
}

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") element.className = value;
    else if (key in element && key !== "for") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function draw(name, properties, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

// An answer that comes after the reader has gone elsewhere is for nobody.
async function ask(path) {
  const here = location.hash;
  const response = await fetch(path, { headers: { "X-Sinternal-Token": place().token }, cache: "no-store" });
  const content = await response.json();
  if (location.hash !== here) throw Object.assign(new Error("gone elsewhere"), { late: true });
  if (!response.ok) throw Object.assign(new Error(content.error), { told: true });
  return content;
}

// A part of the page is made anew only when what it shows has changed: focus and selections stay.
function part(id, content, build, tag = "section") {
  const text = JSON.stringify(content);
  let element = document.getElementById(id);
  if (!element) {
    element = make(tag, { id });
    MAIN.append(element);
    shown.delete(id);
  }
  if (shown.get(id) === text) return element;
  shown.set(id, text);
  const active = element.contains(document.activeElement) ? document.activeElement.id : "";
  element.replaceChildren(...build(content).filter((child) => child !== null));
  if (active) document.getElementById(active)?.focus();
  return element;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}

// The time alone of what is of today.
function when(seconds) {
  if (!seconds) return "";
  const at = new Date(seconds * 1000);
  const day = at.toDateString() === new Date().toDateString() ? {} : { dateStyle: "medium" };
  return at.toLocaleString(undefined, { ...day, timeStyle: "short" });
}

function rate(value) {
  if (!value) return "";
  if (value >= 10) return `${Math.round(value).toLocaleString()}/s`;
  return value >= 0.1 ? `${value.toFixed(1)}/s` : `${(value * 60).toFixed(1)}/min`;
}

function badge(state) {
  return make("span", { class: `badge ${state}` }, state);
}

function bar(done, total, label) {
  return make("progress", { max: total || 1, value: done, "aria-label": label });
}

function table(label, columns, rows, classes = "") {
  const head = make("tr", {}, ...columns.map(([name, kind]) => make("th", { scope: "col", class: kind || "" }, name)));
  return make("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": label },
    make("table", { class: classes }, make("thead", {}, head), make("tbody", {}, ...rows)));
}

function reports(run) {
  const links = [];
  if (run.report) links.push(make("a", { href: run.report, target: "_blank", rel: "noopener" }, "report"));
  if (run.redacted) links.push(" ", make("a", { href: run.redacted, target: "_blank", rel: "noopener" }, "without texts"));
  return links;
}

// --- the list

async function list() {
  const content = await ask("/api/runs");
  TITLE.textContent = `Runs in ${content.folder}`;
  document.title = `${content.runs.filter((run) => run.state === "running").length} running – sinternal view`;
  CRUMB.textContent = "";
  const finished = new Set(content.runs.filter((run) => run.report && run.kind === "study").map((run) => run.id));
  for (const id of chosen) if (!finished.has(id)) chosen.delete(id);
  if (!content.runs.length) {
    part("empty", {}, () => [make("p", { class: "lead" }, "No run here yet. Start one with sinternal run: it appears by itself.")]);
    return;
  }
  document.getElementById("empty")?.remove();
  part("runs", content.runs, (runs) => [
    compareButton(),
    table("Runs", [["choose"], ["run"], ["state"], ["progress"], ["since"], ["what came out"]], runs.map(row), "stack"),
  ]);
  count();
}

function row(run) {
  const box = make("input", { type: "checkbox", id: `choose-${run.id}`, checked: chosen.has(run.id), "aria-label": `compare ${run.name}` });
  box.disabled = !(run.report && run.kind === "study");
  box.addEventListener("change", () => { box.checked ? chosen.add(run.id) : chosen.delete(run.id); count(); });
  const progress = run.tasks ? [bar(run.made, run.tasks, `${run.name}: artifacts made`), ` ${run.made} of ${run.tasks}`] : [];
  return make("tr", {},
    make("td", {}, box),
    make("th", { scope: "row" }, make("a", { href: link({ run: run.id }), id: `run-${run.id}` }, run.name),
      make("br"), make("span", { class: "muted" }, run.kind), " ", ...reports(run)),
    make("td", { class: "state" }, badge(run.state)),
    make("td", {}, ...progress),
    make("td", { class: "when" }, when(run.since)),
    make("td", {}, make("div", { class: "clamp" }, run.why || run.answer),
      ...run.figures.map((line) => make("div", { class: "figures" }, line))));
}

function compareButton() {
  const button = make("button", { id: "compare", type: "button" }, "Compare two runs");
  button.addEventListener("click", () => { const [a, b] = [...chosen]; location.hash = link({ a, b }); });
  return make("p", {}, button, " ", make("span", { id: "chosen", class: "muted", role: "status" }));
}

function count() {
  const button = document.getElementById("compare");
  if (!button) return;
  button.disabled = chosen.size !== 2;
  document.getElementById("chosen").textContent = chosen.size === 2 ? "" : `${chosen.size} of 2 chosen`;
}

// --- a run

async function one(id) {
  const run = await ask(`/api/runs/${id}`);
  TITLE.textContent = run.name;
  CRUMB.textContent = "›";
  document.title = `${run.name}: ${run.state} – sinternal view`;
  part("standing", [run.state, run.why, run.since, run.started, run.report, run.redacted, run.answer, run.made, run.tasks, run.cached, run.spent, run.newest], () => standing(run));
  const going = run.list.filter((task) => task.state === "running" || task.state === "interrupted");
  part("going", [going, run.last_words], () => going.length ? [make("h2", {}, run.state === "running" ? "Being made" : "Interrupted"),
    table("Being made", GOING, going.map(taskRow), "stack"),
    run.last_words ? make("p", { class: "muted" }, `Printed last by libraries, at ${when(run.last_words.at)}: `,
      make("code", {}, run.last_words.words)) : null] : []);
  part("curves", run.curves, curves);
  if (++turn % 3 === 1 || !shown.has("texts")) {
    const content = await ask(`/api/runs/${id}/texts`);
    part("texts", content, texts);
  }
  part("all", run.list.map((task) => [task.label, task.stage, task.state, task.total, task.seconds]), () => all(run.list));
  part("log", run.log, () => run.log ? [fold("log", "Log", make("pre", { tabIndex: 0 }, run.log))] : []);
}

function standing(run) {
  const words = [badge(run.state), ` ${run.since ? (run.state === "running" ? "since " : "") + when(run.since) : ""}`];
  const spent = Object.entries(run.spent).filter(([, value]) => value)
    .map(([name, value]) => `${name} ${value.toLocaleString(undefined, { maximumFractionDigits: 2 })}`);
  return [
    make("p", {}, ...words, " ", ...reports(run)),
    run.why ? make("p", { class: run.state === "failed" ? "problem" : "warning" }, run.why) : null,
    run.answer ? make("p", { class: "lead" }, run.state === "finished" ? "" : "The last results here: ", run.answer) : null,
    run.tasks ? make("p", {}, bar(run.made, run.tasks, "artifacts made"),
      ` ${run.made} of ${run.tasks} artifacts${run.cached ? `, ${run.cached} of them already there` : ""}`) : null,
    run.state === "running" && run.newest ? make("p", { class: "muted" }, run.newest) : null,
    spent.length ? make("p", { class: "muted" }, `servers so far: ${spent.join(", ")}`) : null,
  ];
}

const GOING = [["what"], ["progress"], ["rate", "number"], ["time left", "number"], ["since", "when"], ["now"]];

function taskRow(task) {
  const number = task.total ? `${task.done.toLocaleString()} of ${task.total.toLocaleString()}` : "";
  const cells = [task.total ? [bar(task.done, task.total, task.label), ` ${number}`] : [], [rate(task.rate)], [duration(task.left)],
    [when(task.began)], [task.words || (task.total ? "" : "at work; counts no rows yet")]];
  return make("tr", {}, make("th", { scope: "row" }, task.label), ...cells.map((content, i) => cell(GOING[i + 1], content)));
}

// Where a narrow window stacks the cells of a row, each says what it is.
function cell([name, kind], content) {
  const told = content.some((part) => part !== "");
  return make("td", { class: kind || "", ...(told ? { "data-label": name } : {}) }, ...content);
}

function all(tasks) {
  if (!tasks.length) return [];
  const rows = tasks.map((task) => make("tr", {}, make("th", { scope: "row" }, task.label), make("td", {}, task.stage),
    make("td", {}, badge(task.state)), make("td", { class: "number" }, duration(task.seconds))));
  return [fold("stages", `All ${tasks.length} artifacts`, table("All artifacts", [["what"], ["stage"], ["state"], ["took", "number"]], rows, "stack"))];
}

function fold(key, title, ...content) {
  const details = make("details", { open: opened.has(key) }, make("summary", { id: `fold-${key}` }, title), ...content);
  details.addEventListener("toggle", () => { details.open ? opened.add(key) : opened.delete(key); });
  return details;
}

// --- curves

function curves(found) {
  if (!found.length) return [];
  const labels = [...new Set(found.map((curve) => curve.label))];
  const style = new Map(labels.map((label, i) => [label, `c${i % 7} d${Math.floor(i / 7) % 4}`]));
  const legend = labels.map((label) => make("li", {},
    draw("svg", { viewBox: "0 0 34 10", "aria-hidden": "true" }, draw("path", { d: "M0 5H34", class: `line ${style.get(label)}` })), label));
  const groups = new Map();
  for (const curve of found) {
    for (const [figure, points] of Object.entries(curve.figures)) {
      const key = JSON.stringify([curve.stage, curve.of, figure]);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push({ label: curve.label, points });
    }
  }
  const rank = (figure) => (FIRST.indexOf(figure) + 1 || FIRST.length + 1);
  const sorted = [...groups].map(([key, lines]) => [...JSON.parse(key), lines]).sort((x, y) => rank(x[2]) - rank(y[2]));
  const drawn = (rows) => make("div", { class: "plots" }, ...rows.map(([stage, of, figure, lines]) => plot(stage, of, figure, lines, style)));
  const main = sorted.filter((row) => FIRST.includes(row[2]));
  const more = sorted.filter((row) => !FIRST.includes(row[2]));
  return [make("h2", {}, "Curves"), make("ul", { class: "legend" }, ...legend), drawn(main),
    more.length ? fold("more-curves", `${more.length} more`, drawn(more)) : null];
}

function plot(stage, of, figure, lines, style) {
  const points = lines.flatMap((line) => line.points);
  const [x0, x1] = [0, Math.max(1, ...points.map((point) => point[0]))];
  let [low, high] = [Math.min(...points.map((point) => point[1])), Math.max(...points.map((point) => point[1]))];
  if (low >= 0 && high <= 1 && figure !== "loss") [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const [width, height, left, bottom, top, right] = [330, 190, 58, 24, 10, 10];
  const x = (step) => left + (step - x0) / (x1 - x0) * (width - left - right);
  const y = (value) => height - bottom - (value - low) / (high - low) * (height - bottom - top);
  const written = (value) => value >= 1000 ? Math.round(value).toLocaleString()
    : value && value < 0.001 ? value.toExponential(1) : Number(value.toPrecision(3)).toString();
  const text = (value) => `${value < 0 ? "\u2212" : ""}${written(Math.abs(value))}`;
  const title = `${NAMES[figure] || figure.replaceAll("_", " ")}, ${stage === "sft" ? "fine-tuning" : "reinforcement learning"}${of === "training" ? "" : `, ${of}`}`;
  const last = lines.map((line) => `${line.label}: ${text(line.points.at(-1)[1])} at step ${line.points.at(-1)[0]}`).join("; ");
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${last}` },
    draw("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }));
  for (const [at, anchor, words] of [[[left - 5, y(high) + 8], "end", text(high)], [[left - 5, y(low)], "end", text(low)],
    [[left, height - 8], "start", "0"], [[width - right, height - 8], "end", `step ${x1.toLocaleString()}`]]) {
    const label = draw("text", { x: at[0], y: at[1], "text-anchor": anchor });
    label.textContent = words;
    svg.append(label);
  }
  for (const line of lines) {
    const d = line.points.map((point, i) => `${i ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("");
    svg.append(draw("path", { class: `line ${style.get(line.label)}`, d: line.points.length > 1 ? d : `${d}h2` }));
  }
  return make("figure", {}, make("figcaption", {}, title), svg, make("p", { class: "muted" }, last));
}

// --- texts

function texts(content) {
  if (content.left_out) return [make("h2", {}, "Newest texts"), make("p", { class: "muted" }, "Left out: this view was opened with --redact.")];
  if (!content.texts.length) return [];
  return [make("h2", {}, "Newest texts"),
    make("p", { class: "muted" }, "Of what grew last. What answers or quotes a harmful request, or is not known not to, shows nothing until it is opened."),
    ...[...new Set(content.texts.map((row) => row.label))].flatMap((label) => [make("h3", {}, label),
      ...content.texts.filter((row) => row.label === label).map(textRow)])];
}

function textRow(row) {
  const benign = row.harmful === false;
  const about = [row.harmful === null ? "" : benign ? "benign" : "harmful", row.family && row.family !== "plain" ? row.family : "", row.outcome].filter(Boolean).join(" · ");
  const start = benign ? ` – ${row.request}` : "";
  const body = [["asked", row.prompt], ["thinking", row.thinking], ["answer", row.answer]].filter(([, text]) => text)
    .flatMap(([name, text]) => [make("h3", {}, name), make("pre", { tabIndex: 0 }, text)]);
  const details = fold(`text ${row.label} ${row.prompt} ${row.answer}`, about + start);
  details.classList.add("text");
  const fill = () => { if (details.open && details.children.length === 1) details.append(...body); };
  details.addEventListener("toggle", fill);
  fill();
  return details;
}

// --- two runs

async function compare(a, b) {
  CRUMB.textContent = "›";
  TITLE.textContent = "Two runs";
  if (!shown.has("pairs")) part("wait", [a, b], () => [make("p", { class: "muted", role: "status" }, "Comparing; of large runs this takes a while.")]);
  const content = await ask(`/api/compare/${a}/${b}`);
  document.getElementById("wait")?.remove();
  TITLE.textContent = `${content.a} against ${content.b}`;
  document.title = `${TITLE.textContent} – sinternal view`;
  part("pairs", content, () => [
    make("p", {}, "The same prompts, seeds and samples in both: the difference is the first run less the second, with its 95 % interval."),
    ...content.notes.map((words) => make("p", { class: words.startsWith("not comparable") ? "warning" : "muted" }, words)),
    ...(content.differences.length ? [make("h2", {}, "In what they differ"),
      table("In what they differ", [["what"], [content.a], [content.b]], content.differences.map((row) => make("tr", {},
        make("th", { scope: "row" }, row.path), make("td", { class: "value" }, row.a), make("td", { class: "value" }, row.b))))] : []),
    ...content.pairs.flatMap((pair) => [
      make("h2", {}, pair.title),
      table(pair.title, pair.columns.map((name, i) => [name || "figure", i ? "number" : ""]),
        pair.rows.map((cells) => make("tr", {}, make("th", { scope: "row" }, cells[0]), ...cells.slice(1).map(compared)))),
      ...noted(pair),
    ])]);
}

// What stands behind the figure goes beneath it; that a p is one says its column.
function compared(cell) {
  const [figure, ...more] = cell.replace(/^p (= )?/, "").split("; ");
  return make("td", { class: "number" }, figure, ...more.map((words) => make("small", {}, words)));
}

function noted(pair) {
  const notes = pair.caveats.map((caveat) => make("p", { class: "muted" }, `note: ${caveat}`));
  return notes.length > 2 ? [fold(`notes ${pair.title}`, `${notes.length} notes`, ...notes)] : notes;
}

// --- turns

async function look() {
  clearTimeout(timer);
  const { token, run, a, b } = place();
  if (!token) {
    part("problem", "token", () => [make("p", { class: "problem" }, "Open the whole address that sinternal view has printed, with its token.")]);
    return;
  }
  try {
    if (run) await one(run);
    else if (a && b) await compare(a, b);
    else await list();
    CONNECTION.textContent = "";
    document.getElementById("problem")?.remove();
  } catch (error) {
    if (error.late) return;
    const words = error.told ? error.message : "sinternal view does not answer: it was ended, or is busy. What is shown is as it was.";
    if (error.told) part("problem", words, () => [make("p", { class: "problem", role: "alert" }, words)]);
    else { CONNECTION.textContent = words; console.error(error.message); }
    document.getElementById("wait")?.remove();
  }
  if (!(a && b)) timer = setTimeout(() => { if (!document.hidden) look(); }, EVERY);
}

let before = "";
function go() {
  document.getElementById("home").href = link({});
  const { token, ...here } = place();
  if (JSON.stringify(here) !== before) {
    MAIN.replaceChildren();
    shown.clear();
    turn = 0;
    if (before) TITLE.focus();
    before = JSON.stringify(here);
  }
  look();
}

addEventListener("hashchange", go);
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && (place().run || place().a)) location.hash = link({}); });
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); MAIN.focus(); });
go();
