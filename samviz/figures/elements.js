// What widgets and the player of the book share: nodes, storage in the browser, and handles over points of a graph.

const page = Math.random().toString(36).slice(2); // each widget loads its own copy of this module, so a count alone would repeat ids
let nodes = 0;
const nextId = () => `samviz-${page}-${nodes++}`;
const attempt = (action) => { try { return action(); } catch { return null; } }; // a private window may have no storage
const shield = (node) => { node.dataset.lmSuppressShortcuts = "true"; }; // Notebook 7 eats arrow keys otherwise

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  if (/^(button|input|select)$/.test(tag)) shield(node);
  node.append(...children);
  return node;
}

// Show a sentence about a control below it, on hover and on keyboard focus, until the control is used or Escape is pressed.
// Return the control's place, which for a bare control is a new one.
function explain(place, text) {
  if (!text) return place;
  const tip = make("span", { className: "samviz-help", id: nextId(), ariaHidden: "true", textContent: text, hidden: true });
  const whole = place.matches("button, select") ? make("span", { className: "samviz-field" }, place) : place;
  for (const control of whole.querySelectorAll("input, select, button")) {
    control.setAttribute("aria-describedby", `${control.getAttribute("aria-describedby") ?? ""} ${tip.id}`.trim());
  }
  whole.append(tip);
  const dismiss = ({ key }) => { if (key === "Escape") hide(); };
  const hide = () => { tip.hidden = true; document.removeEventListener("keydown", dismiss); };
  const show = () => {
    tip.hidden = false;
    fit(tip);
    document.addEventListener("keydown", dismiss);
  };
  whole.addEventListener("pointerenter", show);
  whole.addEventListener("focusin", ({ target }) => { if (target.matches(":focus-visible")) show(); });
  ["pointerleave", "pointerdown", "focusout", "input", "click"].forEach((event) => whole.addEventListener(event, hide));
  return whole;
}

// Move an element that hangs below a control to the left until it lies within the card.
function fit(node) {
  node.style.translate = "";
  const beyond = node.getBoundingClientRect().right + 8 - node.closest(".samviz-card, .samviz-player").getBoundingClientRect().right;
  if (beyond > 0) node.style.translate = `${-beyond}px`;
}

// Return a layout with its axes in one column, as its `meta` describes them (drawing.py). What does not fit into a heading is left out.
function stackAxes({ meta, ...layout }, width) {
  const { l = 80, r = 80 } = layout.margin ?? {}, stacked = { ...layout, height: meta["stacked height"] };
  for (const [name, { space, ...change }] of Object.entries(meta.stacked)) { // with space for labels on the right
    if (space) change.domain = [0, 1 - space / (width - l - r)];
    stacked[name] = { ...layout[name], ...change };
  }
  const brief = (text) => {
    const line = text.replace("<br>", "");
    return line.replace(/<.*?>/g, "").length * 7 < width - l ? line : text.replace(/<\/b> .*/, "</b>");
  };
  return { ...stacked, annotations: layout.annotations?.map(({ text, ...note }) => ({ ...note, text: /<\/b> /.test(text) ? brief(text) : text })) };
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const firstAxes = (graph) => [graph._fullLayout?.xaxis, graph._fullLayout?.yaxis];
const valueAt = (axis, pixel) => { // the value under a pixel, rounded to the width of a pixel
  const value = axis.p2d(clamp(pixel, 0, axis._length));
  const step = Math.abs(axis.p2d(clamp(pixel, 0, axis._length - 1) + 1) - axis.p2d(clamp(pixel, 0, axis._length - 1)));
  return Number(value.toFixed(clamp(Math.ceil(-Math.log10(step)), 0, 12)));
};
const createHint = () => make("span", { className: "samviz-spoken", id: nextId(), textContent: "Arrow keys move it; with Shift, farther." });

// A round handle over a point (x, y) of the first axes: dragged with a pointer, moved with arrow keys. `get` and `set` are its value;
// `drawn` says where it is drawn, and null hides it; `turn`, if there is one, handles the arrow keys with a signed number of degrees.
function createHandle(graph, hint, { label, get, set, drawn = get, turn }) {
  const axes = () => firstAxes(graph);
  let at = [0, 0], offset = null; // its position and, while it is dragged, its offset from the pointer, in pixels
  const put = (pixels) => {
    at = pixels;
    const [x, y] = axes();
    handle.hidden = !at.every(Number.isFinite) || at[0] < -1 || at[1] < -1 || at[0] > x._length + 1 || at[1] > y._length + 1;
    handle.style.translate = `${x._offset + at[0]}px ${y._offset + at[1]}px`;
  };
  const move = (pixels) => {
    const bounded = axes().map((axis, i) => clamp(pixels[i], 0, axis._length));
    put(bounded);
    set(axes().map((axis, i) => valueAt(axis, bounded[i])));
  };
  const handle = make("button", {
    type: "button", className: "samviz-handle", ariaLabel: label, hidden: true,
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
      if (turn) {
        turn((step[0] + step[1]) * (event.shiftKey ? 10 : 1));
        return;
      }
      const far = event.shiftKey ? 0.1 : 0.01; // of the axis
      const [x, y] = axes();
      const [px, py] = axes().map((axis, i) => axis.d2p(get()[i])); // not `at`: a frame may lag behind quick presses
      move([px + step[0] * far * x._length, py - step[1] * far * y._length]);
    },
  });
  handle.setAttribute("aria-roledescription", "draggable point");
  handle.setAttribute("aria-describedby", hint.id);
  const place = () => { // where it is drawn now
    if (offset) return;
    const point = drawn(), drawnAxes = axes();
    if (point && drawnAxes.every(Boolean)) put(drawnAxes.map((axis, i) => axis.d2p(point[i])));
    else handle.hidden = true;
  };
  return { handle, place };
}
