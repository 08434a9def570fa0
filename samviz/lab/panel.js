// The panel in the browser: its controls, sentence, graph, and points to drag. The kernel's half is panel.py.

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const valueAt = (axis, pixel) => { // the value under a pixel, rounded to the width of a pixel
  const value = axis.p2d(clamp(pixel, 0, axis._length));
  const step = Math.abs(axis.p2d(clamp(pixel, 0, axis._length - 1) + 1) - axis.p2d(clamp(pixel, 0, axis._length - 1)));
  return Number(value.toFixed(clamp(Math.ceil(-Math.log10(step)), 0, 12)));
};

// A round handle over the marker of a trace: dragged with a pointer, moved with arrow keys.
function createHandle(graph, name, cell, hint) {
  const axes = () => [graph._fullLayout?.xaxis, graph._fullLayout?.yaxis];
  let at = [0, 0], offset = null; // its position and, while it is dragged, its offset from the pointer, in pixels
  const put = (pixels) => {
    at = pixels;
    const [x, y] = axes();
    handle.hidden = !at.every(Number.isFinite) || at[0] < 0 || at[1] < 0 || at[0] > x._length || at[1] > y._length;
    handle.style.translate = `${x._offset + at[0]}px ${y._offset + at[1]}px`;
  };
  const move = (pixels) => {
    const bounded = axes().map((axis, i) => clamp(pixels[i], 0, axis._length));
    put(bounded);
    cell.set(axes().map((axis, i) => valueAt(axis, bounded[i])));
  };
  const handle = make("button", {
    type: "button", className: "samviz-handle", ariaLabel: `point ${name}`, hidden: true,
    onpointerdown(event) {
      if (event.button) return;
      offset = [at[0] - event.clientX, at[1] - event.clientY];
      handle.setPointerCapture(event.pointerId);
    },
    onpointermove: ({ clientX, clientY }) => { if (offset) move([clientX + offset[0], clientY + offset[1]]); },
    onlostpointercapture() {
      offset = null;
      place();
    },
    onkeydown(event) {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const far = event.shiftKey ? 0.1 : 0.01; // of the axis
      const [x, y] = axes();
      const [px, py] = axes().map((axis, i) => axis.d2p(cell.get()[i])); // not `at`: a frame may lag behind quick presses
      move([px + step[0] * far * x._length, py - step[1] * far * y._length]);
    },
  });
  handle.setAttribute("aria-roledescription", "draggable point");
  handle.setAttribute("aria-describedby", hint.id);
  const place = () => { // over the drawn marker, which `draw` may have moved
    if (offset) return;
    const trace = graph.data?.find((drawn) => drawn.name === name);
    const [x, y] = axes();
    if (x && y && trace?.x?.length) put([x.d2p(trace.x[0]), y.d2p(trace.y[0])]);
    else handle.hidden = true;
  };
  return { handle, place };
}

function createPanel(context, store) {
  const parts = createParts(context, "panel");
  const { undo, get, alert, cell, row, sliders, others, caption } = parts;
  const { shown, spoken } = caption("samviz-sentence");
  const stage = createGraph(store, parts, { caption: shown, placed: () => handles.forEach(({ place }) => place()) });
  const hint = make("span", { className: "samviz-spoken", id: nextId(), textContent: "Arrow keys move it; with Shift, farther." });
  const handles = get("controls").filter(({ kind }) => kind === "point").map(({ name }) => createHandle(stage.firstChild, name, cell(name), hint));
  stage.append(...handles.map(({ handle }) => handle), ...(handles.length ? [hint] : []));
  context.el.append(make("div", { className: "samviz-card samviz-panel", role: "group", ariaLabel: get("description") },
    ...sliders, ...(others.length ? [row(...others)] : []), shown, spoken, alert, stage));
  return () => undo.forEach((undone) => undone());
}

export default widget(createPanel);
