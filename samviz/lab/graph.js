// What all widgets share: plotly.js, frames, controls, the graph (nodes: elements.js). The kernel's half is widget.py.
// A widget's own file follows in the same module, with its only export.

const TYPES = { float32: Float32Array, float64: Float64Array, int32: Int32Array };
const CONFIG = {
  displaylogo: false, showSendToCloud: false, plotlyServerURL: "", doubleClick: false, toImageButtonOptions: { filename: "samviz", scale: 2 },
};
const PAPER = { paper_bgcolor: "white", plot_bgcolor: "white", modebar: { bgcolor: "rgba(0,0,0,0)", color: "#5b6876", activecolor: "#1b2733" } };
const MOVE = { mode: "immediate", frame: { redraw: false, duration: 0 }, transition: { duration: 0 } };
const SYNC_MS = 1000, SYNC_DELAY_MS = 300; // plotly draws so often under the pointer while a figure moves, and so long after its last frame
const ACK_MS = 100; // between two acknowledgements: at each one JupyterLab shows the kernel as busy and idle
const PICTURE_DELAY_MS = 1500; // a picture for the saved notebook is made once the figure has not changed for so long
const SPEAK_DELAY_MS = 800; // a sentence is spoken once it has not changed for so long
const DEEP = new Set("scatter3d surface mesh3d cone streamtube volume isosurface".split(" "));

// ---------------------------------------------------------------- plotly.js, once a page and version
const library = (window.samvizPlotly ??= {});

