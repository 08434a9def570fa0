// The panel in the browser: its controls, sentence, graph, points to drag, and prediction. The kernel's half is panel.py.

function createPanel(context, store) {
  const parts = createParts(context);
  const { undo, get, alert, cell, row, sliders, others, caption } = parts;
  let prediction;
  const spec = get("controls").find(({ kind }) => kind.startsWith("predict"));
  const { shown, spoken, show } = caption("samviz-sentence", () => prediction?.sentence(get("sentence")) ?? get("sentence"));
  const placed = () => { handles.forEach(({ place }) => place()); prediction?.place(); };
  const stage = createGraph(store, parts, { caption: shown, placed, extra: (layout) => prediction?.traces(layout) ?? [] });
  const graph = stage.firstChild, hint = createHint();
  const handles = get("controls").filter(({ kind }) => kind === "point").map(({ name }) => {
    const marker = () => graph.data?.find((drawn) => drawn.name === name); // which `draw` may have moved
    const drawn = () => (prediction?.waiting() || !marker()?.x?.length ? null : [marker().x[0], marker().y[0]]);
    return createHandle(graph, hint, { ...cell(name), label: `point ${name}`, drawn });
  });
  stage.append(...handles.map(({ handle }) => handle), ...(handles.length ? [hint] : []));
  const rows = [...sliders, ...(others.length ? [row(...others)] : [])];
  const card = make("div", { className: "samviz-card samviz-panel", role: "group", ariaLabel: get("description") }, ...rows, shown, spoken, alert, stage);
  const controls = rows.flatMap((each) => [...each.querySelectorAll("input, select, button")]);
  if (spec) {
    prediction = createPrediction(spec, get("notebook") || location.pathname, { card, graph, controls, guess: cell("guess"), redraw: store.redraw });
    card.prepend(prediction.box);
    card.append(prediction.after);
    stage.append(...prediction.overlay);
    cell("guess").follow(() => { prediction.show(); show(); store.redraw(); });
  }
  context.el.append(card);
  watchKernel(context, parts, card);
  return () => undo.forEach((undone) => undone());
}

export default widget(createPanel);
