"use strict";
// What the pages add to Tabulator: texts on hover, the tree table, long tables, and the table of an exploration with its pictures.

const byId = (id) => document.getElementById(id);
const dataOf = (element) => JSON.parse(element.textContent);
const number = (text) => { const found = /-?[\d,]*\.?\d+/.exec(text ?? ""); return found ? parseFloat(found[0].replaceAll(",", "")) : null; };

// --- texts on hover: those of <title>, at once and for touch and keyboard, too
function showTips() {
  const tip = byId("tip");
  const words = (target) => target.closest?.("svg *")?.querySelector(":scope > title")?.textContent;
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - box.width - 4))}px`;
    tip.style.top = `${y + 20 + box.height > innerHeight ? y - box.height - 8 : y + 16}px`;
  };
  document.addEventListener("pointermove", (e) => { const text = words(e.target); text ? show(text, e.clientX, e.clientY) : (tip.hidden = true); });
  document.addEventListener("focusin", (e) => { const text = words(e.target), box = e.target.getBoundingClientRect(); if (text) show(text, box.left, box.bottom); });
  document.addEventListener("focusout", () => { tip.hidden = true; });
}

// --- figures
const forms = {
  whole: (x) => x.toLocaleString("en-US", {maximumFractionDigits: 1}),
  share: (x) => `${(100 * x).toFixed(x < 1 && x >= 0.9995 ? 2 : 1)} %`,
  decimal: (x) => x.toFixed(2),
  text: (x) => x,
};
const titled = (head, mark) => {
  const title = document.createElement("span");
  title.textContent = head;
  if (mark) title.append(Object.assign(document.createElement("span"), {className: "mark", textContent: mark}));
  return title;
};

// --- the tree of encoders, roles and nodes
function growTree() {
  const source = byId("tree-data");
  if (!source) return;
  const {columns, rows} = dataOf(source);
  const row = ([name, cells, find, children]) => {
    const made = {name, find: find.toLowerCase()};
    cells.forEach((value, i) => { made[`c${i}`] = value; });
    if (children.length) made._children = children.map(row);
    return made;
  };
  const narrow = innerWidth < 640;
  const table = new Tabulator("#tree", {
    data: rows.map(row), dataTree: true, dataTreeFilter: true, dataTreeChildIndent: 14, dataTreeStartExpanded: false, layout: "fitDataStretch", renderVertical: "basic",
    placeholder: "no node is called so",
    columns: [
      {title: "", field: "name", frozen: true, variableHeight: true, headerSort: true, minWidth: narrow ? 150 : 230, width: narrow ? 150 : 230},
      ...columns.map(([head, mark, form], i) => ({
        title: head, field: `c${i}`, hozAlign: form === "text" ? "left" : "right", headerHozAlign: form === "text" ? "left" : "right", headerSortStartingDir: "desc",
        sorter: form === "text" ? "string" : "number", sorterParams: {alignEmptyValues: "bottom"}, titleFormatter: () => titled(head, mark), minWidth: head === "node" ? 210 : 64,
        formatter: (cell) => {
          const value = cell.getValue();
          if (value === null || value === undefined) return "";
          if (form === "share") { cell.getElement().classList.add("busy"); cell.getElement().style.setProperty("--share", `${Math.min(100, 100 * value)}%`); }
          return forms[form](value);
        },
      })),
    ],
  });
  const filter = byId("tree-filter");
  const each = (members, what) => members.forEach((one) => { what(one); each(one.getTreeChildren(), what); });
  const open = (all) => { table.blockRedraw(); each(table.getRows(), (one) => (all ? one.treeExpand() : one.treeCollapse())); table.restoreRedraw(); };
  const apply = () => {  // a place or a role that is called so, else all rows with these words
    const text = filter.value.toLowerCase().trim(), words = text.split(/\s+/).filter(Boolean);
    const named = rows.some(([, , find]) => find.toLowerCase().includes(`${text}|`));
    table.setFilter((data) => (named ? data.find.includes(`${text}|`) : words.every((word) => data.find.includes(word))));
    if (words.length) open(true);
  };
  table.on("tableBuilt", () => { byId("tree-tools").hidden = false; });
  filter.addEventListener("input", apply);
  byId("tree-open").addEventListener("click", () => open(true));
  byId("tree-close").addEventListener("click", () => { filter.value = ""; apply(); open(false); });
  const pick = (e) => {
    const found = e.target.closest?.("[data-find]");
    if (!found || (e.type === "keydown" && e.key !== "Enter")) return;
    filter.value = found.dataset.find;
    apply();
    byId("nodes").scrollIntoView({behavior: "smooth"});
  };
  document.addEventListener("click", pick);
  document.addEventListener("keydown", pick);
}

// --- long tables, when their part is opened
function growTable(place) {
  const {heads, rows, marked} = dataOf(place.querySelector("script"));
  const figure = (i) => marked.length && marked[i] !== "";
  new Tabulator(place, {
    data: rows.map((cells) => Object.fromEntries(cells.map((text, i) => [`c${i}`, text]))), layout: "fitData", height: Math.min(560, innerHeight * 0.8),
    columns: heads.map(([head, mark], i) => ({
      title: head, field: `c${i}`, frozen: i === 0, variableHeight: i === 0, hozAlign: figure(i) ? "right" : "left", headerHozAlign: figure(i) ? "right" : "left", titleFormatter: () => titled(head, mark),
      headerFilter: i === 0 ? "input" : undefined, headerFilterPlaceholder: "filter", formatter: "plaintext", width: i === 0 ? (innerWidth < 640 ? 150 : 300) : undefined, maxWidth: 420,
      headerSortStartingDir: figure(i) ? "desc" : "asc", sorter: (a, b) => { const [x, y] = [number(a), number(b)]; return figure(i) && x !== null && y !== null ? x - y : String(a).localeCompare(String(b), "en", {numeric: true}); },
    })),
  });
}
function growLongTables() {
  document.querySelectorAll("details.part").forEach((part) => {
    const grow = () => { if (part.open) part.querySelectorAll(".long > script").forEach((script) => growTable(script.parentElement)); };
    part.addEventListener("toggle", grow);
    grow();
  });
}

// --- designs of an exploration: the filters of the table are those of the pictures, and a click copies the commands
function growDesigns() {
  const source = byId("design-data");
  if (!source) return;
  const data = dataOf(source), has = (field) => data.some((row) => row[field] !== "" && row[field] !== null), narrow = innerWidth < 640;
  const by = (field) => (a, b, x, y) => x.getData()[field] - y.getData()[field];
  const column = (title, field, more = {}) => ({title, field, hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc", formatter: "plaintext", ...more});
  const left = {hozAlign: "left", headerHozAlign: "left", headerSortStartingDir: "asc"};
  const share = (cell) => forms.share(cell.getValue());
  const table = new Tabulator("#designs", {
    data, index: "id", layout: "fitData", height: data.length > 18 ? 620 : undefined, placeholder: "no design is so", selectableRows: 1,
    columns: [
      {title: "design", field: "design", frozen: true, variableHeight: true, width: narrow ? 150 : 290, sorter: "string", formatter: (cell) => {
        const row = cell.getData(), name = document.createElement("span");
        name.textContent = `${row.best ? "★ " : ""}${row.id} ${row.design}`;
        if (row.best) name.className = "best";
        return name;
      }},
      column("part", "part", left), column("engines", "engines", left), ...(has("bits") ? [column("bits", "bits", left)] : []),
      ...(has("blocks") ? [column("kept blocks", "blocks"), column("kept tokens", "tokens")] : []),
      ...(has("accuracy") ? [column("accuracy", "accuracy", {sorter: by("quality")})] : []),
      column("images/s", "rate", {sorter: by("per_second")}), column("latency", "latency", {sorter: by("ms")}),
      ...["LUT", "DSP", "BRAM", "URAM"].map((kind) => column(kind, kind, {formatter: share, sorter: "number"})),
      column("fits", "fits", left), column("cycles by", "by", left),
      ...[["interval, cycles", "interval_cycles"], ["latency, cycles", "latency_cycles"]].map(([head, field]) => column(head, field, {sorter: "number", formatter: (cell) => Math.round(cell.getValue()).toLocaleString("en-US")})),
    ],
  });
  const points = () => document.querySelectorAll("[data-design]"), labels = () => document.querySelectorAll("[data-of]");
  const choose = async (id) => {
    const row = data.find((one) => one.id === id);
    points().forEach((point) => point.classList.toggle("chosen", Number(point.dataset.design) === id));
    table.deselectRow();
    table.selectRow(id);
    byId("commands").textContent = row.commands;
    byId("copied").textContent = (await copied(row.commands)) ? `The commands of ${id} are copied.` : "Select the commands to copy them.";
  };
  const narrowed = () => {
    const chosen = [...document.querySelectorAll("#tools select")].filter((one) => one.value).map((one) => [one.dataset.field, one.value]);
    const best = byId("only-best").checked;
    table.setFilter((row) => chosen.every(([field, value]) => row[field] === value) && (row.best || !best));
  };
  table.on("dataFiltered", (_, rows) => {
    const shown = new Set(rows.map((row) => row.getData().id)), all = shown.size === data.length;
    points().forEach((point) => point.classList.toggle("off", !shown.has(Number(point.dataset.design))));
    labels().forEach((label) => label.classList.toggle("off", !shown.has(Number(label.dataset.of))));
    document.querySelectorAll(".front").forEach((line) => line.classList.toggle("off", !all));
  });
  table.on("rowClick", (_, row) => choose(row.getData().id));
  table.on("tableBuilt", () => { byId("tools").hidden = false; byId("chosen").hidden = false; });
  document.querySelectorAll("#tools select, #only-best").forEach((one) => one.addEventListener("change", narrowed));
  const pick = (e) => { const point = e.target.closest?.("[data-design]"); if (point && (e.type === "click" || e.key === "Enter")) choose(Number(point.dataset.design)); };
  document.addEventListener("click", pick);
  document.addEventListener("keydown", pick);
  byId("copy").addEventListener("click", async () => { byId("copied").textContent = (await copied(byId("commands").textContent)) ? "Copied." : "Select the commands to copy them."; });
}
async function copied(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed here: the older way */ }
  const area = Object.assign(document.createElement("textarea"), {value: text});
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

showTips();
growTree();
growDesigns();
growLongTables();