async function load(gzip) {
  const source = await new Response(new Blob([gzip]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  // In a module, the page's AMD `define` and another plotly on the page are neither used nor replaced.
  const start = "const before = window.Plotly, module = { exports: {} }, exports = module.exports, define = undefined;\n";
  const end = "\nwindow.Plotly = before; export default module.exports.Plotly ?? module.exports;";
  const url = URL.createObjectURL(new Blob([start, source, end], { type: "text/javascript" }));
  try { return (await import(url)).default; } finally { URL.revokeObjectURL(url); }
}

const sendTo = (model, message) => {
  try { model.send(message); } catch { model.set("kernel_state", "silent"); } // alive.js
};

// ---------------------------------------------------------------- frames: one store a model, shared by its views
function createStore(model) {
  const graphs = new Set();
  let last, drawn, done, acked, acking = 0, saidHelloAt = -Infinity, busy = false, paused = false, broken = false, arrays = new Map();
  const sayHello = () => { // the kernel answers with the entire figure
    if (performance.now() - saidHelloAt < 3000) return;
    saidHelloAt = performance.now();
    sendTo(model, { hello: library[model.get("_plotly")] ? "again" : "no plotly" });
  };

  const acknowledge = () => {
    if (acking || done === acked) return;
    sendTo(model, { ack: (acked = done) });
    acking = setTimeout(() => { acking = 0; acknowledge(); }, ACK_MS);
  };

  const resolve = (node, array) => // a copy of the tree with `array(key)` instead of each reference
    Array.isArray(node) ? node.map((child) => resolve(child, array))
      : node?.$ ? array(node.$)
        : node && typeof node === "object" ? Object.fromEntries(Object.entries(node).map(([k, v]) => [k, resolve(v, array)]))
          : node;

  function unpack([key, type, shape], { buffer, byteOffset, byteLength }) {
    const flat = new TYPES[type](buffer.slice(byteOffset, byteOffset + byteLength)); // a copy, since the offset may be odd
    const row = (_, i) => flat.subarray(i * shape[1], (i + 1) * shape[1]);
    arrays.set(key, shape.length === 2 ? Array.from({ length: shape[0] }, row) : flat);
  }

  function receive(message, buffers) {
    if (message.plotly) {
      library[model.get("_plotly")] ??= load(buffers[0]);
    } else if (message.repeat) { // there is a newer figure, and the last frames are not acknowledged
      if (message.repeat === acked) sendTo(model, { ack: acked });
      else if (broken || message.repeat !== last?.seq) sayHello();
    } else if (message.seq) {
      message.arrays.forEach((header, i) => unpack(header, buffers[i]));
      const used = new Map();
      resolve(message.figure, (key) => used.set(key, arrays.get(key)));
      if ([...used.values()].includes(undefined)) { // sent before this page existed, or lost with a broken connection
        sayHello();
        return;
      }
      [arrays, last] = [used, message];
      graphs.forEach((graph) => graph.reserve(message.figure.layout));
    } else if (message.beat && !last) { // the kernel lives (alive.js), but the greeting or its answer was lost
      sayHello();
    }
    pump();
  }

  async function pump() { // draw the newest frame in every view and acknowledge it; skip those in between
    if (busy || paused || !graphs.size || !last || !library[model.get("_plotly")]) return;
    busy = true;
    try {
      const Plotly = await library[model.get("_plotly")];
      if (!drawn) await new Promise((then) => (window.requestIdleCallback ?? setTimeout)(then, { timeout: 1500 })); // anywidget gives each widget of the page 2 s to begin
      while (last !== drawn && graphs.size && !paused) {
        const { seq, figure } = (drawn = last), looks = describe(figure);
        await Promise.all([...graphs].map((graph) => graph.draw(Plotly, resolve(figure, (key) => arrays.get(key)), looks)));
        await new Promise(requestAnimationFrame);
        broken = false;
        done = seq;
        acknowledge();
      }
    } catch (error) {
      broken = true;
      console.error(error);
      graphs.forEach((graph) => graph.fail(error));
    } finally {
      busy = false;
    }
  }

  const redraw = () => { drawn = null; pump(); };
  model.on("msg:custom", receive);
  sayHello();
  return {
    redraw,
    hold(isPaused) { // stop drawing as soon as Pause is clicked, and continue once the button shows the answer
      paused = isPaused;
      requestAnimationFrame(() => setTimeout(pump));
    },
    join(graph) { graphs.add(graph); redraw(); return () => graphs.delete(graph); },
  };
}

// ---------------------------------------------------------------- one view: its values and its controls
// A cell, { get, set, follow }, is the value of one control. `changed` is called when the learner changes one.
function createParts({ model }, changed = () => {}) {
  const undo = []; // what to do when the view is removed
  const get = (name) => model.get(name);
  const follow = (names, update) => {
    for (const event of names.split(" ").map((name) => `change:${name}`)) {
      model.on(event, update);
      undo.push(() => model.off(event, update));
    }
    update();
  };
  const alert = make("p", { className: "samviz-alert", role: "alert" });
  follow("alert", () => { alert.textContent = get("alert"); });
  const tell = (text) => { // what the page itself has to say, until something else is pressed
    alert.textContent = text;
    addEventListener("click", () => { alert.textContent = get("alert"); }, { once: true, capture: true });
  };
  const send = (message) => sendTo(model, message);
  // Values are sent at once, and then at most once an animation frame. Values that the kernel has not confirmed are sent
  // again with the next message, or after a while, because a message may be lost with its connection.
  const view = nextId();
  let unconfirmed = {}, changes = 0, sent = 0, frame = 0, timer = 0;
  const sendValues = (delay = 2000) => {
    clearTimeout(timer);
    timer = setTimeout(() => sendValues(Math.min(2 * delay, 30000)), delay);
    send({ values: unconfirmed, id: [view, (sent = changes)] }); // save_changes would wait for ever for an answer that was lost
  };
  const sendSoon = () => {
    if (frame || sent === changes) return;
    frame = requestAnimationFrame(() => { frame = 0; sendSoon(); });
    sendValues();
  };
  const cell = (name) => {
    const value = () => (name in unconfirmed ? unconfirmed[name] : get("values")[name]);
    return {
      get: value,
      set(next) {
        if (String(next) === String(value())) return;
        changed();
        unconfirmed[name] = next;
        changes += 1;
        model.set("values", { ...get("values"), [name]: next });
        sendSoon();
      },
      follow: (update) => follow("values", update),
    };
  };
  const confirm = ({ confirmed, values }) => { // what the kernel has accepted from any page, or has kept instead
    if (!confirmed) return;
    if (confirmed[0] === view && confirmed[1] === changes) {
      clearTimeout(timer);
      unconfirmed = {};
    }
    model.set("values", { ...get("values"), ...values, ...unconfirmed });
  };
  model.on("msg:custom", confirm);
  undo.push(() => model.off("msg:custom", confirm), () => cancelAnimationFrame(frame), () => clearTimeout(timer));

  const field = (text, control, ...more) => {
    control.id = nextId();
    return make("span", { className: "samviz-field" }, make("label", { htmlFor: control.id, textContent: text }), control, ...more);
  };
  const button = (text, onclick) => make("button", { type: "button", textContent: text, onclick });
  const typed = (cell, { low = -Infinity, high = Infinity, integer = false, show = String, ...rest }) => { // stored with every digit
    const read = () => Number(input.value.replace("(full)", "").replace(",", ".").trim() || NaN);
    const bad = () => !(read() >= low && read() <= high && Number.isFinite(read())) || (integer && !Number.isInteger(read()));
    const range = Number.isFinite(high - low) ? ` from ${low} to ${high}` : "";
    const reason = make("span", { className: "samviz-reason", role: "status", id: nextId() });
    const mark = (wrong) => {
      input.toggleAttribute("aria-invalid", wrong) && input.setAttribute("aria-invalid", "true");
      reason.textContent = wrong ? `Enter a ${integer ? "whole " : ""}number${range}; the value is still ${show(cell.get())}.` : "";
      if (wrong) input.after(reason); else reason.remove();
    };
    const accept = () => { if (!bad()) cell.set(read()); }; // at Enter or on leaving, so that 0.05 is not also 0 and 0.0
    const restore = () => { input.value = show(cell.get()); mark(false); };
    const input = make("input", {
      type: "text", inputMode: integer ? "numeric" : "decimal", autocomplete: "off", spellcheck: false, className: "samviz-typed",
      oninput: () => mark(bad()), onchange: accept, onkeydown: ({ key }) => { if (key === "Enter") accept(); }, onblur: () => { if (!bad()) restore(); }, ...rest,
    });
    input.setAttribute("aria-describedby", reason.id);
    let last; // the text of the value that was shown last: what is typed stays until the value changes
    cell.follow(() => {
      if (last === (last = String(cell.get()))) return;
      restore();
    });
    return input;
  };
  const coordinate = (point, i) => ({
    ...point, get: () => point.get()[i], set: (value) => point.set(point.get().map((old, k) => (k === i ? value : old))),
  });
  const makers = { // of the controls that the kernel declares
    slider({ name, label, stops, kind, ...limits }) { // a range over its stops, and next to it the number itself
      const { get: value, set, follow: each } = cell(name);
      const range = make("input", { type: "range", max: stops.length - 1, oninput: () => set(stops[range.value]) });
      const ratios = stops[0] >= 0; // the thumb is at the stop that is nearest by ratio, or else by difference
      const far = (a, b) => (a === b ? 0 : !ratios ? Math.abs(a - b) : a > 0 && b > 0 ? Math.abs(Math.log(a / b)) : Infinity);
      each(() => {
        const nearest = stops.reduce((best, stop, i) => (far(stop, value()) < far(stops[best], value()) ? i : best), 0);
        if (stops[range.value] !== value()) range.value = nearest;
        range.setAttribute("aria-valuetext", (limits.show ?? String)(value()));
      });
      return field(label, range, typed(cell(name), { ...limits, ariaLabel: `${label}, typed` }));
    },
    batchslider: (spec) => makers.slider({ ...spec, style: "width: 6.6em", show: (value) => (value === spec.high ? `${value} (full)` : String(value)) }),
    numberfield: ({ name, label, low, high, integer }) => field(label, typed(cell(name), { low, high, integer })),
    numberlist: ({ name, label, stops }) => makers.choice({ name, label, options: stops.map((stop) => [stop, stop]) }),
    choice({ name, label, options }) { // options: [[value, label], ...]
      const { get: value, set, follow: each } = cell(name);
      const option = ([content, text]) => make("option", { value: content, textContent: text });
      const read = () => (typeof value() === "number" ? Number(select.value) : select.value);
      const select = make("select", { onchange: () => set(read()) }, ...options.map(option));
      each(() => {
        if (![...select.options].some((known) => known.value === String(value()))) select.append(option([value(), value()]));
        select.value = value();
      });
      return field(label, select);
    },
    switch({ name, label }) {
      const { get: value, set, follow: each } = cell(name);
      const box = make("input", { type: "checkbox", onchange: () => set(box.checked) });
      each(() => { box.checked = value(); });
      return make("span", { className: "samviz-field" }, make("label", {}, box, label));
    },
    button: ({ name, label }) => button(label, () => cell(name).set(cell(name).get() + 1)),
    point: ({ name }) => make("span", { className: "samviz-field" },
      ...["₁", "₂"].map((index, i) => field(name + index, typed(coordinate(cell(name), i), {})))),
  };
  const [thumbs, others] = [true, false].map((wanted) => // sliders, and the other controls
    (get("controls") ?? []).filter(({ kind }) => makers[kind] && kind.endsWith("slider") === wanted).map((spec) => {
      const place = explain(makers[spec.kind](spec), spec.help);
      place.dataset.control = spec.name;
      return place;
    }));
  const row = (...children) => make("div", { className: "samviz-row" }, ...children);
  const sliders = thumbs.length ? [make("div", { className: "samviz-row samviz-sliders" }, ...thumbs)] : [];

  const caption = (className, text = () => get("sentence"), names = "sentence playing") => {
    const shown = make("p", { className, ariaHidden: "true" });
    const spoken = make("p", { className: "samviz-spoken", role: "status" }); // the same once it is unchanged for a while; in a lab that plays, every 10 s
    let spokenAt = -Infinity, playing = null, speaking = 0;
    const speak = () => { [spokenAt, speaking, spoken.textContent] = [performance.now(), 0, shown.textContent]; };
    const show = () => {
      shown.replaceChildren(...[text()].flat());
      if (playing !== get("playing")) [playing, spokenAt] = [get("playing"), -Infinity];
      if (playing && (speaking || performance.now() - spokenAt < 1e4)) return;
      clearTimeout(speaking);
      speaking = setTimeout(speak, SPEAK_DELAY_MS);
    };
    follow(names, show);
    undo.push(() => clearTimeout(speaking));
    return { shown, spoken, show };
  };
  return { undo, get, follow, alert, tell, send, sendValues, cell, field, button, row, sliders, others, caption };
}

// ---------------------------------------------------------------- the graph of one view
let hasWebgl;
const webgl = () => { // tested once, and the context is released, because a page has few
  const context = hasWebgl === undefined && document.createElement("canvas").getContext("webgl");
  hasWebgl ??= Boolean(context);
  if (context) context.getExtension("WEBGL_lose_context")?.loseContext();
  return hasWebgl;
};

// Describe a figure without the positions of its lines, points and texts: the ranges of its axes, the look of its texts, and the rest.
function describe({ data, layout }) {
  const ranges = {}, texts = [], axes = {};
  for (const [name, axis] of Object.entries(layout)) {
    if (axis?.range) [ranges[`${name}.range`], axes[name]] = [axis.range, { ...axis, range: 0 }];
  }
  const free = (id = "x") => !axes[id.replace(/^./, "$&axis")]; // it is fitted to the points
  const rest = data.map(({ x, y, text, textposition: place, textfont, ...trace }) => {
    if (trace.type !== "scatter") return { x, y, text, place, textfont, ...trace };
    const sides = new Set([place].flat().map((each) => each?.split(" ")[0])); // above, beside or below their points
    const fixed = sides.size > 1 || trace.mode?.includes("markers"); // the distance from a point depends on the side
    texts.push(place, textfont?.color);
    return { ...trace, x: free(trace.xaxis) && x, y: free(trace.yaxis ?? "y") && y, place: fixed ? place : [...sides], textfont: { ...textfont, color: 0 } };
  });
  return { ranges, texts: JSON.stringify(texts), rest: JSON.stringify([rest, { ...layout, ...axes }]) };
}

const ANCHORS = { left: "end", right: "start" };
const put = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value); };
const resize = (nodes, length, add) => { // remove the last nodes, or add some
  nodes.splice(length).forEach((node) => node.remove());
  while (nodes.length < length) nodes.push(add());
};

