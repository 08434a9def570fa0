// The lab in the browser: a panel's controls, and what plays, pauses and shares its run. The kernel's half is lab.py.

const MORE = "samviz more"; // under which the browser remembers whether the controls behind More are shown

function createLab(context, store) {
  const parts = createParts(context, () => { preset.value = ""; });
  const { undo, get, follow, alert, tell, send, field, button, row, sliders, others, caption } = parts;
  const act = (action, value = null) => send({ action, value });
  const silent = () => get("kernel_state") === "silent";
  const running = () => get("playing") && !silent();

  // buttons
  const toggle = (button, part, shown = part.hidden) => { // show or hide a part of the card
    part.hidden = !shown;
    button.setAttribute("aria-expanded", shown);
    button.setAttribute("aria-controls", (part.id ||= nextId()));
    return shown;
  };
  const play = make("button", { type: "button", className: "samviz-play", onclick: () => {
    store.hold(running());
    act(running() ? "pause" : "play");
  } });
  const showPlay = () => {
    const icon = make("span", { ariaHidden: "true", textContent: running() ? "❚❚" : "▶" });
    play.replaceChildren(icon, running() ? " Pause" : " Play");
    store.hold(false);
  };
  follow("playing kernel_state", showPlay);
  const preset = make("select", { ariaLabel: "preset", onchange: () => act("preset", preset.value) },
    make("option", { value: "", textContent: "choose a preset…", disabled: true, selected: true }),
    ...get("presets").map((name) => make("option", { value: name, textContent: name })));
  const text = make("input", { // holds the run, or another that is pasted
    type: "text", className: "samviz-typed", style: "flex: 1; width: auto; font-weight: 400", autocomplete: "off", spellcheck: false,
    onkeydown({ key }) {
      if (key !== "Enter" || !text.value.trim()) return;
      preset.value = "";
      act("load", text.value);
    },
  });
  const copied = make("span", { role: "status" });
  const sharing = field("this run as text; or paste another, then Enter", text, copied);
  sharing.style = "flex: 1 1 100%";
  const share = button("Share", () => {
    if (toggle(share, sharing)) act("share");
  });
  toggle(share, sharing, false);
  follow("shared", () => {
    [text.value, copied.textContent] = [get("shared"), ""];
    if (sharing.hidden || !text.value) return;
    text.focus();
    text.select();
    navigator.clipboard?.writeText(text.value).then(() => { copied.textContent = "copied"; }, () => {}); // some pages may not
  });

  // status and progress
  const describe = () => { // the phase, what to watch, and the facts of the run (status.py)
    const [phase, watch = "", facts = ""] = get("sentence").split("\n");
    return silent() ? [] : [make("b", { textContent: phase }), ` ${watch} `, make("small", { textContent: facts })];
  };
  const status = caption("samviz-status", describe, "sentence playing kernel_state");
  const bar = make("progress", { max: 1, id: nextId() });
  const doing = make("label", { htmlFor: bar.id });
  const progress = make("span", { className: "samviz-field samviz-progress" }, doing, bar);
  follow("progress progress_label", () => {
    progress.hidden = get("progress") < 0;
    bar.value = Math.max(0, get("progress"));
    doing.textContent = get("progress_label");
  });

  const again = button("Re-centre", () => act("recenter"));
  others.splice(-1, 0, explain(again, "Slice the landscape around the present iterate.")); // before the ghost
  others.find(({ dataset }) => dataset.control === "surface")?.addEventListener("click", (event) => {
    if (get("values").surface || webgl()) return;
    event.preventDefault();
    tell("This browser offers no WebGL, so the landscape stays flat.");
  });
  const card = make("div", { className: "samviz-card samviz-lab", role: "group", ariaLabel: "SAM lab" });
  const playing = explain(play, "Let the run continue, or stop it. The sliders act while it continues.");
  const state = make("div", { className: "samviz-state" }, progress, status.shown, status.spoken);
  const screen = createScreen(card, parts, store.redraw);
  const stage = createGraph(store, parts, { caption: status.shown, placed: () => saving.frame(), arrange: screen.arrange });
  const tour = createTour(stage, [
    [playing, "click", "Press Play. The run takes steps, and every plot follows it."],
    [sliders[0].firstChild, "change", "Raise ρ and watch the alignment of ∇L with v₁, while the run continues."],
    [state, "", "Read here what the run does at present, and what to watch."],
  ]);
  undo.push(tour.close);
  const hold = ({ target, type }) => store.hold(type === "pointerdown" && target.matches("canvas")); // while a surface is turned
  stage.addEventListener("pointerdown", hold);
  for (const end of ["pointerup", "pointercancel"]) { // the second when a touch becomes a scroll
    addEventListener(end, hold);
    undo.push(() => removeEventListener(end, hold));
  }
  const saving = createSaving(context, parts, stage.firstChild);
  const help = explain(make("button", { type: "button", textContent: "?", ariaLabel: "tour", onclick: () => tour.open() }), "Show the tour again.");
  const extras = row( // behind "More": what a learner seldom needs
    ...others, saving.buttons,
    explain(share, "Write the run as one line of text, which repeats it."), explain(screen.toggle, "Show the most important plots in large type (f)."), help, sharing);
  const more = button("More", () => {
    const shown = toggle(more, extras); // also where storage is refused
    attempt(() => localStorage.setItem(MORE, shown));
  });
  toggle(more, extras, attempt(() => localStorage.getItem(MORE)) === "true");
  [more, help, screen.toggle, ...saving.local].forEach((each) => { each.dataset.local = ""; }); // they need no kernel (alive.js)
  card.append(
    row(
      playing,
      explain(button("Step", () => act("step")), "Take one step and measure."),
      explain(button("Reset", () => act("reset")), "Start again. The present run becomes the ghost."),
      explain(preset, "Set the sliders to values that show one effect."),
      explain(more, "Show or hide the other controls."),
      state),
    ...sliders, extras, alert, stage, createTimeline(parts));
  context.el.append(card);
  watchKernel(context, parts, card);
  return () => undo.forEach((undone) => undone());
}

export default widget(createLab);
