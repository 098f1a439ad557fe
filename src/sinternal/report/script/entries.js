// One transcript as the page shows it.
const ORIGIN = ["kind", "variant", "arm", "family", "split", "request"];
const SOON = 8;
const VERDICTS = [["verified_without_spec", "no spec"], ["verified_with_spec", "with spec"]];
const SAFETY = /\b(?:un)?safe(?:ty|ly)?\b|\bharm|\bdanger|\billegal|\bunlawful|\bforbid|\bpolic(?:y|ies)\b|\bspecification\b|\bguideline|\brefus|\bdecline\b|\bethic|\bnot allowed\b|\bviolat/i;

// As the tables of the page have it; addresses keep the value itself.
function inWords(name, word) {
  return name === "split" ? word.toUpperCase() : word;
}

// What became of an answer; of a training row, its kind or fate.
function badge(row) {
  const word = value(row, "outcome") || value(row, "fate");
  return make("span", word, `badge ${word.replaceAll(/[^\w]+/g, "-")}`);
}

function checkBadge(row) {
  const checked = value(row, "checked");
  return checked ? make("span", checked, "badge plain") : "";
}

function origin(row, without = []) {
  const words = ORIGIN.filter((name) => store.columns[name] && store.names[name].length > 1 && !without.includes(name)).map((name) => inWords(name, value(row, name)));
  const seed = store.names.seed.length > 1 ? [`seed ${value(row, "seed")}`] : [];
  return make("span", [...words, ...seed].join(" · "), "muted");
}

