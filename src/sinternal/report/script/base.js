// All text of models reaches the page through textContent, so it can never become markup.
"use strict";

const element = (id) => document.getElementById(id);
const number = (count) => count.toLocaleString("en");

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function unpack(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// Puts the parts of a text that ranges cover into marks; each range is {start, end, kind, title}, and they may overlap.
const MOST_RANGES = 500;

function marked(tag, text, ranges) {
  const made = make(tag, null, "text"), open = new Set(), edges = [];
  for (const range of ranges.slice(0, MOST_RANGES)) {
    const end = Math.min(range.end, text.length);
    if (range.start < end) edges.push([range.start, range, true], [end, range, false]);
  }
  edges.sort(([a], [b]) => a - b);
  let at = 0;
  for (const [place, range, opens] of [...edges, [text.length]]) {
    if (place > at) {
      const piece = text.slice(at, place), over = [...open];
      if (!over.length) made.append(piece);
      else {
        const mark = make("mark", piece, over.map(({ kind }) => kind).join(" "));
        mark.title = over.map(({ title }) => title).filter(Boolean).join("; ");
        made.append(mark);
      }
      at = place;
    }
    if (range) open[opens ? "add" : "delete"](range);
  }
  return made;
}

// What a spreadsheet would run as a formula, the wide signs of East Asian ones too, begins with an apostrophe there; plain
// numbers may have a sign.
function guarded(value) {
  const text = String(value ?? "");
  return /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) && !/^[+-]?\d[\d.,]*$/.test(text) ? `'${text}` : text;
}

const quoted = (value) => `"${guarded(value).replaceAll('"', '""')}"`;
const csvLine = (cells) => `${cells.map(quoted).join(",")}\r\n`;

function download(name, parts, type = "text/csv;charset=utf-8") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", ...parts], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function say(words) {
  element("said").textContent = words;
}
