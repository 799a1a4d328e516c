// Lines, scatter, heat map and the figure of joints, as SVG and tables.

// Round steps that cover a range: 1, 2 or 5 times a power of ten.
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step) found.push(Math.abs(value) < 1e-12 ? 0 : value);
  return found;
}

const label = (value) => String(Number(value.toPrecision(6)));

// A line chart. series: [{name, method, points: [[x, y]]}]; the values under the pointer are shown beside the names.
function lineChart({ series, x, y, title, value, read, marks = false, width = 640 }) {
  const W = NARROW ? 340 : width, H = NARROW ? 260 : 320, left = 40, right = 18, top = 12, bottom = 42;
  const across = (at) => left + ((at - x.low) / (x.high - x.low || 1)) * (W - left - right);
  const up = (at) => H - bottom - ((at - y.low) / (y.high - y.low || 1)) * (H - top - bottom);
  const xTicks = x.ticks || ticks(x.low, x.high, 6), yTicks = ticks(y.low, y.high, 5);
  const cursor = s("line", { class: "cursor", y1: top, y2: H - bottom, visibility: "hidden" });
  const paths = series.map((one) => s("g", { class: "series", style: { stroke: colour(one.method), fill: colour(one.method) } },
    s("path", { d: one.points.map(([a, b], place) => `${place ? "L" : "M"}${across(a).toFixed(1)} ${up(b).toFixed(1)}`).join(""), fill: "none", "stroke-dasharray": one.dash ?? dash(one.method) }),
    marks ? one.points.map(([a, b]) => s("circle", { cx: across(a), cy: up(b), r: 3 })) : null));
  const picture = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title, class: "chart" },
    yTicks.map((at) => s("g", { class: "grid" }, s("line", { x1: left, x2: W - right, y1: up(at), y2: up(at) }), s("text", { x: left - 8, y: up(at) + 4, "text-anchor": "end" }, label(at)))),
    xTicks.map((at) => s("g", { class: "grid" }, s("text", { x: across(at), y: H - bottom + 18, "text-anchor": "middle" }, x.text ? x.text(at) : label(at)))),
    s("line", { class: "axis", x1: left, x2: W - right, y1: H - bottom, y2: H - bottom }),
    s("text", { class: "title", x: (left + W - right) / 2, y: H - 6, "text-anchor": "middle" }, x.title), paths, cursor);
  const readings = series.map((one) => h("span", { class: "reading" }, value ? value(one) : ""));
  const legend = h("ul", { class: "legend" }, series.map((one, place) => {
    const toggle = h("button", {
      type: "button", "aria-pressed": "true", onclick: () => {
        const shown = toggle.getAttribute("aria-pressed") !== "true";
        toggle.setAttribute("aria-pressed", shown);
        paths[place].setAttribute("visibility", shown ? "visible" : "hidden");
      },
    }, s("svg", { viewBox: "0 0 22 8", class: "key", "aria-hidden": "true" }, s("line", { x1: 0, x2: 22, y1: 4, y2: 4, "stroke-dasharray": one.dash ?? dash(one.method), style: { stroke: colour(one.method) } })),
      h("span", {}, one.name), readings[place]);
    return h("li", {}, toggle);
  }));
  const about = h("p", { class: "caption", "aria-live": "off" }, read.idle);
  const show = (event) => {
    const box = picture.getBoundingClientRect();
    const at = x.low + (((event.clientX - box.left) / box.width * W - left) / (W - left - right)) * (x.high - x.low);
    const near = series.flatMap((one) => one.points.map(([a]) => a)).reduce((best, a) => (Math.abs(a - at) < Math.abs(best - at) ? a : best), Infinity);
    if (!Number.isFinite(near)) return;
    cursor.setAttribute("x1", across(near));
    cursor.setAttribute("x2", across(near));
    cursor.setAttribute("visibility", "visible");
    about.textContent = read.at(near);
    series.forEach((one, place) => {
      const found = one.points.find(([a]) => a === near);
      readings[place].textContent = found ? read.value(found[1]) : NONE;
    });
  };
  picture.addEventListener("pointermove", show);
  picture.addEventListener("pointerdown", show);
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    about.textContent = read.idle;
    series.forEach((one, place) => { readings[place].textContent = value ? value(one) : ""; });
  });
  return h("figure", { class: "panel chart-panel" }, h("div", { class: "panel-head" }, h("h3", {}, title)),
    h("div", { class: "chart-body" }, picture, h("div", { class: "chart-side" }, legend, about)));
}

