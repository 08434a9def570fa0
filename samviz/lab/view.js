// The lab in the browser: native controls, one Plotly graph, one binary message a frame. The kernel's half is view.py.

const ROUND = [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.4, 2.7, 3, 3.3, 3.6, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 9];
const decades = (from, to) => // round numbers about 10 % apart, from 10^from to 10^to
  Array.from({ length: to - from }, (_, e) => ROUND.map((m) => Number(`${m}e${from + e}`))).flat().concat(10 ** to);
const SPEEDS = [1, 2, 5, 10, 20, 50, 100, 200, 500].map((v) => [String(v), String(v)]);
const TYPES = { float32: Float32Array, float64: Float64Array, int32: Int32Array };
const CONFIG = { displaylogo: false, doubleClick: false, toImageButtonOptions: { filename: "samviz", scale: 2 } };
const MOVE = { mode: "immediate", frame: { redraw: false, duration: 0 }, transition: { duration: 0 } };
const page = Math.random().toString(36).slice(2); // each widget loads this module of its own: ids need more than a count
let views = 0;

// ---------------------------------------------------------------- plotly.js, once a page and version
const library = (window.samvizPlotly ??= {});

async function load(gzip) {
  const source = await new Response(new Blob([gzip]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const wrapped = [ // a `module` of its own: neither a page's AMD `define` nor another plotly on it is used or replaced
    "const before = window.Plotly, module = { exports: {} }, exports = module.exports, define = undefined;",
    source,
    "window.Plotly = before; export default module.exports.Plotly ?? module.exports;",
  ];
  const url = URL.createObjectURL(new Blob([wrapped.join("\n")], { type: "text/javascript" }));
  try { return (await import(url)).default; } finally { URL.revokeObjectURL(url); }
}

// ---------------------------------------------------------------- frames: one store a model, shared by its views
function createStore() {
  const graphs = new Set();
  let model, last, drawn, acked, busy = false, held = false, arrays = new Map();

  const walk = (node, array) => // a copy of the tree in which references stand as the arrays that `array` gives
    Array.isArray(node) ? node.map((child) => walk(child, array))
      : node?.$ ? array(node.$)
        : node && typeof node === "object" ? Object.fromEntries(Object.entries(node).map(([k, v]) => [k, walk(v, array)]))
          : node;

  function unpack([key, type, shape], { buffer, byteOffset, byteLength }) {
    const flat = new TYPES[type](buffer.slice(byteOffset, byteOffset + byteLength)); // a copy, since the offset may be odd
    const row = (_, i) => flat.subarray(i * shape[1], (i + 1) * shape[1]);
    arrays.set(key, shape.length === 2 ? Array.from({ length: shape[0] }, row) : flat);
  }

  function receive(message, buffers) {
    if (message.plotly) {
      library[model.get("_plotly")] ??= load(buffers[0]);
    } else if (message.seq) {
      message.arrays.forEach((header, i) => unpack(header, buffers[i]));
      const used = new Map();
      walk(message.figure, (key) => used.set(key, arrays.get(key)));
      if ([...used.values()].includes(undefined)) return; // begun before this page was: the answer to its hello will come
      [arrays, last] = [used, message];
    }
    pump();
  }

  async function pump() { // draw the newest frame in every view and acknowledge it; those that came meanwhile are skipped
    if (busy || held || !graphs.size || !last || !library[model.get("_plotly")]) return;
    busy = true;
    try {
      const Plotly = await library[model.get("_plotly")];
      while (last !== drawn && graphs.size && !held) {
        const { seq, figure } = (drawn = last);
        const move = ({ x, y, text, ...trace }) => (trace.type === "scatter" ? trace : { x, y, text, ...trace });
        const still = JSON.stringify([figure.data.map(move), figure.layout]); // all but where lines, points and words stand
        await Promise.all([...graphs].map((graph) => graph.draw(Plotly, walk(figure, (key) => arrays.get(key)), still)));
        await new Promise(requestAnimationFrame);
        if (seq !== acked) model.send({ ack: (acked = seq) });
      }
    } catch (error) {
      console.error(error);
      graphs.forEach((graph) => graph.fail(error));
    } finally {
      busy = false;
    }
  }

  const redraw = () => { drawn = null; pump(); };
  return {
    redraw,
    hold(still) { held = still; pump(); }, // the picture freezes at the click on Pause, which so is heard at once
    join(graph) { graphs.add(graph); redraw(); return () => graphs.delete(graph); },
    open(m) {
      model = m;
      model.on("msg:custom", receive);
      model.send({ hello: library[model.get("_plotly")] ? "again" : "no plotly" });
    },
  };
}

// ---------------------------------------------------------------- one view
const shield = (node) => { node.dataset.lmSuppressShortcuts = "true"; }; // Notebook 7 eats arrow keys otherwise

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  if (/^(button|input|select)$/.test(tag)) shield(node);
  node.append(...children);
  return node;
}

function createView({ model, el }, store) {
  const id = `samviz-${page}-${views++}`;
  const undo = []; // what to do when the view goes
  const get = (name) => model.get(name);
  const follow = (names, update) => {
    for (const event of names.split(" ").map((name) => `change:${name}`)) {
      model.on(event, update);
      undo.push(() => model.off(event, update));
    }
    update();
  };
  const reach = (send) => {
    try { send(); } catch { alert.textContent = "The kernel of this lab is gone: run its cell again."; }
  };
  let saving = 0, unsaved = false;
  const save = () => { // at once, and then at most one message an animation frame
    if (saving) { unsaved = true; return; }
    unsaved = false;
    saving = requestAnimationFrame(() => { saving = 0; if (unsaved) save(); });
    reach(() => model.save_changes());
  };
  const set = (name, value) => {
    if (value === get(name)) return;
    model.set(name, value);
    preset.value = "";
    save();
  };
  undo.push(() => cancelAnimationFrame(saving));

  // makers of controls
  const act = (action, value = null) => reach(() => model.send({ action, value }));
  const button = (text, action) => make("button", { type: "button", textContent: text, onclick: () => act(action) });
  const field = (text, control, ...more) => {
    control.id = `${id}-${text.replace(/\W+/g, "-")}`;
    return make("span", { className: "samviz-field" }, make("label", { htmlFor: control.id, textContent: text }), control, ...more);
  };
  const choice = (name, text, options) => { // options: [[value, label], ...]
    const option = ([value, label]) => make("option", { value, textContent: label });
    const read = () => (typeof get(name) === "number" ? Number(select.value) : select.value);
    const select = make("select", { onchange: () => set(name, read()) }, ...options.map(option));
    follow(name, () => {
      const value = String(get(name));
      if (![...select.options].some((known) => known.value === value)) select.append(option([value, value]));
      select.value = value;
    });
    return field(text, select);
  };
  const typed = (name, { low, high, whole = false, show = String, ...rest }) => { // keeps what is typed to the digit
    const read = () => Number(input.value.replace("(full)", "").trim() || NaN);
    const bad = () => !(read() >= low && read() <= high) || (whole && !Number.isInteger(read()));
    const mark = (wrong) => {
      input.toggleAttribute("aria-invalid", wrong) && input.setAttribute("aria-invalid", "true");
      input.title = wrong ? `Type a ${whole ? "whole " : ""}number from ${low} to ${high}.` : "";
    };
    const keep = () => { if (!bad()) set(name, read()); }; // at Enter or on leaving, so that 0.05 is not also 0 and 0.0
    const restore = () => { input.value = show(get(name)); mark(false); };
    const input = make("input", {
      type: "text", inputMode: whole ? "numeric" : "decimal", autocomplete: "off", spellcheck: false, className: "samviz-typed",
      oninput: () => mark(bad()), onchange: keep, onkeydown: ({ key }) => { if (key === "Enter") keep(); }, onblur: restore, ...rest,
    });
    follow(name, () => { if (document.activeElement !== input || read() !== get(name)) restore(); });
    return input;
  };
  const slider = (name, text, notches, limits) => { // a range over round numbers, and beside it the number itself
    const range = make("input", { type: "range", max: notches.length - 1, oninput: () => set(name, notches[range.value]) });
    const far = (a, b) => (a > 0 && b > 0 ? Math.abs(Math.log(a / b)) : a === b ? 0 : Infinity);
    follow(name, () => {
      const value = get(name);
      const nearest = notches.reduce((best, notch, i) => (far(notch, value) < far(notches[best], value) ? i : best), 0);
      if (notches[range.value] !== value) range.value = nearest;
      range.setAttribute("aria-valuetext", (limits.show ?? String)(value));
    });
    return field(text, range, typed(name, { ...limits, ariaLabel: `${text}, typed` }));
  };

  // controls
  const play = make("button", { type: "button", className: "samviz-play", onclick: () => {
    store.hold(get("playing"));
    act(get("playing") ? "pause" : "play");
  } });
  follow("playing", () => {
    const icon = make("span", { ariaHidden: "true", textContent: get("playing") ? "❚❚" : "▶" });
    play.replaceChildren(icon, get("playing") ? " Pause" : " Play");
    store.hold(false);
  });
  const preset = make("select", { onchange: () => act("preset", preset.value) },
    make("option", { value: "", textContent: "choose…", disabled: true, selected: true }),
    ...get("presets").map((name) => make("option", { value: name, textContent: name })));
  const n = get("samples");
  const counts = n > 100 ? [...new Set(decades(0, 7).map(Math.round))] : Array.from({ length: n }, (_, i) => i + 1);
  const batches = counts.filter((v) => v < n).concat(n);
  const limits = { low: 1, high: n, whole: true, show: (value) => (value === n ? `${value} (full)` : String(value)) };
  const compare = make("input", { type: "checkbox", onchange: () => set("compare", compare.checked) });
  follow("compare", () => { compare.checked = get("compare"); });

  // words
  const status = make("p", { className: "samviz-status", ariaHidden: "true" });
  const spoken = make("p", { className: "samviz-spoken", role: "status" }); // the same at every start and stop, else every 10 s
  let said = -Infinity, playing = null;
  follow("status playing", () => {
    status.textContent = get("status");
    if (playing === get("playing") && performance.now() - said < 1e4) return;
    [said, playing, spoken.textContent] = [performance.now(), get("playing"), get("status")];
  });
  const alert = make("p", { className: "samviz-alert", role: "alert" });
  follow("alert", () => { alert.textContent = get("alert"); });
  const bar = make("progress", { max: 1, id: `${id}-progress` });
  const doing = make("label", { htmlFor: bar.id });
  const progress = make("span", { className: "samviz-field samviz-progress" }, doing, bar);
  follow("progress progress_label", () => {
    progress.hidden = get("progress") < 0;
    bar.value = Math.max(0, get("progress"));
    doing.textContent = get("progress_label");
  });

  // the graph
  const graph = make("div", { className: "samviz-graph", role: "group", ariaLabel: get("description") });
  let width = 0, shown = null, zooms = 1, config = null, purge = null;
  const unzoom = () => { // to the newest ranges: plotly itself would go back to its first ones
    [shown, zooms] = [null, zooms + 1];
    store.redraw();
  };
  undo.push(store.join({
    async draw(Plotly, { data, layout }, still) {
      if (!graph.clientWidth) { width = 0; return; } // hidden: the observer below draws it when it is not
      const moved = shown === still && width === graph.clientWidth && graph._fullData.every(({ _module }) => _module?.animatable);
      [shown, width] = [null, graph.clientWidth];
      if (moved) { // axes and labels stay, at half the price
        const moves = data.map(({ type, x, y, text }) => (type !== "scatter" ? {} : text ? { x, y, text } : { x, y }));
        await Plotly.animate(graph, { data: moves, traces: data.map((_, i) => i) }, MOVE);
      } else {
        const home = () => ({ name: "home", title: "Reset axes", icon: Plotly.Icons.home, click: unzoom });
        config ??= { ...CONFIG, modeBarButtons: [["toImage", "zoom2d", "pan2d", home()]] }; // and none that uploads the chart
        await Plotly.react(graph, data, { ...layout, uirevision: zooms, width }, config);
        graph._fullData.forEach(({ _module }) => _module && (_module.animatable = true)); // or a move takes the landscape off
        graph.querySelectorAll("button").forEach(shield);
        if (!purge) graph.on("plotly_doubleclick", unzoom);
        purge = () => Plotly.purge(graph);
      }
      shown = still;
    },
    fail(error) { alert.textContent = `The picture cannot be drawn (${error.message}). Reload the page and run the cell again.`; },
  }));
  const observer = new ResizeObserver(() => { if (graph.clientWidth && graph.clientWidth !== width) store.redraw(); });
  observer.observe(graph);
  undo.push(() => observer.disconnect(), () => purge?.());

  const row = (...children) => make("div", { className: "samviz-row" }, ...children);
  const sliders = row(slider("rho", "ρ radius", [0, ...decades(-3, 0)], { low: 0, high: 100 }),
    slider("lr", "η learning rate", decades(-4, 1), { low: 1e-9, high: 100 }),
    ...(n ? [slider("batch_size", "batch size", batches, limits)] : []));
  sliders.classList.add("samviz-sliders");
  const seed = typed("seed", { low: 0, high: 2 ** 31 - 1, whole: true });
  const ghost = make("label", {}, compare, "ghost of the last run");
  el.append(make("div", { className: "samviz-lab", role: "group", ariaLabel: "SAM lab" },
    row(play, button("Step", "step"), button("Reset", "reset"), field("preset", preset),
      make("div", { className: "samviz-words" }, progress, status, spoken)),
    sliders,
    row(choice("rule", "rule", get("rules")), choice("steps_per_frame", "steps per frame", SPEEDS), field("seed", seed),
      choice("plane", "plane", get("planes")), button("Re-centre", "recenter"), make("span", { className: "samviz-field" }, ghost)),
    alert, graph));
  return () => undo.forEach((undone) => undone());
}

export default () => {
  const store = createStore();
  return {
    initialize({ model }) { store.open(model); },
    render: (context) => createView(context, store),
  };
};
