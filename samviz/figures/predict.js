// What a learner expects, asked before the answer is shown: the question with its fields and handles, then the guess in the figure
// and a reply to it. Panels (panel.js) and the book (player.js) use it; the questions are declared in lab/predictions.py.

const SKIPPED = "skipped", GUESS_COLOUR = "#a8457f"; // PLUM of style.py
const HALO = Array(4).fill("0 0 3px white").join(); // behind the label
const short = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
const fraction = (value, { range, type } = {}) => // where a value is on an axis of a layout, from 0 to 1
  (range ? ((type === "log" ? Math.log10(value) : value) - range[0]) / (range[1] - range[0]) : 0.5);
const toward = ({ center, radius }, degrees) => center.map((c, i) => c + radius * Math[i ? "sin" : "cos"]((degrees * Math.PI) / 180));
const modulo = (value, period) => ((value % period) + period) % period;

// By kind of question, for a guess `at` (a list of numbers, or of one key): the fields' labels and the guess at first; the points with
// handles, and the guess after one is moved; the trace; the guess in words; and whether a reply is to this guess.
const QUESTIONS = {
  predictplace: {
    labels: () => ["horizontal", "vertical"],
    points: (spec, at) => [at],
    moved: (spec, at, i, point) => point,
    trace: (spec, [x, y]) => ({
      x: [x], y: [y], mode: "markers+text", marker: { symbol: "circle-x-open", size: 15, color: GUESS_COLOUR, line: { width: 2.5 } },
    }),
    words: (spec, at) => `(${at.map(short).join(", ")})`,
    fits: ([x, y, radius], at) => Math.hypot(at[0] - x, at[1] - y) <= radius,
  },
  predictdirection: {
    labels: () => ["angle in degrees"],
    points: (spec, [degrees]) => [toward(spec, degrees)],
    moved: ({ center, period }, at, i, [x, y]) => [Math.round(modulo((Math.atan2(y - center[1], x - center[0]) * 180) / Math.PI, period))],
    trace(spec, [degrees]) {
      const [tip, end] = [toward(spec, degrees), spec.period === 180 ? toward(spec, degrees + 180) : spec.center];
      const head = spec.period === 180 ? {} : { marker: { symbol: "arrow", angleref: "previous", size: [0, 16], opacity: 1, color: GUESS_COLOUR } };
      return {
        x: [end[0], tip[0]], y: [end[1], tip[1]], mode: `lines+text${head.marker ? "+markers" : ""}`, line: { width: 4, color: GUESS_COLOUR }, ...head,
      };
    },
    words: (spec, [degrees]) => `${short(degrees)}°`,
    fits: ([low, high], [degrees], { period }) => modulo(degrees - low, period) <= high - low,
  },
  predictcurve: {
    labels: ({ x }) => x.map((place) => `height at ${short(place)}`),
    points: ({ x }, at) => at.map((height, i) => [x[i], height]),
    moved: (spec, at, i, [, height]) => at.map((old, k) => (k === i ? height : old)),
    trace: ({ x }, at) => ({
      x: [...x], y: [...at], mode: "lines+markers+text", line: { shape: "spline", dash: "dot", width: 3, color: GUESS_COLOUR },
      marker: { size: 8, color: GUESS_COLOUR },
    }),
    words: (spec, at) => `a curve that ends at ${short(at.at(-1))}`,
    fits: ([low, high], at) => low <= at.at(-1) && at.at(-1) <= high,
  },
  predictnumber: {
    labels: ({ label }) => [label],
    words: (spec, [number]) => short(number),
    fits: ([low, high], [number]) => low <= number && number <= high,
  },
  predictchoice: { labels: () => [], words: ({ options }, [key]) => `“${options.find(([each]) => each === key)[1]}”` },
};

// ---------------------------------------------------------------- answers that survive a reload, in this browser only
const ANSWER = "samviz answer: ";
const recall = (key) => attempt(() => JSON.parse(localStorage.getItem(ANSWER + key)).guess);
const remember = (key, question, guess) => attempt(() => (guess === null ? localStorage.removeItem(ANSWER + key)
  : localStorage.setItem(ANSWER + key, JSON.stringify({ question, guess, time: new Date().toISOString() }))));
