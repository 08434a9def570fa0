// What moves a figure with plotly frames: one button, and a slider that the keyboard and a screen reader know.
// Nothing moves before the button is pressed, so prefers-reduced-motion has nothing to stop.
// `graph`, `dark` and `painting` are page.py's. The words beside the slider are spoken when playing ends, not all the while.
const names = {names};
const [button, range, output] = graph.closest("figure").querySelectorAll("button, input, output");
const PAUSE = 120; // ms from picture to picture, if the browser draws that fast
// 1 ms each: at 0 plotly now and then divides by it. Contours move only where all is redrawn.
const AT_ONCE = { mode: "immediate", frame: { duration: 1, redraw: true }, transition: { duration: 1 } };
let shown = -1, busy = false, timer = 0;

async function show() {
  output.value = names[range.value];
  range.setAttribute("aria-valuetext", output.value);
  if (busy) return; // one picture at a time, and after it the latest that is wanted
  busy = true;
  while (shown !== +range.value) {
    await painting;
    shown = +range.value;
    await Plotly.animate(graph, [names[shown]], AT_ONCE);
  }
  busy = false;
}

function play(on) {
  clearInterval(timer);
  timer = on && setInterval(() => (range.value === range.max ? play(false) : busy || (range.value++, show())), PAUSE);
  button.textContent = on ? "❚❚ Pause" : "▶ Play";
  output.setAttribute("aria-live", on ? "off" : "polite");
}

button.onclick = () => {
  if (!timer && range.value === range.max) { range.value = 0; show(); }
  play(!timer);
};
range.oninput = () => {
  play(false);
  output.setAttribute("aria-live", "off"); // the slider says it itself
  show();
};
range.onkeydown = (event) => { if (event.key === " ") { event.preventDefault(); button.click(); } };
dark.addEventListener("change", () => { shown = -1; show(); });
show();
