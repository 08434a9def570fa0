// The animation: gradient descent, then SAM, through the iterates that samviz has computed. Without motion it shows the end.
(() => {
  const root = document.currentScript.closest(".secret"), runs = RUNS, SUB = PARTS;
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const [button, captions] = [root.querySelector("button"), root.querySelectorAll("li")];
  // the run, its first and last step, seconds of motion, seconds of rest; in the order of the captions
  const PHASES = [["gd", 0, 24, 5, 1.5], ["sam", 0, 22, 8, 0.5], ["sam", 22, runs.sam.sharpness.length - 1, 9, 5]];
  const LENGTH = PHASES.reduce((sum, phase) => sum + phase[3] + phase[4], 0);
  let at = LENGTH, playing = false, last = 0;

  const mix = (list, step) => {
    const i = Math.min(Math.floor(step), list.length - 1), next = list[Math.min(i + 1, list.length - 1)];
    return list[i] + (step - i) * (next - list[i]);
  };

  function place(name, step) {
    const { x, y, sharpness, angle } = runs[name];
    const [a, b] = [mix(x, step * SUB), mix(y, step * SUB)];
    const count = Math.floor(step * SUB) + 1;
    const points = (xs, ys, n) => xs.slice(0, n).map((v, i) => `${v},${ys[i]}`).join(" ");
    find(`${name} ball`).setAttribute("transform", `translate(${a} ${b})`);
    find(`${name} trail`).setAttribute("points", `${points(x, y, count)} ${a},${b}`);
    const { left, bottom, across, up } = PLOT;
    const on = (t) => `${left + t * across},${bottom - mix(sharpness, t) * up}`;
    const line = Array.from({ length: Math.floor(step) + 1 }, (_, t) => on(t));
    find(`${name} line`).setAttribute("points", `${line.join(" ")} ${on(step)}`);
    const needle = find("needle"), turn = mix(angle, step);
    needle.setAttribute("transform", `rotate(${-turn})`);
    needle.setAttribute("class", `needle ${name}-line`);
    find("cosine").textContent = Math.cos(mix(angle.map(Math.abs), step) * Math.PI / 180).toFixed(2);
    find("sharpness").textContent = Math.round(mix(sharpness, step));
    for (const part of ["cosine", "sharpness"]) find(part).setAttribute("class", `number ${name}`);
    find("who").textContent = name === "sam" ? "SAM" : "gradient descent";
    find("who").setAttribute("class", `name ${name}`);
  }

  function show() {
    let phase = 0, elapsed = at;
    while (phase < 2 && elapsed > PHASES[phase][3] + PHASES[phase][4]) elapsed -= PHASES[phase][3] + PHASES[phase++][4];
    const [name, from, to, seconds] = PHASES[phase];
    if (name === "sam") place("gd", runs.gd.sharpness.length - 1);
    place(name, from + (to - from) * Math.min(1, elapsed / seconds));
    for (const part of ["trail", "ball", "line"]) find(`sam ${part}`).style.display = name === "sam" ? "" : "none";
    root.dataset.phase = phase;
    captions.forEach((caption, i) => (i === phase ? caption.setAttribute("aria-current", "step") : caption.removeAttribute("aria-current")));
  }

  function tick(now) {
    if (!playing) return;
    at += Math.min(0.1, (now - last) / 1000); // after the page was hidden, continue where it stopped
    last = now;
    if (at > LENGTH) at = 0;
    show();
    requestAnimationFrame(tick);
  }

  function play(on) {
    if (on && at >= LENGTH) at = 0;
    [playing, last] = [on, performance.now()];
    button.textContent = on ? "❚❚ Pause" : "▶ Play";
    if (on) requestAnimationFrame(tick);
  }

  button.onclick = () => play(!playing);
  button.hidden = false;
  root.seek = (seconds) => { play(false); at = seconds; show(); };
  root.seconds = LENGTH;
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
})();
