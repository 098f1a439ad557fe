// Each table can be copied, or saved as CSV, with one figure in each cell: where cells of the page have several, there is a
// line for each of them, or a column for each figure. Cells that span several are repeated, headings in two lines joined.
const FIGURE = String.raw`[+-]?\d[\d.]*`;
const WITH_INTERVAL = new RegExp(`^(${FIGURE}) ?%? \\[(${FIGURE}), (${FIGURE})\\](?: ?%)?(?:; (.+))?$`);
const BETWEEN = new RegExp(`^(${FIGURE}) to (${FIGURE})(?: ?%)?$`);
const LACKING = new RegExp(`^(${FIGURE}) to (${FIGURE}) with the pairs that lack a label`);
const ENDS = new RegExp(`^\\[(${FIGURE}), (${FIGURE})\\]$`);
const PAIR = new RegExp(`^(${FIGURE}) (?:\\+ |of |and |\/ |\\()(${FIGURE})\\)?$`);

// As a spreadsheet reads numbers: a plain minus sign, no marks of thousands, nothing where there is no figure.
function bare(text) {
  const ascii = text.replaceAll("\u2212", "-").replace(/(?<=\d),(?=\d{3}(?!\d))/g, "").replace(/^p = /, "").replace(/^p </, "<");
  return ascii === "\u2013" ? "" : ascii;
}

// A column whose cells have an interval, or bounds, becomes several.
function spread(title, cells) {
  const parsed = cells.map((cell) => {
    let match;
    if ((match = WITH_INTERVAL.exec(cell))) {
      const [, least, most] = LACKING.exec(match[4] ?? "") ?? [];
      return { "": match[1], low: match[2], high: match[3], least, most, note: least ? "" : match[4] };
    }
    if ((match = BETWEEN.exec(cell))) return { least: match[1], most: match[2] };
    if ((match = ENDS.exec(cell))) return { low: match[1], high: match[2] };
    if ((match = PAIR.exec(cell))) return { first: match[1], second: match[2] };
    return { "": cell };
  });
  const names = ["", "low", "high", "least", "most", "first", "second", "note"].filter((name) => parsed.some((cell) => cell[name]));
  if (!names.length) names.push("");
  return names.map((name) => [name ? `${title}: ${name}` : title, ...parsed.map((cell) => cell[name] ?? "")]);
}

function tidy(grid, figures) {
  const [heads, ...rows] = grid, [, ...known] = figures;
  const measured = heads.map((_, x) => known.some((row) => row[x]));
  const names = [...new Set(known.flat().flatMap((cell) => Object.keys(cell ?? {})))];
  const kept = heads.map((_, x) => x).filter((x) => !measured[x]);
  const lines = rows.flatMap((row, y) => heads.flatMap((head, x) => (measured[x] && Object.keys(known[y][x] ?? {}).length
    ? [[...kept.map((i) => bare(row[i] ?? "")), head.replace(/ [\u2191\u2193]$/, ""), ...names.map((name) => known[y][x]?.[name] ?? "")]]
    : [])));
  return [[...kept.map((x) => heads[x]), "figure", ...names], ...lines];
}

function sheetOf(table) {
  const grid = gridOf(table, (cell) => [...cell.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(" ").replace(/\s+/g, " "));
  const figures = gridOf(table, (cell) => (cell.dataset.figures ? JSON.parse(cell.dataset.figures) : null), () => null);
  if (figures.flat().some(Boolean)) return tidy(grid, figures);
  const [heads, ...rows] = grid;
  rows.forEach((row, y) => { row[0] ||= rows[y - 1]?.[0] ?? ""; });
  const columns = heads.flatMap((head, x) => spread(head, rows.map((row) => bare(row[x] ?? ""))));
  return [heads, ...rows].map((_, y) => columns.map((column) => column[y]));
}

function gridOf(table, read, join = (words) => [...new Set(words)].filter(Boolean).join(": ")) {
  const grid = [];
  [...table.rows].forEach((row, y) => {
    grid[y] ??= [];
    let x = 0;
    for (const cell of row.cells) {
      while (grid[y][x] !== undefined) x++;
      const content = read(cell);
      for (let down = 0; down < cell.rowSpan; down++) for (let along = 0; along < cell.colSpan; along++) (grid[y + down] ??= [])[x + along] = down ? "" : content;
      x += cell.colSpan;
    }
  });
  const heads = table.tHead?.rows.length ?? 0;
  if (heads < 2) return grid;
  const joined = grid[0].map((_, x) => join(grid.slice(0, heads).map((row) => row[x])));
  return [joined, ...grid.slice(heads)];
}

function titleOf(table) {
  let before = table.closest("details")?.querySelector("summary") ?? null;
  for (let at = table.closest(".scroll") ?? table; at && !before; at = at.previousElementSibling ?? at.parentElement) {
    if (/^H[1-3]$/.test(at.tagName)) before = at;
    else if (at.tagName === "MAIN" || at.tagName === "HEADER") before = at.querySelector("h1");
  }
  return (before?.textContent ?? "table").trim().slice(0, 60);
}

function dressTables() {
  for (const table of document.querySelectorAll(".scroll > table")) {
    const title = titleOf(table), bar = make("p", null, "bar");
    const copyButton = make("button", "Copy"), save = make("button", "CSV");
    copyButton.type = save.type = "button";
    copyButton.setAttribute("aria-label", `Copy the table: ${title}`);
    save.setAttribute("aria-label", `Save the table as CSV: ${title}`);
    copyButton.addEventListener("click", async () => {
      await copy(sheetOf(table).map((row) => row.map((cell) => guarded(cell).replaceAll("\t", " ")).join("\t")).join("\n"));
      say(`Copied: ${title}`);
    });
    save.addEventListener("click", () => {
      download(`${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "table"}.csv`, sheetOf(table).map(csvLine));
      say(`Saved: ${title}`);
    });
    bar.append(copyButton, save);
    table.parentElement.after(bar);
  }
}