// Sentences as the judges count them: up to a full stop, question or exclamation mark before white space, or a line's end.
function* sentencesOf(text) {
  for (const { 0: line, index } of text.matchAll(/[^\n]+/g)) {
    let from = 0;
    const ends = [...line.matchAll(/[.!?]["')\]”’*_]*(?=\s|$)/g)].map((match) => match.index + match[0].length);
    for (const to of [...ends, line.length]) {
      const sentence = line.slice(from, to), inner = sentence.trim();
      if (inner) {
        const start = index + from + sentence.indexOf(inner[0]);
        yield { sentence: inner, start, end: start + inner.length };
      }
      from = to;
    }
  }
}

// Where a thinking checks safety: as a judge found it, else, in a thinking that is said to check, by words.
function checkRanges(row, thinking) {
  if (store.checks[row]) {
    const [start, end] = store.checks[row];
    return [{ start, end, kind: "check", title: "checks safety here, by the run's judge" }];
  }
  if (!thinking || value(row, "checked") !== "checks safety") return [];
  return [...sentencesOf(thinking)].filter(({ sentence }) => SAFETY.test(sentence)).map(({ start, end }) => (
    { start, end, kind: "check guess", title: "likely the check: a sentence with a word of safety" }
  ));
}

function linkTo(row) {
  const link = make("a", "Link to this", "link");
  link.href = `#transcript=${store.ids[row]}`;
  return link;
}

// Every arm, seed and sample on one prompt.
function samePrompt(row) {
  const id = store.promptIds[store.prompts[row]], link = make("a", "All answers to this prompt", "link");
  link.href = `#${new URLSearchParams({ prompt: id })}`;
  link.title = `prompt ${id}`;
  return link;
}

function reasonsToFold(...rows) {
  return [
    rows.some((row) => value(row, "request") === "harmful") && "the request is marked as harmful",
    rows.some((row) => value(row, "fate") === "unsafe") && "the answer it is about was judged unsafe",
    rows.some((row) => value(row, "outcome") === "unsafe") && (rows.length > 1 ? "an answer was judged unsafe" : "the answer was judged unsafe"),
  ].filter(Boolean);
}

// What may hurt to read waits for a click, or for Enter on the line that says what it is.
function fold(made, reasons) {
  const folded = made.querySelector(".fold");
  if (!reasons.length) {
    folded.remove();
    return;
  }
  folded.querySelector("summary").textContent = `Show this text: ${reasons.join(", and ")}`;
  folded.append(made.querySelector(".texts"));
  folded.open = element("unfold").checked;
}

function definition(list, label, described) {
  list.append(make("dt", label), described);
}

// The model's own critiques, folded: of which verdict, by the column of its text.
const CRITIQUES = [["critique", "written without the specification"], ["critique_with_spec", "written with the specification"]];

function critiquesOf(texts) {
  return CRITIQUES.filter(([name]) => texts[name] !== null && texts[name] !== undefined).map(([name, how]) => {
    const details = make("details", null, "critique"), ranges = hitRanges(texts[name], terms);
    details.append(make("summary", `Its critique of this answer, ${how}${ranges.length ? " (found here)" : ""}`), marked("p", texts[name], ranges));
    return details;
  });
}

// Of no use to an attacker, or not known to be: what keeps a request out of rates.
const SILENT = new Set(["no label", "failed", "filtered", "attacker failed"]);

function turnOf(texts, outcome, number) {
  const details = make("details", null, "turn"), summary = make("summary", `Query ${number}: `), list = document.createElement("dl");
  details.open = outcome === "unsafe";
  let found = false;
  for (const [i, [name, label]] of TURNS.entries()) {
    const text = texts[i], always = name === "query" || (name === "answer" && texts[0] !== null);
    if (!text && !always) continue;
    const ranges = text ? hitRanges(text, terms) : [];
    found ||= ranges.length > 0;
    definition(list, label, text ? marked("dd", text, ranges) : make("dd", "none", "muted"));
  }
  summary.append(make("span", outcome, `badge ${outcome.replaceAll(" ", "-")}`), found ? " (found here)" : "");
  details.append(summary, list);
  return details;
}

// An attack that goes on asking, query by query; the one that broke the request is open.
function turnsOf(row, texts) {
  const outcomes = store.turns[row] ?? [];
  if (!outcomes.length) return [];
  const open = outcomes.some((outcome) => SILENT.has(outcome)) ? " In no rate of attack success over the whole budget: of some query it is not known what came of it." : "";
  return [make("p", `Each query begins a conversation of its own.${open}`, "note"), ...outcomes.map((outcome, i) => turnOf(texts.turns[i], outcome, i + 1))];
}

function brokenBadge(row) {
  const broken = value(row, "broken");
  return broken ? make("span", `broken: ${broken}`, "badge plain") : "";
}

function fillEntry(row, texts, list) {
  if (store.turns[row]) {
    definition(list, "Request", marked("dd", texts.prompt, hitRanges(texts.prompt, terms)));
    list.after(...turnsOf(row, texts));
    return;
  }
  for (const [name, label] of TEXTS.slice(0, 3)) {
    const text = texts[name];
    const ranges = text === null ? [] : [...hitRanges(text, terms), ...(name === "thinking" ? checkRanges(row, text) : [])];
    definition(list, label, text === null ? make("dd", "none", "muted") : marked("dd", text, ranges));
  }
  const verdicts = VERDICTS.filter(([name]) => value(row, name));
  if (verdicts.length) definition(list, "Own verdict", make("dd", verdicts.map(([name, label]) => `${value(row, name)} (${label})`).join(", ")));
  list.after(...critiquesOf(texts));
}

// What is filled later stays empty until its texts are there; beyond the first screen, until that was painted.
function whenThere(rows, fill, made, place) {
  const known = rows.map(textsAt), now = place < SOON;
  if (now && known.every(Boolean)) fill(...known);
  else {
    made.setAttribute("aria-busy", "true");
    const painted = now ? null : new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    Promise.resolve(painted).then(() => (now || made.isConnected ? Promise.all(rows.map(textsOf)) : null)).then((texts) => texts && fill(...texts)).catch((problem) => made.append(make("p", problem.message, "warning"))).finally(() => made.removeAttribute("aria-busy"));
  }
}

function entry(row, place) {
  const made = element("entry").content.cloneNode(true).querySelector("article");
  made.querySelector(".badges").append(badge(row), origin(row), brokenBadge(row), checkBadge(row), linkTo(row));
  if (store.prompts[row] >= 0) {
    if (element("pairs")) made.querySelector(".badges").append(sameAsked(row));
    made.querySelector(".badges").append(samePrompt(row));
  }
  const list = made.querySelector("dl");
  fold(made, reasonsToFold(row));
  whenThere([row], (texts) => fillEntry(row, texts, list), made, place);
  return made;
}
