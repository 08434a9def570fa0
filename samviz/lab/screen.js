// Full screen for lecture halls: the axes that the figure calls large (figures/lab.py), which widget.css enlarges.

// Return the button, and a function that leaves only these axes in a figure while the lab fills the screen.
function createScreen(card, { undo, tell, button }, redraw) {
  const isFull = () => document.fullscreenElement === card;
  const arrange = (figure) => {
    const large = isFull() && figure.layout.meta?.large;
    if (!large) return figure;
    const name = (axis) => axis.replace(/^[xy]/, "$&axis").replace(" domain", "");
    const layout = Object.entries(figure.layout).filter(([key]) => !/^[xy]axis/.test(key) || large[key])
      .map(([key, value]) => [key, large[key] ? { ...value, ...large[key] } : value]);
    return {
      data: figure.data.filter(({ xaxis = "x", scene }) => scene || large[name(xaxis)]),
      layout: { ...Object.fromEntries(layout), annotations: figure.layout.annotations.filter(({ xref }) => large[name(xref)]) },
    };
  };
  const toggle = button("Full screen", async () => {
    try {
      await (isFull() ? document.exitFullscreen() : card.requestFullscreen());
    } catch {
      tell("This page does not allow full screen.");
    }
  });
  card.addEventListener("fullscreenchange", redraw);
  card.addEventListener("keydown", ({ key, target, altKey, ctrlKey, metaKey }) => {
    if (key === "f" && !altKey && !ctrlKey && !metaKey && !target.matches("select, .samviz-typed")) toggle.click();
  });
  undo.push(() => { if (isFull()) document.exitFullscreen(); });
  return { toggle, arrange };
}
