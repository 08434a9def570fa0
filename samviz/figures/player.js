// Draws figures that were computed beforehand (player.py): controls choose one of them. `recolour` comes from dark.py.
// Nothing moves before the button or a control is used, so prefers-reduced-motion needs no special case.
const HERE = document.currentScript.src, LOAD_MARGIN = "600px", STACKED_BELOW = 760; // distance from the window's edge at which loading begins; pixels
const PLAY_MS = 120, SPEAK_MS = 800; // between figures while playing; from the last change to the spoken sentence
const scripts = new Map(); // script elements instead of fetch, which a page from the disk may not use
const load = (path) => scripts.get(path) ?? scripts.set(path, new Promise((resolve, reject) => {
  const script = Object.assign(document.createElement("script"), { src: new URL(path, HERE), onload: resolve });
  script.onerror = () => reject(new Error(`${path} did not load`));
  document.head.append(script);
})).get(path);

const system = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (document.body.dataset.theme === "dark" || (document.body.dataset.theme !== "light" && system.matches));

function expand(node, parts) { // a new copy for each drawing, because plotly.js writes into its input
  if (Array.isArray(node)) return node.map((child) => expand(child, parts));
  if (!node || typeof node !== "object") return node;
  if ("$" in node) return expand(parts[node.$], parts);
  return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, expand(child, parts)]));
}

async function start(player) {
  const [controls, sentence, spoken, scroll, graph] = ["controls", "sentence", "spoken", "scroll", "graph"]
    .map((part) => player.querySelector(`.samviz-${part}`));
  const inputs = [...controls.querySelectorAll("[data-stops]")], stops = inputs.map((input) => JSON.parse(input.dataset.stops));
  inputs.forEach((input) => explain(input.parentElement, input.dataset.help));
  const [range] = inputs, button = controls.querySelector("button"), name = player.dataset.player, zoom = "zoom" in player.dataset;
  const config = { displayModeBar: zoom && "hover", displaylogo: false, showSendToCloud: false, responsive: true, doubleClick: "reset" };
  if (!globalThis.samvizFigures?.[name]) await Promise.all([load("plotly.min.js"), load(`figures/${name}.js`)]);
  const { parts, figures, sentences, predict } = globalThis.samvizFigures[name];
  let prediction, busy = false, drawn = "", speaking = 0, timer = 0, guess = null;
  function chosen() { // the number of the figure; the last one is the initial state, before a prediction
    inputs.forEach((input, i) => {
      if (input.type === "range") input.ariaValueText = input.nextElementSibling.value = stops[i][input.value];
    });
    return prediction?.waiting() ? figures.length - 1 : inputs.reduce((index, input, i) => index * stops[i].length + Number(input.value), 0);
  }

  async function draw() {
    sentence.textContent = prediction?.sentence(sentences[chosen()]) ?? sentences[chosen()];
    if (busy) return; // draw one figure at a time, then the latest one that was chosen
    busy = true;
    try {
      for (let wanted, narrow; (wanted = `${chosen()} ${dark()} ${(narrow = scroll.clientWidth < STACKED_BELOW && scroll.clientWidth)} ${prediction?.state()}`) !== drawn; drawn = wanted) {
        const figure = expand(figures[chosen()], parts), stacks = narrow && figure.layout.meta?.stacked;
        if (stacks) figure.layout = stackAxes(figure.layout, narrow);
        Object.assign(graph.style, { minWidth: stacks ? 0 : "", minHeight: `${figure.layout.height ?? 450}px` }); // plotly's default height
        figure.data.push(...(prediction?.traces(figure.layout) ?? []));
        const { data, layout, frames } = dark() ? recolour(figure) : figure;
        if (!drawn) graph.replaceChildren(); // remove the still
        await Plotly.react(graph, { data, layout: zoom ? layout : { dragmode: false, ...layout }, frames, config });
        prediction?.place();
      }
    } finally { busy = false; }
  }

  function changed() {
    draw();
    clearTimeout(speaking);
    speaking = setTimeout(() => { spoken.textContent = sentence.textContent; }, SPEAK_MS);
  }

  function play(on) {
    clearInterval(timer);
    timer = on && setInterval(() => (range.value === range.max ? play(false) : busy || (range.value++, changed())), PLAY_MS);
    button.textContent = on ? "❚❚ Pause" : "▶ Play";
  }

  controls.oninput = () => { if (button) play(false); changed(); };
  if (button) {
    button.onclick = () => { if (!timer && range.value === range.max) { range.value = 0; changed(); } play(!timer); };
    range.onkeydown = (event) => { if (event.key === " ") { event.preventDefault(); button.click(); } };
  }
  new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-theme"] });
  new ResizeObserver(draw).observe(scroll);
  system.addEventListener("change", draw);
  if (predict) {
    const set = (value) => { guess = value; prediction?.show(); changed(); };
    prediction = createPrediction(predict, location.pathname, { card: player, graph, controls: inputs, guess: { get: () => guess, set }, redraw: draw });
    player.prepend(prediction.box);
    player.append(prediction.after);
    scroll.append(...prediction.overlay);
  }
  await draw();
  if (prediction) graph.on("plotly_afterplot", prediction.place);
  controls.hidden = !inputs.length;
  player.dataset.drawn = "";
}

const observer = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
  observer.unobserve(target);
  start(target).catch(console.error); // the still remains
}), { rootMargin: LOAD_MARGIN });
document.querySelectorAll(".samviz-player").forEach((player) => observer.observe(player));