function pckSection(benchmark, rows) {
  const named = Object.entries(benchmark.pck.curves).map(([id, curve]) => ({ ...curve, row: rows.get(id) })).sort((a, b) => b.auc - a.auc);
  const series = named.map((one) => ({ name: one.row.label, method: one.row.method, auc: one.auc, points: one.pck.map((share, mm) => [mm, share]) }));
  const steps = [25, 50, 75, 100, 125, 150];
  const joints = benchmark.pck.joints.length;
  return section("pck", "PCK curves",
    `The share of joints within a distance of the ground truth, by distance in millimetres. ${joints} joints, all scored test frames pooled${joints === 14 ? " (the official ones)" : ", without the root, which is zero by definition"}. AUC is the mean over 0, 5, …, 150 mm.`,
    lineChart({
      series, title: "PCK (%) by threshold", x: { low: 0, high: 150, title: "threshold (mm)", ticks: [0, 25, 50, 75, 100, 125, 150] }, y: { low: 0, high: 100 },
      value: (one) => `AUC ${one.auc.toFixed(1)}`,
      read: { idle: "Area under the curve; point at the chart for the share at a threshold.", at: (mm) => `Share of joints within ${mm} mm`, value: (share) => `${share.toFixed(1)} %` },
    }),
    numbersOf(["Method", ...steps.map((mm) => `${mm} mm (%)`), "AUC"], named.map((one) => [one.row.label, ...steps.map((mm) => one.pck[mm].toFixed(1)), one.auc.toFixed(1)])));
}

// Sweeps: one setting changed. Values that are counts are evenly spaced, others are placed to scale.
const ORACLE_DASHES = ["2.5 3.5", "8 4"];

function sweepsSection(benchmark, rows) {
  const shown = (line) => line.label.replace(line.method, ([...rows.values()].find((row) => row.method === line.method) || { label: line.method }).label);
  const sweeps = benchmark.sweeps.map((sweep) => ({ ...sweep, lines: sweep.lines.map((line) => ({ ...line, label: shown(line) })) }));
  const chart = (sweep) => {
    const place = (value) => (sweep.counts ? sweep.values.indexOf(value) : value);
    const oracles = sweep.lines.filter((line) => line.oracle);
    const series = sweep.lines.map((line) => ({
      name: line.label, method: line.method, dash: line.oracle ? ORACLE_DASHES[oracles.indexOf(line) % ORACLE_DASHES.length] : undefined,
      points: sweep.values.map((value, at) => [place(value), line.mpjpe[at]]).filter(([, mm]) => mm !== null),
    }));
    const all = series.flatMap((one) => one.points.map(([, mm]) => mm));
    const steps = ticks(Math.min(...all), Math.max(...all), 5);
    const step = steps.length > 1 ? steps[1] - steps[0] : 1;
    const spot = (at) => (sweep.counts ? sweep.values[Math.round(at)] : at);
    return lineChart({
      series, title: `${sweep.name}: MPJPE (mm)`, marks: true, width: 460,
      x: {
        low: place(sweep.values[0]), high: place(sweep.values[sweep.values.length - 1]), title: sweep.knob,
        ticks: sweep.counts ? sweep.values.map(place) : undefined, text: (at) => label(spot(at)),
      },
      y: { low: Math.floor(Math.min(...all) / step) * step, high: Math.ceil(Math.max(...all) / step - 1e-9) * step },
      read: { idle: "Point at the chart for the numbers.", at: (at) => `At ${label(spot(at))}`, value: (mm) => `${mm.toFixed(1)} mm` },
    });
  };
  const cell = (line, at) => (line.mpjpe[at] === null ? NONE : line.mpjpe[at].toFixed(1) + (line.ci[at] ? ` (${line.ci[at].map((end) => end.toFixed(1)).join(" to ")})` : ""));
  return section("sweeps", "Sweeps", `One setting changed, all else as in the benchmark; in the tables with the 95 % interval over test sequences.${sweeps.some((sweep) => sweep.lines.some((line) => line.oracle)) ? " An oracle uses the ground truth to choose: it is not a prediction, and is dashed." : ""}`,
    h("div", { class: "pair" }, sweeps.map(chart)),
    sweeps.map((sweep) => numbersOf([sweep.name, ...sweep.values.map(label)], sweep.lines.map((line) => [line.label, ...sweep.values.map((_, at) => cell(line, at))]), `The numbers of ${sweep.name}`)));
}