// Move lines, points and texts to new positions by setting the attributes of the elements that plotly has drawn, which
// takes about a millisecond. Return false, and change nothing, if plotly has drawn something else than expected.
function moveTraces(graph, data, all) {
  const nodes = new Map([...graph.querySelectorAll(".scatterlayer > .trace")].map((node) => [node.__data__?.[0]?.trace?.index, node]));
  const moves = [];
  for (const [i, { type, x, y, text = [], textposition, textfont }] of data.entries()) {
    const { xaxis, yaxis, mode, fill, line, marker } = graph._fullData[i], node = nodes.get(i), old = graph.data[i];
    if (type !== "scatter" || (!node && !x.length) || (!all && x === old.x && y === old.y && !text.length)) continue;
    if (!node || !mode) return false; // it is not drawn, or it was without points when plotly drew it last
    if (line?.shape === "spline" || marker?.angleref === "previous") { // more than its points would have to be moved
      if (!all && String([x, y]) === String([old.x, old.y])) continue;
      return false;
    }
    const pixels = (values, id) => Array.from(values, graph._fullLayout[id.replace(/^./, "$&axis")].d2p);
    const px = pixels(x, xaxis), py = pixels(y, yaxis), isKnown = (k) => Number.isFinite(px[k]) && Number.isFinite(py[k]);
    const known = [...px.keys()].filter(isKnown);
    if (mode.includes("lines")) {
      const paths = [...node.querySelectorAll(".lines > path")], areas = node.querySelectorAll(".fills path");
      if (!paths.length && known.length > 1) return false;
      const drawn = known.map((k) => `${isKnown(k - 1) ? "L" : "M"}${px[k].toFixed(2)},${py[k].toFixed(2)}`).join("");
      moves.push(() => { // plotly draws a path for each part between gaps, here the first path has all parts
        paths.forEach((path, k) => put(path, "d", (!k && drawn) || "M0,0"));
        if (fill === "toself") areas.forEach((area) => put(area, "d", `${drawn || "M0,0"}Z`));
      });
    }
    if (mode.includes("markers")) {
      const layer = node.querySelector(".points"), points = [...layer.querySelectorAll(".point")];
      if (!points.length && known.length) return false;
      moves.push(() => {
        resize(points, known.length, () => layer.appendChild(points[0].cloneNode()));
        known.forEach((k, n) => put(points[n], "transform", `translate(${px[k]},${py[k]})`));
      });
    }
    if (mode.includes("text")) {
      const places = [...node.querySelectorAll(".textpoint")], has = (n) => places[Math.min(n, places.length - 1)].firstChild.dataset.unformatted;
      if ((known.length && !places.length) || places.some(({ firstChild }) => firstChild?.nodeName !== "text")) return false;
      if (!known.every((k, n) => has(n) === text[k] || ![has(n), text[k]].join().includes("<"))) return false; // several lines
      moves.push(() => {
        resize(places, known.length, () => places[0].parentNode.appendChild(places.at(-1).cloneNode(true)));
        known.forEach((k, n) => {
          const drawn = places[n].firstChild, each = (list) => (Array.isArray(list) ? list[k] : list);
          if (drawn.dataset.unformatted !== text[k]) drawn.dataset.unformatted = drawn.textContent = text[k];
          put(drawn, "text-anchor", ANCHORS[each(textposition)?.split(" ")[1]] ?? "middle");
          if (textfont?.color) drawn.style.fill = each(textfont.color);
          [drawn, ...drawn.querySelectorAll(".line")].forEach((line) => { put(line, "x", `${px[k]}`); put(line, "y", `${py[k]}`); });
        });
      });
    }
  }
  moves.forEach((move) => move());
  data.forEach((trace, i) => Object.assign(graph.data[i], trace));
  return true;
}

