// The timeline of a lab: a slider over the steps of its run, with which the learner looks back. Its value is null at the end.

function createTimeline({ get, follow, cell, row, button }) {
  const { get: value, set, follow: each } = cell("look_back");
  const last = () => get("last_step");
  const range = make("input", { type: "range", min: 0, ariaLabel: "timeline", oninput() { set(range.valueAsNumber < last() ? range.valueAsNumber : null); } });
  const text = make("span", { ariaHidden: "true" });
  const show = () => {
    const step = value() ?? last();
    const place = `step ${step.toLocaleString("en")} of ${last().toLocaleString("en")}`;
    Object.assign(range, { max: last(), disabled: !last(), value: step });
    range.setAttribute("aria-valuetext", place);
    text.textContent = value() === null ? "now · drag to look back" : `${place} · ▶ plays on from there`;
  };
  each(show);
  follow("last_step", show);
  const slow = cell("slow_motion");
  const toggle = button("slow motion", () => slow.set(!slow.get()));
  slow.follow(() => toggle.setAttribute("aria-pressed", slow.get()));
  const field = explain(make("span", { className: "samviz-field" }, range), "Drag to look back; Play and Step continue from there.");
  const line = row(make("span", { ariaHidden: "true", textContent: "start" }), field, text, explain(toggle, "Show what each step computes, part by part."));
  line.classList.add("samviz-timeline");
  return line;
}
