// What the lab shows, as files: the history as CSV, the picture as PNG, and a film of the pictures that are drawn.

const download = (blob, name) => {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
};

// Paint the graph onto a canvas as it is drawn now.
async function paint(graph, canvas) {
  const layers = [...graph.querySelectorAll("canvas, .main-svg")]; // the lowest first
  const images = await Promise.all(layers.map(async (layer) => {
    if (layer.matches("canvas")) return layer;
    const image = make("img", { src: `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(layer))}` });
    await image.decode();
    return image;
  }));
  const pen = canvas.getContext("2d"), all = graph.getBoundingClientRect(), scale = canvas.width / all.width;
  pen.fillStyle = graph.layout.paper_bgcolor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  layers.forEach((layer, i) => {
    const { left, top, width, height } = layer.getBoundingClientRect();
    pen.drawImage(images[i], ...[left - all.left, top - all.top, width, height].map((pixels) => pixels * scale));
  });
}

const canvasOf = (graph, scale) => { // whole and even sizes, which video needs
  const [width, height] = [graph.clientWidth, graph.clientHeight].map((pixels) => 2 * Math.round(pixels * scale / 2));
  return make("canvas", { width, height });
};

// Return the buttons, and a function to call after each drawing, which adds it to the film unless the last one is still being painted.
function createSaving({ model }, { undo, tell, send, button }, graph) {
  const refuse = ({ message }) => tell(message);
  let wanted = false; // whether this page has asked for the history, which is sent to every page
  const receive = ({ csv }, [bytes] = []) => {
    if (!csv) return;
    if (wanted) download(new Blob([bytes], { type: "text/csv" }), "samviz.csv");
    wanted = false;
  };
  model.on("msg:custom", receive);
  const history = button("CSV", () => { wanted = true; send({ action: "csv" }); });
  const picture = button("PNG", async () => {
    const canvas = canvasOf(graph, 2);
    await paint(graph, canvas).catch(refuse);
    canvas.toBlob((blob) => download(blob, "samviz.png"));
  });

  let recorder = null, canvas = null, painting = false;
  const frame = async () => {
    if (!recorder || painting) return;
    painting = true;
    await paint(graph, canvas).catch(refuse);
    painting = false;
  };
  const record = async () => {
    const type = ["video/webm", "video/mp4"].find((each) => globalThis.MediaRecorder?.isTypeSupported(each));
    if (!type) throw new Error("This browser cannot record films; try Chrome, Edge or Firefox.");
    canvas = canvasOf(graph, 1);
    await paint(graph, canvas);
    recorder = new MediaRecorder(canvas.captureStream(), { mimeType: type, videoBitsPerSecond: 8e6 });
    recorder.ondataavailable = ({ data }) => download(data, `samviz.${type.slice(6)}`);
    recorder.start();
    film.textContent = "Stop recording";
  };
  const stop = () => {
    recorder?.stop();
    recorder = null;
    film.textContent = "Film";
  };
  const film = button("Film", async () => {
    if (recorder) return stop();
    film.disabled = true; // until the first picture is painted
    await record().catch(refuse);
    film.disabled = false;
  });
  undo.push(() => model.off("msg:custom", receive), stop);
  const buttons = make("span", { className: "samviz-field", role: "group", ariaLabel: "save" }, make("span", { ariaHidden: "true", textContent: "Save:" }),
    explain(history, "Save the measurements, each with its settings."),
    explain(picture, "Save the plots as they are now."),
    explain(film, "Record the plots while they move, until you press the button again."));
  return { buttons, frame, local: [picture, film] };
}
