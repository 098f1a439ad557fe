// The index of all transcripts is in the page; their texts come in chunks, out of the page or out of files beside it.
const TEXTS = [["prompt", "Prompt"], ["thinking", "Thinking"], ["answer", "Answer"], ["critique", "Critique"], ["critique_with_spec", "Critique with the specification"]];
// Of an attack that goes on asking: what stands in each of its queries, in the order of the chunks.
const TURNS = [["query", "Query"], ["system", "System message"], ["prefill", "Answer made to begin with"], ["thinking", "Thinking"], ["answer", "Answer"], ["note", "The attacker's own note"]];
const HELD = 48;
const store = { count: 0, columns: {}, names: {}, ids: [], rowOf: new Map(), prompts: [], promptIds: [], promptOf: new Map(), samples: [], checks: {}, turns: {}, first: [0], files: null, words: null };
const chunks = new Map();

async function openStore() {
  const packed = await unpack(element("packed").textContent);
  store.count = packed.ids.length;
  for (const [name, { values, of }] of Object.entries(packed.columns)) {
    store.names[name] = values;
    store.columns[name] = Uint16Array.from(of);
  }
  store.ids = packed.ids;
  packed.ids.forEach((id, row) => store.rowOf.set(id, row));
  store.prompts = packed.prompts;
  store.promptIds = packed.prompt_ids;
  packed.prompt_ids.forEach((id, number) => id && store.promptOf.set(id, number));
  store.samples = packed.samples;
  store.checks = packed.checks;
  store.turns = packed.turns;
  for (const rows of packed.chunks) store.first.push(store.first.at(-1) + rows);
  store.files = packed.files;
  store.words = packed.words;
  store.pairs = packed.pairs;
  element("packed").textContent = "";
}

const value = (row, name) => (store.columns[name] ? store.names[name][store.columns[name][row]] : "");

function chunkOf(row) {
  let low = 0, high = store.first.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (store.first[middle] <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

// A file of texts is a style sheet with one long string in it: it can be read from disk, and nothing in it can run.
async function fromFile({ name, sha256 }) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = `${document.documentElement.dataset.texts}/${name}.css`;
  const property = await new Promise((resolve, reject) => {
    link.onload = () => resolve(getComputedStyle(element("carrier")).getPropertyValue(`--t${name}`));
    link.onerror = () => reject(new Error(`${decodeURIComponent(link.href)} is not there: keep the folder of texts beside this page`));
    document.head.append(link);
  }).finally(() => link.remove());
  const base64 = property.trim().slice(1, -1);
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(base64)));
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== sha256) throw new Error(`${name}.css is damaged, or belongs to another page`);
  }
  return base64;
}

function loadChunk(at) {
  if (chunks.has(at)) {
    const held = chunks.get(at);
    chunks.delete(at);
    chunks.set(at, held);
    return held.promise;
  }
  const held = { texts: null, promise: null };
  held.promise = (async () => {
    const inPage = store.files ? null : element(`texts-${at}`);
    held.texts = await unpack(inPage ? inPage.textContent : await fromFile(store.files[at]));
    if (inPage) inPage.remove();
    return held.texts;
  })();
  held.promise.catch(() => chunks.delete(at));
  chunks.set(at, held);
  if (store.files && chunks.size > HELD) chunks.delete(chunks.keys().next().value);
  return held.promise;
}

// The texts of a row, if they are there already.
function textsAt(row) {
  const at = chunkOf(row), texts = chunks.get(at)?.texts;
  if (!texts) return null;
  const place = row - store.first[at];
  return { ...Object.fromEntries(TEXTS.map(([name]) => [name, texts[name][place]])), turns: texts.turns?.[place] ?? [] };
}

async function textsOf(row) {
  await loadChunk(chunkOf(row));
  return textsAt(row) ?? textsOf(row);
}

// What a program reads of an attack's queries.
function turnsAsObjects(row, texts) {
  return texts.turns.map((turn, i) => ({ ...Object.fromEntries(TURNS.map(([name], at) => [name, turn[at]])), outcome: store.turns[row][i] }));
}