// Return the box with the graph, whose axes are stacked in a narrow page. `caption` is the element that describes
// the picture; `placed` is called when axes or points may have moved; `extra` returns traces for a layout,
// drawn over the figure's; `arrange` may change the figure.
function createGraph(store, { undo, get, alert, send }, { caption, placed = () => {}, extra = () => [], arrange = (figure) => figure }) {
  const graph = make("div", { className: "samviz-graph", role: "figure", ariaLabel: get("description") });
  graph.setAttribute("aria-describedby", (caption.id ||= nextId()));
  let width = 0, height = 0, stacked = "", dark = false, shown = null, plotted = "", zooms = 1, failed = false, purge = null, syncedAt = 0, syncing = 0;
  const look = () => { // at the page, and not in each frame, because the page must be laid out for it
    const style = getComputedStyle(graph); // widget.css tests for narrow and for dark pages
    [width, height, stacked, dark] = [graph.clientWidth, graph.clientHeight, style.getPropertyValue("--stacked"), style.colorScheme === "dark"];
  };
  const box = () => [width, stacked || height, dark].join(); // stacked axes have a height of their own
  const painted = ({ data, layout }) => {
    const ground = { data, layout: { ...PAPER, ...layout, font: { color: "#1b2733", ...layout.font } } };
    return dark ? recolour(ground) : ground;
  };
  const fit = (layout) => { // a narrow box stacks the axes; a figure without a height fills it
    const fitted = { height, ...(stacked && layout.meta?.stacked ? stackAxes(layout, width) : layout), width };
    if (layout.height) graph.style.minHeight = `${fitted.height}px`;
    return fitted;
  };
  const zoomed = () => Object.keys(graph._fullLayout._preGUI ?? { unknown: true }).length > 0; // by the learner
  const unzoom = () => { // to the newest ranges: plotly itself would go back to its first ones
    [shown, zooms] = [null, zooms + 1];
    store.redraw();
  };
  const configs = {};
  const configure = (Plotly, deep) => { // no button that uploads the chart
    const home = { name: "home", title: "Reset axes", icon: Plotly.Icons.home, click: unzoom };
    const moves = deep ? ["orbitRotation", "pan3d", "zoom3d"] : ["zoom2d", "pan2d"];
    return (configs[deep] ??= { ...CONFIG, modeBarButtons: [["toImage", ...moves, home]] });
  };
  let picturing = 0;
  const makePicture = (Plotly) => {
    picturing = setTimeout(async () => {
      const size = { width: graph.clientWidth, height: graph.clientHeight };
      if (size.width && !document.hidden) send({ picture: await Plotly.toImage(graph, { format: "png", ...size }) });
    }, PICTURE_DELAY_MS);
  };
  undo.push(() => clearTimeout(picturing), () => clearTimeout(syncing), store.join({
    async draw(Plotly, figure, { ranges, texts, rest }) {
      if (!width) look(); // nothing is observed in a cell that is out of view
      if (!width) return; // hidden: the observers below draw it later
      figure = arrange(figure);
      const more = extra(figure.layout), before = shown;
      const { data, layout } = painted({ data: [...figure.data, ...more], layout: fit(figure.layout) });
      const after = { rest: rest + JSON.stringify([box(), data.length, more.map(({ x, y, ...style }) => style)]), ranges: JSON.stringify(ranges) };
      const kept = before?.rest === after.rest && graph._fullLayout._basePlotModules.every(({ name }) => name === "cartesian")
        && graph._fullData.every(({ _module }) => _module?.animatable);
      const panned = kept && before.ranges !== after.ranges, isSynced = performance.now() - syncedAt < (graph.matches(":hover") ? SYNC_MS : Infinity);
      shown = null;
      [syncing, picturing].forEach(clearTimeout);
      if (kept && isSynced && !(panned && zoomed())) {
        const other = ([name, range]) => String(graph._fullLayout[name.split(".")[0]]?.range ?? range) !== String(range);
        if (panned) await Plotly.relayout(graph, Object.fromEntries(Object.entries(ranges).filter(other))); // in half the time of a redraw
        if (moveTraces(graph, data, panned)) {
          syncing = setTimeout(() => { syncedAt = -Infinity; store.redraw(); }, SYNC_DELAY_MS); // for hover labels, zoom and export
          shown = after;
          placed();
          return;
        }
      }
      syncedAt = performance.now();
      if (kept && !panned && plotted === texts) { // keep axes and labels, which takes half the time
        const moves = data.map(({ type, x, y, text }) => (type !== "scatter" ? {} : text ? { x, y, text } : { x, y }));
        await Plotly.animate(graph, { data: moves, traces: data.map((_, i) => i) }, MOVE);
      } else {
        const deep = Object.keys(layout).some((key) => key.startsWith("scene")) || data.some(({ type }) => DEEP.has(type));
        if (deep && !webgl()) throw new Error("this browser offers no WebGL: turn on hardware acceleration, or use another browser");
        const scene = graph._fullLayout?.uirevision === zooms && graph._fullLayout.scene?._scene;
        if (scene && layout.scene) layout.scene = { ...layout.scene, camera: scene.getCamera() }; // plotly would forget it
        await Plotly.react(graph, data, { ...layout, uirevision: zooms }, configure(Plotly, deep));
        graph._fullData.forEach(({ _module }) => _module && (_module.animatable = true)); // or an animation removes the landscape
        graph.querySelectorAll("button").forEach(shield);
        if (!purge) {
          graph.on("plotly_doubleclick", unzoom);
          ["plotly_relayouting", "plotly_relayout"].forEach((event) => graph.on(event, placed));
        }
        purge = () => Plotly.purge(graph);
      }
      [shown, plotted] = [after, texts];
      placed();
      makePicture(Plotly);
      if (failed) [failed, alert.textContent] = [false, get("alert")];
    },
    fail(error) {
      failed = true;
      alert.textContent = `The picture cannot be drawn (${error.message}). Reload the page and run the cell again.`;
    },
    reserve: (layout) => { look(); fit(layout); }, // the height, while plotly.js is loaded
  }));
  const observe = () => {
    const before = box();
    look();
    if (width && before !== box()) store.redraw();
  };
  const size = new ResizeObserver(observe), theme = new MutationObserver(observe);
  size.observe(graph);
  [document.documentElement, document.body].forEach((host) => theme.observe(host, { attributes: true }));
  undo.push(() => size.disconnect(), () => theme.disconnect(), () => purge?.());
  return make("div", { className: "samviz-stage" }, graph);
}

const widget = (createView) => () => {
  let store;
  return {
    initialize({ model }) { store = createStore(model); },
    render: (context) => createView(context, store),
  };
};
