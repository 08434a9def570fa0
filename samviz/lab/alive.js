// Whether the kernel answers. From a displayed widget it sends a sign of life every 0.7 s, also while it runs a cell, until
// nobody has used the widget for ten minutes. The kernel's half is display.py.

const TICK_MS = 500, SILENT_TICKS = 5; // ticks are counted instead of time, because a page may have been suspended
const WATCH_MS = 30_000; // between two messages that somebody uses the widget
const LATE_SIGNS = 8; // after a cell has begun, a slow page may still handle so many signs that say that the kernel is free
const REPORTS = {
  silent: "The kernel does not answer: it has stopped or restarted, or the connection to it is broken. If the controls do not come back, run this cell again; in an app, reload the page.",
  busy: "The kernel is busy, for instance with another cell. It will respond here when that is done.",
};

function watchKernel({ model }, { undo, get, follow, send, sendValues }, card) {
  let ticks = -Infinity, beats = 0, used = 0, usedAt = performance.now(), disabled = []; // no sign is expected before the first
  const note = card.insertBefore(make("p", { className: "samviz-kernel" }), card.firstChild);
  const put = (state) => model.set("kernel_state", state); // which only the views of this page share
  const hear = ({ beat }) => { // or a message of another kind, which is a sign of life, but may come from a busy kernel
    ticks = beat === "idle" ? -Infinity : beat ? 0 : Math.min(ticks, 0); // without beats, a picture promises no other message
    if (beat) beats = beat === "busy" ? beats + 1 : 0;
    if (beat && !beats && used) used -= 1;
    const returns = get("kernel_state") === "silent";
    put(used && beats > 1 ? "busy" : "");
    if (!returns) return;
    sendValues();
    send({ hello: "again" });
  };
  const use = ({ type }) => {
    if (type !== "pointerover") used = LATE_SIGNS;
    if (performance.now() - usedAt < WATCH_MS) return;
    usedAt = performance.now();
    ticks = Math.max(ticks, 0);
    send({ watched: true });
  };
  const timer = setInterval(() => { if ((ticks += 1) >= SILENT_TICKS) put("silent"); }, TICK_MS);
  for (const event of ["pointerover", "input", "click", "keydown"]) card.addEventListener(event, use);
  model.on("msg:custom", hear);
  undo.push(() => model.off("msg:custom", hear), () => clearInterval(timer));
  follow("kernel_state", () => {
    const state = get("kernel_state"), silent = state === "silent";
    note.role = silent ? "alert" : "status";
    note.textContent = REPORTS[state] ?? "";
    if (silent === Boolean(disabled.length)) return;
    const controls = () => [...card.querySelectorAll(":is(button, input, select, textarea):not(.samviz-graph *, .samviz-tour *, [data-local], [data-local] *, :disabled)")];
    disabled = silent ? controls() : disabled.filter((control) => { control.disabled = false; });
    disabled.forEach((control) => { control.disabled = true; });
  });
}
