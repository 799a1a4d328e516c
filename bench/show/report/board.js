// The leaderboard: sorted by a click or Enter on a heading, filtered by text and by metric.

function boardSection(benchmark, board) {
  const shared = board.accounting === "shared";
  const id = shared ? "board" : "board-as-published";
  const names = Object.keys(DATA.metrics).filter((name) => board.rows.some((row) => name in row.measured || name in row.published))
    .filter((name) => name !== `mpjpe_${benchmark.protocol.averaging}`);
  const papers = board.rows.some((row) => Object.keys(row.published).length);
  const usual = names.filter((name) => DATA.metrics[name].at_first);
  const on = new Set(usual.length ? usual : names);
  const notes = [...new Set(board.rows.flatMap((row) => row.notes))];
  const anyMeasured = board.rows.some((row) => row.records.length);
  let by = { key: anyMeasured ? "measured.mpjpe" : "published.mpjpe", up: true };
  const wrap = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leaderboard" });
  const status = h("p", { class: "unseen", role: "status" });
  const search = h("input", { type: "search", placeholder: "Filter methods", "aria-label": "Filter methods", oninput: draw });
  const chips = names.map((name) => {
    const chip = h("button", {
      type: "button", class: "chip", "aria-pressed": String(on.has(name)), onclick: () => {
        if (on.has(name) && on.size > 1) on.delete(name); else on.add(name);
        chip.setAttribute("aria-pressed", String(on.has(name)));
        draw();
      },
    }, DATA.metrics[name].title);
    return chip;
  });

  // Every column: its key, the value it is sorted by, and its cell.
  function columns() {
    const list = [{ key: "label", title: "Method", sort: (row) => row.label.toLowerCase(), cell: method }, { key: "frames", title: "Frames", sort: (row) => row.frames, cell: (row) => h("td", {}, row.frames ?? NONE) }];
    for (const name of names.filter((one) => on.has(one))) {
      const metric = DATA.metrics[name];
      if (papers && board.rows.some((row) => name in row.published))
        list.push({ key: `published.${name}`, group: name, title: "published", sort: (row) => row.published[name], better: metric, cell: (row) => number(row.published[name], name, "published") });
      list.push({ key: `measured.${name}`, group: name, title: papers ? "measured" : null, sort: (row) => (row.measured[name] || {}).value, better: metric, cell: (row) => measured(row, name) });
    }
    if (anyMeasured) list.push(
      { key: "parameters", title: "Parameters", sort: (row) => row.parameters, cell: (row) => h("td", {}, size(row.parameters)) },
      { key: "macs", title: "MACs/frame", sort: (row) => row.macs, cell: (row) => h("td", {}, size(row.macs)) });
    list.push({ key: "records", title: "Records", sort: (row) => row.records.length, cell: links });
    return list;
  }

  function method(row) {
    const marks = [...new Set(row.notes)].map((note) => notes.indexOf(note) + 1);
    return h("th", { scope: "row", class: "pin" }, h("span", { class: "method" }, dot(row.method), h("span", {}, row.label, marks.length ? h("sup", {}, h("a", { href: `#${benchmark.name}/${id}`, "aria-label": `note ${marks.join(", ")}`, onclick: toNotes }, marks.join(","))) : null)));
  }

  function toNotes(event) {
    event.preventDefault();
    const list = document.getElementById(`${id}-notes`);
    list.focus();
    list.scrollIntoView({ block: "center" });
  }

  // Best of the column as shown, if it has at least two values.
  function best(name, kind) {
    const digits = DATA.metrics[name].digits;
    const values = board.rows.map((row) => (kind === "measured" ? (row.measured[name] || {}).value : row.published[name])).filter((value) => value !== undefined).map((value) => value.toFixed(digits));
    if (values.length < 2 || !shared) return null;
    return values.reduce((a, b) => ((DATA.metrics[name].higher_is_better ? +b > +a : +b < +a) ? b : a));
  }

  function number(value, name, kind, ...more) {
    if (value === undefined) return h("td", { class: "none" }, NONE);
    const text = value.toFixed(DATA.metrics[name].digits);
    return h("td", { class: kind }, text === best(name, kind) ? h("strong", {}, text) : text, ...more);
  }

  function measured(row, name) {
    const found = row.measured[name], digits = DATA.metrics[name].digits;
    if (!found) return h("td", { class: "none" }, NONE);
    return number(found.value, name, "measured",
      found.sd !== null ? h("span", { class: "spread" }, ` ± ${found.sd.toFixed(digits)}`) : null,
      found.ci ? h("span", { class: "interval", title: "95 % interval over test sequences" }, `${found.ci[0].toFixed(digits)} to ${found.ci[1].toFixed(digits)}`) : null);
  }

  function links(row) {
    if (!row.records.length) return h("td", { class: "text none" }, "not measured yet");
    return h("td", { class: "text" }, row.records.map((one, place) => [place ? " " : null, h("a", { href: one.href, title: `the record of seed ${one.seed}` }, `seed ${one.seed}`)]));
  }

  function draw() {
    const all = columns();
    const column = all.find((one) => one.key === by.key) || all[0];
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = board.rows.filter((row) => words.every((word) => `${row.label} ${row.method}`.toLowerCase().includes(word)));
    const sorted = [...shown].sort((a, b) => {
      const [one, two] = [column.sort(a), column.sort(b)];
      if (one === two) return 0;
      if (one === undefined || one === null) return 1; // unknown values are last in both directions
      if (two === undefined || two === null) return -1;
      return (one < two ? -1 : 1) * (by.up ? 1 : -1);
    });
    const head = (one) => {
      const active = one.key === column.key;
      const metric = one.group ? DATA.metrics[one.group] : null;
      const title = one.title || [metric.title, h("small", {}, ` ${metric.unit}`)];
      return h("th", { scope: "col", class: { label: "text pin", records: "text" }[one.key], rowspan: grouped && !(one.group && one.title) ? 2 : null, "aria-sort": active ? (by.up ? "ascending" : "descending") : "none" },
        h("button", { type: "button", class: "sort", "data-key": one.key, "aria-label": one.group ? `${metric.title} ${one.title || ""}`.trim() : one.title, onclick: () => sortBy(one) }, title, h("span", { class: "arrow", "aria-hidden": "true" }, active ? (by.up ? "↑" : "↓") : "")));
    };
    const grouped = all.some((one) => one.group && one.title);
    const first = [], second = [];
    all.forEach((one, place) => {
      if (!(grouped && one.group && one.title)) { first.push(head(one)); return; }
      if (!place || all[place - 1].group !== one.group) {
        const metric = DATA.metrics[one.group];
        first.push(h("th", { scope: "colgroup", class: "group", colspan: all.filter((other) => other.group === one.group).length }, metric.title, h("small", {}, ` ${metric.unit}`)));
      }
      second.push(head(one));
    });
    wrap.replaceChildren(h("table", { class: "board" }, h("caption", { class: "unseen" }, `Methods on ${benchmark.title}`),
      h("thead", {}, h("tr", {}, first), grouped ? h("tr", {}, second) : null),
      h("tbody", {}, sorted.length ? sorted.map((row) => h("tr", {}, all.map((one) => one.cell(row)))) : h("tr", {}, h("td", { class: "text none", colspan: all.length }, "No method matches.")))));
    status.textContent = `${plural(sorted.length, "method")}, sorted by ${column.key.replace(".", " ")}, ${by.up ? "ascending" : "descending"}`;
  }

  function sortBy(one) {
    by = { key: one.key, up: by.key === one.key ? !by.up : !(one.better && one.better.higher_is_better) };
    draw();
    wrap.querySelector(`[data-key="${one.key}"]`).focus(); // the heading is a new one
  }

  draw();
  const cells = board.rows.flatMap((row) => Object.values(row.measured));
  const spreads = [cells.some((cell) => cell.sd !== null) ? "; ± is the standard deviation over seeds" : "", cells.some((cell) => cell.ci) ? "; a range is the 95 % interval over test sequences" : ""].join("");
  const lead = shared
    ? `Measured numbers count every test frame once, with the predicted root at zero${spreads}. The best of a column is bold.`
    : "Each row is counted by the rules of its method’s own code. The rules differ, so each row is comparable only with its own published number.";
  return section(id, shared ? "Leaderboard" : "Accounting as published", lead,
    h("div", { class: "panel" }, h("div", { class: "tools" }, search, h("div", { class: "chips", role: "group", "aria-label": "Metrics" }, chips)), wrap, status,
      notes.length ? h("ol", { class: "notes", id: `${id}-notes`, tabindex: "-1" }, notes.map((note) => h("li", {}, `${note}.`))) : null,
      anyMeasured ? null : how("Not measured here yet. This command does it:", `make bench-${benchmark.name}`)),
    shared && benchmark.sources.length ? h("details", { class: "numbers" }, h("summary", {}, "Sources of the published numbers"), h("ul", {}, benchmark.sources.map((one) => h("li", {}, h("strong", {}, one.labels.join(", ")), `: ${one.source}`)))) : null);
}
