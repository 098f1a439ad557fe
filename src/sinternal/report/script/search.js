// Full-text search: every word has to occur, at the beginning of a word, whatever signs stand around it; what stands in
// quotation marks is a phrase, with its signs.
const LETTER = /[\p{L}\p{N}]/u;
const UNSPACED = /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}]/u;
const WORDS = /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}]|(?:(?![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}])[\p{L}\p{N}])+/gu;
const LONGEST = 24;
const AROUND = /^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu;
const oneLetterEach = (text) => text.toLowerCase().replaceAll("\u2019", "'");
const plain = (text) => oneLetterEach(text).replace(/\s+/g, " ");
let haystack = [];
const shards = new Map();

// What consists of signs alone is sought as it stands.
function termsOf(text) {
  const pieces = plain(text).replace(/[\u201c-\u201f\u00ab\u00bb]/g, '"').matchAll(/"([^"]*)"?|([^\s"]+)/g);
  return [...new Set([...pieces].map((match) => match[1]?.trim() ?? (match[2].replace(AROUND, "") || match[2])))].filter(Boolean);
}

// Where a term stands, as often as it does.
function* places(text, term) {
  const anywhere = !LETTER.test(term[0]) || UNSPACED.test(term[0]);
  for (let at = text.indexOf(term); at >= 0; at = text.indexOf(term, at + 1)) {
    if (anywhere || at === 0 || !LETTER.test(text[at - 1]) || UNSPACED.test(text[at - 1])) yield at;
  }
}

const occurs = (text, term) => !places(text, term).next().done;
const strawOf = (texts) => plain([...TEXTS.map(([name]) => texts[name]), ...texts.turns.flat()].map((text) => text ?? "").join("\n"));

function makeHaystack() {
  haystack = [];
  for (let row = 0; row < store.count; row++) haystack.push(strawOf(textsAt(row)));
}

function shard(at) {
  if (!shards.has(at)) {
    const coming = fromFile(store.words.files[at]).then(unpack);
    coming.catch(() => shards.delete(at));
    shards.set(at, coming);
  }
  return shards.get(at);
}

// Which pieces of the index can have a word, or one that begins so.
function piecesWith(word) {
  const firsts = store.words.first, pieces = [];
  for (let at = 0; at < firsts.length; at++) {
    if (firsts[at] > word && !firsts[at].startsWith(word)) break;
    if (at + 1 >= firsts.length || firsts[at + 1] >= word) pieces.push(at);
  }
  return pieces;
}

// Marks the rows that have a word, or one that begins so.
async function rowsWith(word, whole) {
  const rows = new Uint8Array(store.count);
  for (const { words, rows: lists } of await Promise.all(piecesWith(word).map(shard))) {
    let low = 0, high = words.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (words[middle] < word) low = middle + 1; else high = middle;
    }
    for (let i = low; i < words.length && (whole ? words[i] === word : words[i].startsWith(word)); i++) {
      let row = 0;
      for (const step of lists[i]) rows[row += step] = 1;
    }
  }
  return rows;
}

// By the index of words: which rows can hold all terms, and whether that is sure.
async function candidates(terms) {
  const every = new Uint8Array(store.count).fill(1);
  let sure = true;
  for (const term of terms) {
    const words = term.match(WORDS) ?? [];
    sure &&= words.length === 1 && words[0] === term && term.length <= LONGEST;
    for (const [i, word] of words.entries()) {
      const whole = i + 1 < words.length && word.length < LONGEST;
      const rows = await rowsWith(word.slice(0, LONGEST), whole);
      for (let row = 0; row < every.length; row++) every[row] &= rows[row];
    }
  }
  return { every, sure };
}

// Ranges of a text in which terms stand, to be marked; white space counts as it is written.
function hitRanges(text, terms) {
  const lower = oneLetterEach(text);
  if (lower.length !== text.length) return [];
  return terms.flatMap((term) => [...places(lower, term)].slice(0, 200).map((start) => ({ start, end: start + term.length, kind: "hit" })));
}
