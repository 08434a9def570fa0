// The lab in the browser: its own controls and layout, over graph.js. The kernel's half is view.py.

const SILENCE = 4000; // ms without a message while it plays until the kernel is asked, and again until that is taken for no answer
const SPEEDS = [1, 2, 5, 10, 20, 50, 100, 200, 500].map((v) => [String(v), String(v)]);

function createLab(context, store) {
  const parts = createParts(context, "lab");
  const { undo, get, follow, alert, reach, put, ask, field, button, checkbox, choice, typed, slider, row, sliders } = parts;
  const act = (action, value = null) => reach(() => context.model.send({ action, value }));
  const trait = (name) => ({
    get: () => get(name),
    set(value) {
      if (value === get(name)) return;
      preset.value = "";
      put(name, value);
    },
    follow: (update) => follow(name, update),
  });

  // A kernel that was killed says nothing: silence while the lab plays is asked about, and ends the claim that it plays.
  let heard = performance.now(), asked = 0, silent = false;
  const running = () => get("playing") && !silent;
  const quiet = (is) => {
    silent = is;
    alert.textContent = is ? alert.textContent || "The kernel does not answer. Unless another cell is running, run the cell of this lab again." : get("alert");
    showPlay();
    showStatus();
  };
  const hear = () => {
    [heard, asked] = [performance.now(), 0];
    if (silent) quiet(false);
  };
  const watch = setInterval(() => {
    const now = performance.now();
    if (!running() || now - heard < SILENCE) return;
    if (!asked) {
      asked = now;
      ask();
    } else if (now - asked > SILENCE) quiet(true);
  }, 1000);
  context.model.on("msg:custom", hear);
  undo.push(() => context.model.off("msg:custom", hear), () => clearInterval(watch));

  // controls
  const play = make("button", { type: "button", className: "samviz-play", onclick: () => {
    store.hold(running());
    act(running() ? "pause" : "play");
  } });
  const showPlay = () => {
    const icon = make("span", { ariaHidden: "true", textContent: running() ? "❚❚" : "▶" });
    play.replaceChildren(icon, running() ? " Pause" : " Play");
    store.hold(false);
  };
  follow("playing", showPlay);
  const preset = make("select", { onchange: () => act("preset", preset.value) },
    make("option", { value: "", textContent: "choose…", disabled: true, selected: true }),
    ...get("presets").map((name) => make("option", { value: name, textContent: name })));
  const text = make("input", { // holds the run, or another that is pasted
    type: "text", className: "samviz-typed", style: "flex: 1; width: auto; font-weight: 400", autocomplete: "off", spellcheck: false,
    onkeydown: ({ key }) => { if (key === "Enter" && text.value.trim()) act("load", text.value); },
  });
  const copied = make("span", { role: "status" });
  const sharing = field("this run as text; or paste another, then Enter", text, copied);
  Object.assign(sharing, { hidden: true, style: "flex: 1 1 100%", id: nextId() });
  const share = button("Share", () => {
    sharing.hidden = !sharing.hidden;
    share.setAttribute("aria-expanded", !sharing.hidden);
    if (!sharing.hidden) act("share");
  });
  share.setAttribute("aria-expanded", false);
  share.setAttribute("aria-controls", sharing.id);
  follow("shared", () => {
    [text.value, copied.textContent] = [get("shared"), ""];
    if (sharing.hidden || !text.value) return;
    text.focus();
    text.select();
    navigator.clipboard?.writeText(text.value).then(() => { copied.textContent = "copied"; }, () => {}); // not every page may
  });
  const n = get("samples");
  const limits = { low: 1, high: n, integer: true, show: (value) => (value === n ? `${value} (full)` : String(value)) };

  // words
  const status = make("p", { className: "samviz-status", ariaHidden: "true" });
  const spoken = make("p", { className: "samviz-spoken", role: "status" }); // the same soon after a start or a stop, else every 10 s
  let said = -Infinity, playing = null, speaking = 0;
  const say = () => { [said, speaking, spoken.textContent] = [performance.now(), 0, status.textContent]; };
  const showStatus = () => {
    status.textContent = silent ? "" : get("status");
    if (playing !== get("playing")) [playing, said] = [get("playing"), -Infinity];
    if (playing && (speaking || performance.now() - said < 1e4)) return;
    clearTimeout(speaking);
    speaking = setTimeout(say, PAUSE); // the kernel's words come after its `playing`
  };
  follow("status playing", showStatus);
  undo.push(() => clearTimeout(speaking));
  const bar = make("progress", { max: 1, id: nextId() });
  const doing = make("label", { htmlFor: bar.id });
  const progress = make("span", { className: "samviz-field samviz-progress" }, doing, bar);
  follow("progress progress_label", () => {
    progress.hidden = get("progress") < 0;
    bar.value = Math.max(0, get("progress"));
    doing.textContent = get("progress_label");
  });

  const stops = get("stops");
  context.el.append(make("div", { className: "samviz-card samviz-lab", role: "group", ariaLabel: "SAM lab" },
    row(play, button("Step", () => act("step")), button("Reset", () => act("reset")), field("preset", preset),
      make("div", { className: "samviz-words" }, progress, status, spoken)),
    sliders(slider(trait("rho"), "ρ radius", stops.rho, { low: 0, high: 100 }),
      slider(trait("lr"), "η learning rate", stops.lr, { low: 1e-9, high: 100 }),
      ...(n ? [slider(trait("batch_size"), "batch size", stops.batch_size, limits)] : [])),
    row(choice(trait("rule"), "rule", get("rules")), choice(trait("steps_per_frame"), "steps per frame", SPEEDS),
      field("seed", typed(trait("seed"), { low: 0, high: 2 ** 31 - 1, integer: true })),
      choice(trait("plane"), "plane", get("planes")), button("Re-centre", () => act("recenter")),
      checkbox(trait("compare"), "ghost of the last run"), share, sharing),
    alert, createGraph(store, parts, { words: status })));
  return () => undo.forEach((undone) => undone());
}

export default widget(createLab);