function trainingSection(benchmark, rows) {
  const named = benchmark.courses.map((one) => ({ ...one, row: rows.get(one.row) }));
  const several = new Set(named.map((one) => one.seed)).size > 1;
  const name = (one) => one.row.label + (several ? `, seed ${one.seed}` : "");
  const epochs = Math.max(...named.map((one) => one.loss.length));
  const x = { low: 1, high: Math.max(2, epochs), title: "epoch", ticks: [...new Set(ticks(1, Math.max(2, epochs), 8).map(Math.round).filter((at) => at >= 1))] };
  if (!x.ticks.includes(1)) x.ticks.unshift(1);
  const validated = named.filter((one) => one.validation.some((value) => value !== null))
    .map((one) => ({ name: name(one), method: one.row.method, points: one.validation.map((value, epoch) => [epoch + 1, value]).filter(([, value]) => value !== null) }));
  const lost = named.filter((one) => one.loss[0] > 0)
    .map((one) => ({ name: name(one), method: one.row.method, points: one.loss.map((value, epoch) => [epoch + 1, 100 * value / one.loss[0]]) }));
  const last = (one) => one.points[one.points.length - 1][1];
  const bounds = (series, from) => {
    const values = series.flatMap((one) => one.points.map(([, value]) => value));
    const steps = ticks(Math.min(from, ...values), Math.max(...values), 5);
    const step = steps.length > 1 ? steps[1] - steps[0] : 1;
    return { low: Math.floor(Math.min(from, ...values) / step) * step, high: Math.ceil(Math.max(...values) / step - 1e-9) * step };
  };
  return section("training", "Training", "Each run, epoch by epoch. Losses of different methods are not comparable, so each is shown relative to its first epoch. Pre-training is not shown.",
    h("div", { class: "pair" },
      validated.length ? lineChart({
        series: validated, title: "Validation MPJPE (mm)", x, y: bounds(validated, Infinity), marks: epochs <= 40, width: 460,
        value: (one) => `${last(one).toFixed(1)} mm`, read: { idle: "After the last epoch.", at: (epoch) => `After epoch ${epoch}`, value: (mm) => `${mm.toFixed(1)} mm` },
      }) : null,
      lost.length ? lineChart({
        series: lost, title: "Training loss (% of the first epoch’s)", x, y: bounds(lost, 0), marks: epochs <= 40, width: 460,
        value: (one) => `${last(one).toFixed(0)} %`, read: { idle: "In the last epoch.", at: (epoch) => `In epoch ${epoch}`, value: (share) => `${share.toFixed(1)} %` },
      }) : null),
    numbersOf(["Run", "Epochs", "First loss", "Last loss", "Best validation (mm)", "Last validation (mm)"], named.map((one) => {
      const values = one.validation.filter((value) => value !== null);
      return [name(one), one.loss.length, one.loss[0], one.loss[one.loss.length - 1], values.length ? Math.min(...values).toFixed(1) : NONE, values.length ? values[values.length - 1].toFixed(1) : NONE];
    })));
}

