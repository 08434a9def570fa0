// Figures whose pictures were made beforehand (frames.py): controls choose one, plotly.js draws it. Pictures change only
// when a control does, and at once, so prefers-reduced-motion has nothing to stop. `recolour` comes from dark.py.
const HERE = document.currentScript.src;
const CONFIG = { displayModeBar: false, displaylogo: false, showSendToCloud: false, responsive: true, doubleClick: "reset" };
const NEAR = "600px"; // from the window's edge, where loading begins
const PAUSE = 800; // ms that the sentence must stand still before it is spoken

const scripts = new Map(); // tags rather than fetch, which a page from the disk may not use
const load = (path) => scripts.get(path) ?? scripts.set(path, new Promise((resolve, reject) => {
  const script = Object.assign(document.createElement("script"), { src: new URL(path, HERE), onload: resolve });
  script.onerror = () => reject(new Error(`${path} did not load`));
  document.head.append(script);
})).get(path);

const system = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (document.body.dataset.theme === "dark" || (document.body.dataset.theme !== "light" && system.matches));

function expand(node, parts) { // a copy of its own, since plotly.js writes into what it is given
  if (Array.isArray(node)) return node.map((child) => expand(child, parts));
  if (!node || typeof node !== "object") return node;
  if ("$" in node) return expand(parts[node.$], parts);
  return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, expand(child, parts)]));
}

async function enliven(figure) {
  const [dials, sentence, spoken, graph] = ["dials", "sentence", "spoken", "graph"].map((part) => figure.querySelector(`.samviz-${part}`));
  const inputs = [...dials.querySelectorAll("[data-stops]")], stops = inputs.map((input) => JSON.parse(input.dataset.stops));
  const name = figure.dataset.frames;
  await Promise.all([load("plotly.min.js"), load(`frames/${name}.js`)]);
  const { parts, pictures, sentences } = globalThis.samvizFrames[name];
  let busy = false, drawn = "", speaking = 0;

  function chosen() {
    inputs.forEach((input, i) => {
      if (input.type !== "range") return;
      input.nextElementSibling.value = stops[i][input.value];
      input.setAttribute("aria-valuetext", stops[i][input.value]);
    });
    return inputs.reduce((index, input, i) => index * stops[i].length + Number(input.value), 0);
  }

  async function draw() {
    sentence.textContent = sentences[chosen()];
    if (busy) return; // one picture at a time, and after it the latest that is wanted
    busy = true;
    try {
      for (let wanted; (wanted = `${chosen()} ${dark()}`) !== drawn; drawn = wanted) {
        const { data, layout } = expand(pictures[chosen()], parts);
        if (!drawn) graph.replaceChildren(); // the still
        await Plotly.react(graph, dark() ? recolour(data) : data, { dragmode: false, ...(dark() ? recolour(layout) : layout) }, CONFIG);
      }
    } finally { busy = false; }
  }

  dials.oninput = () => {
    draw();
    clearTimeout(speaking);
    speaking = setTimeout(() => { spoken.textContent = sentence.textContent; }, PAUSE);
  };
  new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-theme"] });
  system.addEventListener("change", draw);
  await draw();
  dials.hidden = false;
  figure.dataset.drawn = "";
}

const watch = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
  watch.unobserve(target);
  enliven(target).catch(console.error); // the still is there
}), { rootMargin: NEAR });
document.querySelectorAll(".samviz-frames").forEach((figure) => watch.observe(figure));
