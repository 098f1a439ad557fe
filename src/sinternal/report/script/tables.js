// Each table can be copied, or saved as CSV: cells that span several are repeated, and headings in two lines are joined.
function gridOf(table) {
  const grid = [];
  [...table.rows].forEach((row, y) => {
    grid[y] ??= [];
    let x = 0;
    for (const cell of row.cells) {
      while (grid[y][x] !== undefined) x++;
      const text = [...cell.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(" ").replace(/\s+/g, " ");
      for (let down = 0; down < cell.rowSpan; down++) for (let along = 0; along < cell.colSpan; along++) (grid[y + down] ??= [])[x + along] = down ? "" : text;
      x += cell.colSpan;
    }
  });
  const heads = table.tHead?.rows.length ?? 0;
  if (heads < 2) return grid;
  const joined = grid[0].map((_, x) => [...new Set(grid.slice(0, heads).map((row) => row[x]))].filter(Boolean).join(": "));
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
      await copy(gridOf(table).map((row) => row.map((cell) => guarded(cell).replaceAll("\t", " ")).join("\t")).join("\n"));
      say(`Copied: ${title}`);
    });
    save.addEventListener("click", () => {
      download(`${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "table"}.csv`, gridOf(table).map(csvLine));
      say(`Saved: ${title}`);
    });
    bar.append(copyButton, save);
    table.parentElement.after(bar);
  }
}
