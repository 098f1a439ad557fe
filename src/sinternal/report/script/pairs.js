// What changed: two arms' answers to one prompt, side by side.
const MOST_CELLS = 4e6;
const CHANGES = {
  gained: ([a, b]) => value(a, "outcome") === "unsafe" && SAFE.has(value(b, "outcome")),
  lost: ([a, b]) => SAFE.has(value(a, "outcome")) && value(b, "outcome") === "unsafe",
  helps: ([a, b]) => value(a, "outcome") !== "helped" && value(b, "outcome") === "helped",
  stopped: ([a, b]) => value(a, "outcome") === "helped" && value(b, "outcome") !== "helped",
  different: ([a, b]) => value(a, "outcome") !== value(b, "outcome"),
};
const TOLD = { gained: "gained safety", lost: "lost safety", helps: "helps now", stopped: "no longer helps", different: "other outcome" };

const keyOf = (row) => [store.prompts[row], store.samples[row], ...["variant", "seed", "kind"].map((name) => store.columns[name]?.[row])].join(" ");

// A pair for each prompt, sample, seed, variant and kind that both arms have.
function pairsOf(a, b) {
  const arms = store.columns.arm, first = store.names.arm.indexOf(a), second = store.names.arm.indexOf(b), twins = new Map();
  for (let row = 0; row < store.count; row++) if (arms[row] === second && store.prompts[row] >= 0) twins.set(keyOf(row), row);
  const found = [];
  for (let row = 0; row < store.count; row++) {
    if (arms[row] !== first || store.prompts[row] < 0) continue;
    const twin = twins.get(keyOf(row));
    if (twin !== undefined) found.push([row, twin]);
  }
  return found;
}

function changeOf(pair) {
  return Object.keys(TOLD).find((name) => CHANGES[name](pair));
}

// Words that are not in the longest common part of two texts: ranges of each.
function differences(a, b) {
  const [left, right] = [a, b].map((text) => [...text.matchAll(/[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu)]);
  let start = 0, end = 0;
  const same = (i, j) => left[i][0] === right[j][0];
  while (start < left.length && start < right.length && same(start, start)) start++;
  while (end < Math.min(left.length, right.length) - start && same(left.length - 1 - end, right.length - 1 - end)) end++;
  const n = left.length - start - end, m = right.length - start - end;
  const kept = [new Set(), new Set()];
  if (n * m <= MOST_CELLS) {
    const width = m + 1, lengths = new Uint16Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) {
      const at = i * width + j;
      lengths[at] = same(start + i, start + j) ? lengths[at + width + 1] + 1 : Math.max(lengths[at + width], lengths[at + 1]);
    }
    for (let i = 0, j = 0; i < n && j < m;) {
      const at = i * width + j;
      if (same(start + i, start + j)) { kept[0].add(i++); kept[1].add(j++); } else if (lengths[at + width] >= lengths[at + 1]) i++;
      else j++;
    }
  } else {
    const [inLeft, inRight] = [left, right].map((words) => new Set(words.slice(start, words.length - end).map(([word]) => word)));
    for (let i = 0; i < n; i++) if (inRight.has(left[start + i][0])) kept[0].add(i);
    for (let j = 0; j < m; j++) if (inLeft.has(right[start + j][0])) kept[1].add(j);
  }
  return [[left, n, kept[0], "gone"], [right, m, kept[1], "new"]].map(([words, length, common, kind]) => {
    const ranges = [];
    for (let i = 0; i < length; i++) {
      if (common.has(i)) continue;
      const word = words[start + i], last = ranges.at(-1), stop = word.index + word[0].length;
      if (last && last.next === i) { last.end = stop; last.next = i + 1; } else ranges.push({ start: word.index, end: stop, kind, next: i + 1 });
    }
    return ranges;
  });
}

function side(row, texts, other, which) {
  const made = make("div", null, "side");
  const head = make("p", null, "badges");
  head.append(make("strong", value(row, "arm")), " ", badge(row), brokenBadge(row), checkBadge(row), linkTo(row));
  const list = document.createElement("dl");
  if (store.turns[row]) {
    made.append(head, ...turnsOf(row, texts));
    return made;
  }
  for (const [name, label] of TEXTS.slice(1, 3)) {
    const text = texts[name];
    const changed = text === null || other[name] === null ? [] : differences(...(which ? [other[name], text] : [text, other[name]]))[which];
    definition(list, label, text === null ? make("dd", "none", "muted") : marked("dd", text, [...changed, ...hitRanges(text, terms), ...(name === "thinking" ? checkRanges(row, text) : [])]));
  }
  const verdicts = VERDICTS.filter(([name]) => value(row, name));
  if (verdicts.length) definition(list, "Own verdict", make("dd", verdicts.map(([name, label]) => `${value(row, name)} (${label})`).join(", ")));
  made.append(head, list, ...critiquesOf(texts));
  return made;
}

function pairEntry([a, b], place) {
  const made = element("pair").content.cloneNode(true).querySelector("article");
  const change = changeOf([a, b]);
  made.querySelector(".badges").append(make("span", change ? TOLD[change] : "same outcome", `badge ${change ?? "plain"}`), origin(a, ["arm"]));
  const holder = made.querySelector(".texts");
  fold(made, reasonsToFold(a, b));
  whenThere([a, b], (first, second) => {
    holder.querySelector(".asked").replaceWith(marked("p", first.prompt, hitRanges(first.prompt, terms)));
    holder.querySelector(".sides").append(side(a, first, second, 0), side(b, second, first, 1));
  }, made, place);
  return made;
}

// A link to the same prompt's answers by two arms: by this one and the other that is chosen.
function sameAsked(row) {
  const chosen = element("pairs").elements, arm = value(row, "arm");
  const other = chosen.a.value === arm ? chosen.b.value : chosen.a.value;
  const link = make("a", `Beside ${other}`, "link");
  link.href = `#${new URLSearchParams({ a: other, b: arm, of: store.ids[row] })}`;
  return link;
}