// --- accuracy against cost

function costSection(board) {
  const measured = board.rows.filter((row) => row.measured.mpjpe);
  const shown = measured.filter((row) => row.macs > 0);
  if (shown.length < 2) return null;
  const W = NARROW ? 340 : 860, H = 400, left = 46, right = 26, top = 18, bottom = 46;
  const logs = shown.map((row) => Math.log10(row.macs));
  const low = Math.floor(Math.min(...logs) * 2 - 0.4) / 2, high = Math.ceil(Math.max(...logs) * 2 + 0.4) / 2;
  const errors = shown.map((row) => row.measured.mpjpe.value);
  const yTicks = ticks(Math.min(...errors) - 4, Math.max(...errors) + 4, 5);
  const step = yTicks[1] - yTicks[0];
  const yLow = Math.floor((Math.min(...errors) - step * 0.3) / step) * step, yHigh = Math.ceil((Math.max(...errors) + step * 0.3) / step) * step;
  const across = (log) => left + ((log - low) / (high - low)) * (W - left - right);
  const up = (mm) => H - bottom - ((mm - yLow) / (yHigh - yLow)) * (H - top - bottom);
  const largest = Math.max(...shown.map((row) => row.parameters || 1));
  const marks = shown.map((row) => ({
    row, x: across(Math.log10(row.macs)), y: up(row.measured.mpjpe.value), r: (NARROW ? 0.7 : 1) * (5 + 15 * Math.sqrt((row.parameters || 1) / largest)),
    text: row.label.length > 26 ? `${row.label.slice(0, 25)}…` : row.label,
  }));
  const placed = placeLabels(marks, { left, right: W - right, top, bottom: H - bottom });
  const decades = [];
  for (let power = Math.ceil(low); power <= high; power++) decades.push(power);
  if (decades.length < 2) for (const half of [low, high]) if (!decades.includes(half)) decades.push(half);
  const picture = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart wide", role: "img", "aria-label": "MPJPE against multiply-accumulates per frame" },
    ticks(yLow, yHigh, 5).map((at) => s("g", { class: "grid" }, s("line", { x1: left, x2: W - right, y1: up(at), y2: up(at) }), s("text", { x: left - 8, y: up(at) + 4, "text-anchor": "end" }, label(at)))),
    decades.map((power) => s("g", { class: "grid" }, s("line", { x1: across(power), x2: across(power), y1: top, y2: H - bottom }), s("text", { x: across(power), y: H - bottom + 18, "text-anchor": "middle" }, size(10 ** power).replace(/\.0+ /, " ")))),
    s("line", { class: "axis", x1: left, x2: W - right, y1: H - bottom, y2: H - bottom }),
    s("text", { class: "title", x: (left + W - right) / 2, y: H - 6, "text-anchor": "middle" }, NARROW ? "MACs per frame (log scale)" : "multiply-accumulates per frame (log scale)"),
    marks.map((mark) => s("circle", { class: "bubble", cx: mark.x, cy: mark.y, r: mark.r, style: { fill: colour(mark.row.method), stroke: colour(mark.row.method) } },
      s("title", {}, `${mark.row.label}: ${mark.row.measured.mpjpe.value.toFixed(1)} mm, ${size(mark.row.macs)} MACs per frame, ${size(mark.row.parameters)} parameters`))),
    placed.map((one) => [
      one.far ? s("line", { class: "leader", x1: one.mark.x, y1: one.mark.y, x2: Math.max(one.x, Math.min(one.mark.x, one.x + one.w)), y2: one.y + (one.y > one.mark.y ? 2 : 16) }) : null,
      s("text", { class: "name", x: one.x, y: one.y + 13 }, one.mark.text)]));
  const undrawn = measured.filter((row) => !(row.macs > 0)).map((row) => `${row.label} (${row.measured.mpjpe.value.toFixed(1)} mm)`);
  return section("cost", "Accuracy against cost", "Lower is better, further left is cheaper. The area of a disc is the number of parameters.",
    h("figure", { class: "panel" }, h("div", { class: "panel-head" }, h("h3", {}, "MPJPE (mm)")), picture,
      undrawn.length ? h("p", { class: "caption" }, `Not drawn, as the cost is unknown or zero: ${undrawn.join(", ")}.`) : null));
}

