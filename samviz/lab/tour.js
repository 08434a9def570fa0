// The tour of the lab: one sentence after another over the graph, while what it is about has a frame. It opens by itself until it was seen once.

const TOUR = "samviz tour"; // under which the browser remembers that it was seen

// Return functions that open and close the tour. A step is [place, event, sentence]; the event at the place leads to the next step.
function createTour(stage, steps) {
  let at = 0, before = null;
  const holds = () => box.contains(document.activeElement);
  const go = (number) => {
    if (number === steps.length) { end(); return; }
    const [place, , sentence] = steps[(at = number)];
    frame(place);
    box.style.left = `${place.getBoundingClientRect().left - stage.getBoundingClientRect().left}px`;
    text.textContent = `${at + 1} of ${steps.length}: ${sentence}`;
    skip.hidden = at + 1 === steps.length;
    next.textContent = skip.hidden ? "Done" : "Next";
    fit(box);
  };
  const frame = (shown) => steps.forEach(([place]) => place.classList.toggle("samviz-toured", place === shown));
  const end = () => {
    attempt(() => localStorage.setItem(TOUR, "seen"));
    if (holds()) (before?.isConnected && before !== document.body ? before : steps[0][0].querySelector("button")).focus();
    close();
  };
  const close = () => {
    visible.disconnect();
    box.remove();
    frame();
    document.removeEventListener("keydown", escape);
  };
  const escape = ({ key }) => { if (key === "Escape") end(); };
  const next = make("button", { type: "button", className: "samviz-play", onclick: () => go(at + 1) });
  const skip = make("button", { type: "button", textContent: "Skip", onclick: end });
  const text = make("p", { id: nextId(), role: "status" });
  const box = make("div", { className: "samviz-tour", role: "dialog", ariaLabel: "tour of the lab" }, text, next, skip);
  box.setAttribute("aria-describedby", text.id);
  steps.forEach(([place, event], number) => place.addEventListener(event, () => { if (box.isConnected && number === at) go(number + 1); }));
  const open = (takeFocus = true) => {
    before = document.activeElement;
    stage.append(box);
    go(0);
    document.addEventListener("keydown", escape);
    if (takeFocus) next.focus();
  };
  const visible = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting || document.querySelector(".samviz-tour")) return; // one at a time
    visible.disconnect();
    open(document.activeElement === document.body); // or it would take the focus from a cell that is being edited
  }, { threshold: 1, rootMargin: "0px 0px -300px" }); // with the box below
  if (!attempt(() => localStorage.getItem(TOUR))) visible.observe(steps[0][0]);
  return { open, close };
}