const allAnswers = () => attempt(() => Object.keys(localStorage).filter((key) => key.startsWith(ANSWER))
  .map((key) => JSON.parse(localStorage.getItem(key))).sort((a, b) => a.time.localeCompare(b.time))) ?? [];

// ---------------------------------------------------------------- one question
// `where` names the notebook or page. `guess` is { get, set }, whose value is null until it is answered. `controls` are disabled meanwhile,
// and `redraw` draws the figure with `traces` again.
function createPrediction(spec, where, { card, graph, controls, guess, redraw }) {
  const kind = QUESTIONS[spec.kind], chooses = spec.kind === "predictchoice", key = `${where} ${spec.question}`;
  const waiting = () => (guess.get() ?? null) === null;
  const isComplete = (at) => at.length === (kind.labels(spec).length || 1) && (chooses ? spec.options.some(([each]) => each === at[0])
    : at.every((value) => Number.isFinite(value) && !(value < spec.low || value > spec.high)));
  let draft = spec.start === undefined ? [NaN] : [].concat(spec.start); // what the fields and handles say
  const change = (next, source) => {
    draft = next;
    inputs.forEach((input, i) => { if (input !== source && !chooses) input.value = Number.isFinite(draft[i]) ? draft[i] : ""; });
    message.textContent = "";
    redraw();
    place();
  };
  const answer = (value) => {
    const hadFocus = card.contains(document.activeElement);
    remember(key, spec.question, value);
    guess.set(value);
    message.textContent = "";
    show();
    if (hadFocus) (value === null ? inputs[0] : again).focus({ preventScroll: true });
  };
  const submit = () => {
    if (isComplete(draft)) return answer(draft.length === 1 ? draft[0] : draft);
    const range = spec.kind === "predictnumber" ? ` from ${spec.low} to ${spec.high}` : "";
    message.textContent = chooses ? "Choose one of the answers first, or skip the question." : `Enter a number${range} first, or skip the question.`;
    (inputs.find((input) => !Number.isFinite(input.valueAsNumber)) ?? inputs[0]).focus();
  };

  const name = nextId(); // of the radio buttons
  const inputs = chooses ? spec.options.map(([value]) => make("input", { type: "radio", name, value, onchange: () => change([value]) }))
    : kind.labels(spec).map((label, i) => make("input", {
      type: "number", step: "any", className: "samviz-typed",
      oninput({ target }) { change(draft.map((old, k) => (k === i ? target.valueAsNumber : old)), target); },
      onkeydown(event) { if (event.key === "Enter") { event.preventDefault(); submit(); } },
    }));
  const texts = chooses ? spec.options.map(([, text]) => text) : kind.labels(spec);
  const fields = inputs.map((input, i) => make("label", {}, ...(chooses ? [input, texts[i]] : [texts[i], input])));
  const message = make("p", { className: "samviz-message", role: "alert" });
  const button = (textContent, onclick, className = "") => make("button", { type: "button", textContent, onclick, className });
  const box = make("fieldset", { className: "samviz-predict" }, make("legend", { textContent: spec.question }),
    make("div", { className: chooses ? "samviz-options" : "samviz-numbers" }, ...fields), message,
    make("div", { className: "samviz-numbers" }, button("Show the answer", submit, "samviz-play"), button("Skip (Esc)", () => answer(SKIPPED))));
  const again = button("Predict again", () => answer(null));
  const save = make("a", { href: "#", download: "samviz_answers.json", textContent: "Export my answers", title: "A file with all answers of this browser; nothing is sent.", onclick() {
    save.href = URL.createObjectURL(new Blob([JSON.stringify(allAnswers(), null, 1)], { type: "application/json" }));
  } });
  const after = make("div", { className: "samviz-predict samviz-numbers" }, again, save);

  const hint = createHint();
  const move = (i, point) => change(kind.moved(spec, draft, i, point));
  const handles = (kind.points?.(spec, draft) ?? []).map((_, i, points) => createHandle(graph, hint, {
    label: points.length > 1 ? `your guess, ${texts[i]}` : "your guess",
    get: () => kind.points(spec, draft)[i], set: (point) => move(i, point), drawn: () => (waiting() ? kind.points(spec, draft)[i] : null),
    turn: spec.kind === "predictdirection" && ((degrees) => change([modulo(draft[0] + degrees, spec.period)])),
  }));
  const place = () => handles.forEach((each) => each.place());
  let pressed = { clientX: 0, clientY: 0 };
  graph.addEventListener("pointerdown", (event) => { pressed = event; }, { capture: true });
  graph.addEventListener("click", (event) => { // a click moves the nearest point there, but the end of a drag does not
    const axes = firstAxes(graph);
    if (!waiting() || !handles.length || !axes.every(Boolean)) return;
    if (Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) > 6) return;
    const box = graph.getBoundingClientRect();
    const pixels = [event.clientX - box.x, event.clientY - box.y].map((pixel, i) => pixel - axes[i]._offset);
    if (pixels.some((pixel, i) => !(pixel >= 0 && pixel <= axes[i]._length))) return;
    const distances = kind.points(spec, draft).map((point) => Math.hypot(...axes.map((axis, i) => axis.d2p(point[i]) - pixels[i])));
    move(distances.indexOf(Math.min(...distances)), axes.map((axis, i) => valueAt(axis, pixels[i])));
  });
  card.addEventListener("click", () => { // JupyterLab moves the focus to the cell
    if (waiting() && !card.contains(document.activeElement)) card.focus({ preventScroll: true });
  });
  card.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !waiting() || inputs[0].disabled) return;
    event.preventDefault();
    event.stopPropagation();
    answer(SKIPPED);
  });

  const show = () => {
    box.hidden = !waiting();
    after.hidden = waiting();
    controls.forEach((control) => { control.disabled = waiting(); });
    card.toggleAttribute("data-lm-suppress-shortcuts", waiting()); // so that Escape arrives here
    if (waiting()) card.tabIndex = -1; // also after a click on the graph
    else card.removeAttribute("tabindex");
    place();
  };
  const traces = (layout) => { // on the first axes
    const at = waiting() ? draft : guess.get() === SKIPPED ? null : [].concat(guess.get());
    const trace = at && kind.trace?.(spec, at);
    if (!trace || !at.every(Number.isFinite)) return [];
    const right = fraction(trace.x.at(-1), layout.xaxis) > 0.6, top = fraction(trace.y.at(-1), layout.yaxis) > 0.85;
    const [text, textposition] = [right ? "your guess  " : "  your guess", `${top ? "bottom" : "top"} ${right ? "left" : "right"}`];
    return [{ type: "scatter", name: "your guess", showlegend: false, hoverinfo: "name", cliponaxis: false, ...trace,
      text: trace.x.map((_, i) => (i === trace.x.length - 1 ? text : "")), textposition, textfont: { color: GUESS_COLOUR, size: 13, shadow: HALO } }];
  };
  const sentence = (text) => { // with the reply before it
    if (waiting() || guess.get() === SKIPPED) return text;
    const at = [].concat(guess.get());
    const reply = chooses ? spec.replies[at[0]] : (spec.replies.find((each) => kind.fits(each, at, spec))?.at(-1) ?? spec.otherwise);
    return [`You expected ${kind.words(spec, at)}.`, reply, text].filter(Boolean).join(" ");
  };
  if (spec.start !== undefined) inputs.forEach((input, i) => { input.value = draft[i]; });
  const kept = recall(key);
  if (waiting() && kept !== null && (kept === SKIPPED || isComplete([].concat(kept)))) guess.set(kept);
  show();
  const state = () => JSON.stringify([guess.get(), draft]); // of all that `traces` depends on
  return { box, after, show, state, place, waiting, traces, sentence, overlay: handles.length ? [...handles.map(({ handle }) => handle), hint] : [] };
}