// Place each name where it covers neither a disc nor another name.
function placeLabels(marks, area) {
  const taken = [];
  const hits = (box) => marks.some((mark) => {
    const dx = Math.max(box.x - mark.x, 0, mark.x - box.x - box.w), dy = Math.max(box.y - mark.y, 0, mark.y - box.y - box.h);
    return dx * dx + dy * dy < (mark.r + 2) ** 2;
  }) || taken.some((other) => box.x < other.x + other.w + 4 && other.x < box.x + box.w + 4 && box.y < other.y + other.h && other.y < box.y + box.h)
    || box.x < area.left || box.x + box.w > area.right || box.y < area.top - 14 || box.y + box.h > area.bottom;
  for (const mark of marks) {
    const w = mark.text.length * 7.4, height = 18;
    const places = [];
    for (let away = 5; away < 130; away += 9) {
      const far = away > 14;
      places.push({ x: mark.x + mark.r + away, y: mark.y - 9, far }, { x: mark.x - mark.r - away - w, y: mark.y - 9, far },
        { x: mark.x - w / 2, y: mark.y - mark.r - away - 16, far }, { x: mark.x - w / 2, y: mark.y + mark.r + away - 4, far },
        { x: mark.x + mark.r * 0.7 + away, y: mark.y - mark.r - away - 6, far }, { x: mark.x + mark.r * 0.7 + away, y: mark.y + mark.r + away - 8, far },
        { x: mark.x - mark.r * 0.7 - away - w, y: mark.y - mark.r - away - 6, far }, { x: mark.x - mark.r * 0.7 - away - w, y: mark.y + mark.r + away - 8, far });
    }
    const found = places.map((place) => ({ ...place, w, h: height, mark })).find((box) => !hits(box));
    if (found) taken.push(found);
  }
  return taken;
}

// --- per action

// Dark is bad. Lightness decreases monotonically, so the scale works in grey; blue and yellow are safe for colour-blind readers.
const SCALE = [[253, 246, 214], [250, 218, 138], [240, 172, 84], [214, 112, 66], [160, 60, 74], [92, 28, 80]];

function shade(at) {
  const place = Math.max(0, Math.min(1, at)) * (SCALE.length - 1);
  const below = Math.min(SCALE.length - 2, Math.floor(place));
  return SCALE[below].map((from, part) => Math.round(from + (SCALE[below + 1][part] - from) * (place - below)));
}

function inked([red, green, blue]) {
  const light = [red, green, blue].map((part) => ((part / 255) <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.3 ? "#1b1a17" : "#ffffff";
}

function actionSection(board) {
  const shown = board.rows.filter((row) => Object.keys(row.per_action).length);
  const actions = [...new Set(shown.flatMap((row) => Object.keys(row.per_action)))].sort(new Intl.Collator("en", { numeric: true }).compare);
  if (!shown.length || actions.length < 2) return null;
  const values = shown.flatMap((row) => Object.values(row.per_action));
  const low = Math.min(...values), high = Math.max(quantile(values, 0.85), low + 1);
  const cell = (row, action) => {
    const value = row.per_action[action];
    if (value === undefined) return h("td", { class: "none" }, NONE);
    const fill = shade((value - low) / (high - low));
    return h("td", { title: `${row.label}, ${action}: ${value.toFixed(1)} mm`, style: { background: `rgb(${fill})`, color: inked(fill) } }, value.toFixed(0));
  };
  const scale = h("div", { class: "scale" }, h("span", {}, `${low.toFixed(0)} mm`),
    h("span", { class: "ramp", "aria-hidden": "true", style: { background: `linear-gradient(90deg, ${SCALE.map((one) => `rgb(${one})`).join(", ")})` } }), h("span", {}, `${high.toFixed(0)} mm and more`));
  return section("actions", "Error by action", "Mean error of each method in each action (MPJPE, mm).",
    h("div", { class: "panel" }, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Error by action" },
      h("table", { class: "heat" }, h("caption", { class: "unseen" }, "MPJPE in mm by method and action"),
        h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "pin" }, "Method"), actions.map((action) => h("th", { scope: "col" }, h("span", {}, action))))),
        h("tbody", {}, shown.map((row) => h("tr", {}, h("th", { scope: "row", class: "pin" }, dot(row.method), row.label), actions.map((action) => cell(row, action))))))), scale));
}

