// The viewer: the 2D input, the ground truth and two predictions side by side, frame by frame, in views that can be turned.

// Decode little-endian 16-bit numbers from base64; NaN where a frame is not scored.
function unpacked(text, unit, missing) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let place = 0; place < values.length; place++) {
    const whole = view.getInt16(2 * place, true);
    values[place] = whole === missing ? NaN : whole / unit;
  }
  return values;
}

const SPEEDS = [0.1, 0.25, 0.5, 1, 2];

function viewerSection(benchmark, rows) {
  const { viewer, skeleton } = benchmark;
  const methods = Object.keys(viewer.clips[0].poses).map((id) => rows.get(id));
  const ranked = [...methods].sort((a, b) => a.measured.mpjpe.value - b.measured.mpjpe.value);
  const joints = skeleton.joints.length;
  const state = { clip: null, frame: 0, playing: false, yaw: -0.5, pitch: 0.18, zoom: 1, last: 0, carry: 0 };
  const shownAs = { input: "2D input", truth: "Ground truth" };

  const clipPick = h("select", { onchange: () => load(Number(clipPick.value), 0) }, viewer.clips.map((clip, place) =>
    h("option", { value: place }, `${clip.name}: ${clip.subject} ${clip.sequence}, ${clip.typical.toFixed(0)} mm`)));
  const picks = [0, 1].map((side) => h("select", { onchange: changed },
    methods.map((row) => h("option", { value: row.id, selected: row === (ranked[side] || ranked[0]) }, row.label))));
  const speed = h("select", {}, SPEEDS.map((factor) => h("option", { value: factor, selected: factor === 1 }, `${factor}×`)));
  const play = h("button", { type: "button", class: "play", onclick: toggle }, "Play");
  const slider = h("input", { type: "range", min: 0, value: 0, "aria-label": "Frame", oninput: () => go(Number(slider.value)) });
  const counter = h("output", { class: "counter" });
  const ghost = h("input", { type: "checkbox", checked: true, onchange: paint });
  const worst = h("div", { class: "worst" });
  const errors = [0, 1].map(() => h("span", { class: "big" }));
  const curve = s("svg", { viewBox: "0 0 1000 120", preserveAspectRatio: "none", class: "timeline", "aria-hidden": "true" });
  const scale = h("span", { class: "caption" });

  const canvases = ["input", "truth", "a", "b"].map((name) => h("canvas", {
    class: name === "input" ? null : "orbit", tabindex: name === "input" ? null : "0", role: "img",
    "aria-label": name === "input" ? "2D input" : `${shownAs[name] || (name === "a" ? "First method" : "Second method")} in 3D; arrow keys turn it`,
  }));
  const heads = [h("h3", {}, shownAs.input), h("h3", {}, shownAs.truth), h("label", { class: "field" }, h("span", { class: "unseen" }, "First method"), picks[0]), h("label", { class: "field" }, h("span", { class: "unseen" }, "Second method"), picks[1])];
  const panels = canvases.map((canvas, place) => h("figure", { class: "view" }, h("div", { class: "panel-head" }, heads[place], errors[place - 2] || null), canvas));

  const stage = h("div", { class: "panel viewer", onkeydown: keys },
    h("div", { class: "tools" }, h("label", { class: "field" }, h("span", {}, "Video"), clipPick),
      h("label", { class: "check" }, ghost, "truth behind predictions", h("span", { class: "swatch ghost" })), h("button", { type: "button", class: "quiet", onclick: () => turn(-0.5, 0.18) }, "Reset view"), h("button", { type: "button", class: "quiet", onclick: () => turn(0, 0) }, "Camera’s view"),
      h("span", { class: "caption sides" }, h("span", { class: "swatch left" }), "left", h("span", { class: "swatch right" }), "right")),
    h("div", { class: "views" }, panels),
    h("div", { class: "track" }, curve, slider),
    h("div", { class: "tools transport" }, play, h("label", { class: "field" }, h("span", { class: "unseen" }, "Speed"), speed), counter, scale,
      h("span", { class: "caption keys" }, "Space plays, ← → on the slider step, drag or arrow keys on a figure turn it.")),
    worst);

  function load(place, frame) {
    const clip = viewer.clips[place];
    clipPick.value = place;
    if (!clip.ready) {
      clip.ready = { input: unpacked(clip.input, viewer.screen, viewer.missing), truth: unpacked(clip.truth, 1000, viewer.missing), poses: {} };
      for (const [id, text] of Object.entries(clip.poses)) clip.ready.poses[id] = unpacked(text, 1000, viewer.missing);
      clip.ready.half = quantile(Array.from({ length: clip.frames }, (_, at) => bounds(clip.ready.input.subarray(at * joints * 2, (at + 1) * joints * 2)).half), 0.98) || 1;
      clip.ready.reach = Math.max(0.5, ...reaches(clip.ready.truth));
    }
    state.clip = clip;
    slider.max = clip.frames - 1;
    go(Math.min(frame, clip.frames - 1));
    changed();
  }

  // The part of the image that contains the person.
  function bounds(points) {
    const [xs, ys] = [0, 1].map((axis) => points.filter((_, place) => place % 2 === axis));
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, half: Math.max(x1 - x0, y1 - y0) / 2 };
  }

  // The distance of joints from the root over all frames, without outliers.
  function reaches(poses) {
    const found = [];
    for (let place = 0; place < poses.length; place += 3) found.push(Math.hypot(poses[place], poses[place + 1], poses[place + 2]) || 0);
    return [quantile(found, 0.999)];
  }

  function changed() {
    const [a, b] = picks.map((pick) => state.clip.errors[pick.value]);
    const high = Math.max(...a, ...b) || 1;
    const line = (values) => values.map((mm, frame) => (mm === null ? "" : `${frame && values[frame - 1] !== null ? "L" : "M"}${(1000 * frame / Math.max(1, values.length - 1)).toFixed(1)} ${(114 - 108 * mm / high).toFixed(1)}`)).join("");
    const methodOf = (side) => rows.get(picks[side].value).method;
    curve.replaceChildren(...[a, b].map((values, side) => s("path", { d: line(values), "stroke-dasharray": side ? "6 3" : null, style: { stroke: colour(methodOf(side)) } })), s("line", { class: "cursor", y1: 0, y2: 120 }));
    scale.textContent = `error over the clip, up to ${high.toFixed(0)} mm`;
    worst.replaceChildren(h("h3", {}, `Worst frames of ${rows.get(picks[0].value).label}`), h("ol", {}, worstFrames(picks[0].value).map((one) =>
      h("li", {}, h("button", { type: "button", class: "chip", onclick: () => load(one.clip, one.frame) }, h("strong", {}, `${one.mm.toFixed(0)} mm`), ` ${viewer.clips[one.clip].subject} ${viewer.clips[one.clip].sequence}, frame ${numberOf(viewer.clips[one.clip], one.frame)}`)))));
    paint();
  }

  const numberOf = (clip, frame) => clip.first + frame * clip.step;

  // At least a second apart, so that they show different moments.
  function worstFrames(id) {
    const all = viewer.clips.flatMap((clip, place) => clip.errors[id].map((mm, frame) => ({ clip: place, frame, mm }))).filter((one) => one.mm !== null).sort((a, b) => b.mm - a.mm);
    const found = [];
    for (const one of all) {
      if (found.length === 8) break;
      if (found.every((other) => other.clip !== one.clip || Math.abs(other.frame - one.frame) > viewer.fps)) found.push(one);
    }
    return found;
  }

  function go(frame) {
    state.frame = frame;
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `frame ${numberOf(state.clip, frame)}`);
    counter.textContent = `frame ${numberOf(state.clip, frame)} of ${state.clip.of}`;
    paint();
  }

  function toggle() {
    state.playing = !state.playing;
    play.textContent = state.playing ? "Pause" : "Play";
    state.last = 0;
    if (state.playing) requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!state.playing || !stage.isConnected) { state.playing = false; return; }
    if (state.last) state.carry += Math.min(200, now - state.last) / 1000 * viewer.fps * Number(speed.value);
    state.last = now;
    const steps = Math.floor(state.carry);
    state.carry -= steps;
    if (steps) go((state.frame + steps) % state.clip.frames);
    requestAnimationFrame(tick);
  }

  function turn(yaw, pitch) {
    state.yaw = yaw;
    state.pitch = Math.max(-1.5, Math.min(1.5, pitch));
    paint();
  }

  function keys(event) {
    const on = event.target;
    if (event.key === " " && !on.matches("button, select, input[type=checkbox]")) { event.preventDefault(); toggle(); }
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (way && on.matches("canvas")) { event.preventDefault(); turn(state.yaw + 0.12 * way[0], state.pitch + 0.12 * way[1]); }
  }

  for (const canvas of canvases.slice(1)) {
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); state.from = [event.clientX, event.clientY, state.yaw, state.pitch]; });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) turn(state.from[2] + (event.clientX - state.from[0]) * 0.01, state.from[3] + (event.clientY - state.from[1]) * 0.01);
    });
  }

  // --- drawing

  function paint() {
    const { clip, frame } = state;
    if (!clip || !stage.isConnected) return;
    const ink = { left: css("--left"), right: css("--right"), trunk: css("--trunk"), ghost: css("--ghost"), grid: css("--grid") };
    const part = (values, axes) => values.subarray(frame * joints * axes, (frame + 1) * joints * axes);
    flat(canvases[0], part(clip.ready.input, 2), clip.ready.half, ink);
    const truth = part(clip.ready.truth, 3);
    solid(canvases[1], [[truth, null]], clip.ready.reach, ink);
    picks.forEach((pick, side) => {
      const pose = part(clip.ready.poses[pick.value], 3);
      solid(canvases[2 + side], [...(ghost.checked ? [[truth, ink.ghost]] : []), [pose, null]], clip.ready.reach, ink);
      const mm = clip.errors[pick.value][frame];
      errors[side].textContent = mm === null ? "not scored" : `${mm.toFixed(0)} mm`;
    });
    const cursor = curve.querySelector(".cursor");
    if (cursor) for (const end of ["x1", "x2"]) cursor.setAttribute(end, 1000 * frame / Math.max(1, clip.frames - 1));
  }

  function ready(canvas) {
    const sharp = Math.min(2, devicePixelRatio || 1), width = Math.round(canvas.clientWidth * sharp), height = Math.round(canvas.clientHeight * sharp);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.lineCap = "round";
    return { pen, width, height, thick: sharp * Math.max(2, canvas.clientWidth / 75) };
  }

  const side = (joint, ink) => (skeleton.left.includes(joint) ? ink.left : skeleton.right.includes(joint) ? ink.right : ink.trunk);

  function stroke(pen, from, to, paint, thick) {
    pen.strokeStyle = paint;
    pen.lineWidth = thick;
    pen.beginPath();
    pen.moveTo(from[0], from[1]);
    pen.lineTo(to[0], to[1]);
    pen.stroke();
  }

  // The camera follows the person, at one scale for the whole clip.
  function flat(canvas, points, half, ink) {
    const { pen, width, height, thick } = ready(canvas);
    const box = bounds(points), unit = 0.42 * Math.min(width, height) / half;
    const at = (joint) => [width / 2 + (points[2 * joint] - box.x) * unit, height / 2 + (points[2 * joint + 1] - box.y) * unit];
    for (const [joint, parent] of skeleton.bones) stroke(pen, at(joint), at(parent), side(joint, ink), thick);
  }

  function solid(canvas, figures, reach, ink) {
    const { pen, width, height, thick } = ready(canvas);
    const unit = 0.46 * Math.min(width, height) / reach;
    const [cy, sy, cp, sp] = [Math.cos(state.yaw), Math.sin(state.yaw), Math.cos(state.pitch), Math.sin(state.pitch)];
    const at = (x, y, z) => {
      const [across, deep] = [x * cy + z * sy, z * cy - x * sy];
      return [width / 2 + across * unit, height / 2 + (y * cp - deep * sp) * unit, y * sp + deep * cp];
    };
    const truth = figures[0][0];
    let low = -Infinity;
    for (let place = 1; place < truth.length; place += 3) if (truth[place] > low) low = truth[place];
    if (Number.isFinite(low)) for (let line = -3; line <= 3; line++) {
      const far = line * 0.25;
      stroke(pen, at(far, low, -0.75), at(far, low, 0.75), ink.grid, thick / 4);
      stroke(pen, at(-0.75, low, far), at(0.75, low, far), ink.grid, thick / 4);
    }
    for (const [pose, ghosted] of figures) {
      if (Number.isNaN(pose[0])) continue;
      const points = skeleton.joints.map((_, joint) => at(pose[3 * joint], pose[3 * joint + 1], pose[3 * joint + 2]));
      const bones = [...skeleton.bones].sort((a, b) => points[b[0]][2] + points[b[1]][2] - points[a[0]][2] - points[a[1]][2]);
      for (const [joint, parent] of bones) stroke(pen, points[joint], points[parent], ghosted || side(joint, ink), ghosted ? thick * 0.8 : thick);
    }
  }

  document.addEventListener("theme", paint);
  const watch = new ResizeObserver(paint);
  canvases.forEach((canvas) => watch.observe(canvas));
  load(Math.min(2, viewer.clips.length - 1), 0);
  const [one] = viewer.clips;
  return section("viewer", "Watch", `${plural(viewer.clips.length, "test video")} of the test set, from the easiest to the hardest for the median method, at ${viewer.fps.toFixed(0)} frames per second; at most ${Math.max(...viewer.clips.map((clip) => clip.frames))} frames around the hardest moment of each. Coordinates are rounded to a millimetre.${one.step > 1 ? ` Every ${one.step === 2 ? "second" : `${one.step}th`} frame is embedded.` : ""}`,
    stage);
}