// --- by joint

function jointSection(benchmark, board) {
  const shown = board.rows.filter((row) => Object.keys(row.per_joint).length);
  if (!shown.length) return null;
  const { skeleton } = benchmark;
  if (!skeleton) return null;
  const most = quantile(shown.flatMap((row) => Object.values(row.per_joint)), 0.9);
  const pictures = h("div", { class: "joint-pair" });
  const table = h("div", {});
  const best = [...shown].sort((a, b) => (a.measured.mpjpe || { value: Infinity }).value - (b.measured.mpjpe || { value: Infinity }).value);
  const picks = [0, 1].map((side) => h("select", { onchange: draw }, shown.map((row) => h("option", { value: row.id, selected: row === (best[side] || best[0]) }, row.label))));
  function draw() {
    const rows = picks.map((pick) => shown.find((row) => row.id === pick.value));
    pictures.replaceChildren(...(shown.length > 1 ? rows : rows.slice(0, 1)).map((row, side) => h("figure", { class: "panel" },
      h("div", { class: "panel-head" }, h("label", { class: "field" }, h("span", { class: "unseen" }, "Method"), picks[side]), h("span", { class: "big" }, `${fixed((row.measured.mpjpe || {}).value, 1)} mm`)), body(row))));
    table.replaceChildren(numbersOf(["Joint", ...rows.map((row) => `${row.label} (mm)`)], skeleton.joints.filter((joint) => rows.some((row) => joint in row.per_joint)).map((joint) => [joint, ...rows.map((row) => fixed(row.per_joint[joint], 1))])));
  }
  function body(row) {
    const at = ([x, y]) => [180 + x * 205, 228 + y * 196];
    return s("svg", { viewBox: "0 0 360 442", class: "figure", role: "img", "aria-label": `Error by joint of ${row.label}; the numbers are in the table below` },
      skeleton.bones.map(([joint, parent]) => { const [a, b] = [at(skeleton.front[joint]), at(skeleton.front[parent])]; return s("line", { class: "bone", x1: a[0], y1: a[1], x2: b[0], y2: b[1] }); }),
      s("text", { class: "side-name", x: 14, y: 24 }, "right"), s("text", { class: "side-name", x: 346, y: 24, "text-anchor": "end" }, "left"),
      skeleton.joints.map((joint, place) => {
        const [x, y] = at(skeleton.front[place]), mm = row.per_joint[joint];
        if (mm === undefined) return s("circle", { class: "unscored", cx: x, cy: y, r: 4 }, s("title", {}, `${joint}: not scored`));
        const r = 8 + 13 * Math.sqrt(Math.min(mm / most, 1.2)), fill = shade(mm / most);
        return s("g", {}, s("title", {}, `${joint}: ${mm.toFixed(1)} mm`), s("circle", { class: "joint", cx: x, cy: y, r, style: { fill: `rgb(${fill})` } }),
          mm > 0 ? s("text", { x, y: y + 4, "text-anchor": "middle", class: "joint-text", style: { fill: inked(fill), fontSize: r < 13 ? "9px" : "11.5px" } }, mm.toFixed(0)) : null);
      }));
  }
  draw();
  return section("joints", "Error by joint", "Mean error of each joint (mm), on a person who faces you: the right side is on your left. The root has none; it is zero by definition.", pictures, table);
}
