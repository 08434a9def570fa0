// A quiz in the browser: radio buttons, a verdict under each question, and the call that keeps the answers. The kernel's half is quiz.py.

function createQuiz(context) {
  const { undo, get, alert, cell, field, button, row } = createParts(context);
  const answers = cell("answers");
  const questions = get("questions");
  const given = () => questions.map((_, i) => answers.get()[i] ?? "?");
  const chosen = (i) => questions[i].options.find(({ letter }) => letter === given()[i]);
  const answer = (i, letter) => answers.set(given().map((old, k) => (k === i ? letter : old)).join("").replace(/\?+$/, ""));

  const ask = ({ text, options }, i) => {
    const verdict = make("p", { className: "samviz-verdict", role: "status" });
    const name = nextId(); // of the group
    const radios = options.map(({ letter }) => make("input", { type: "radio", name, value: letter, onchange: () => answer(i, letter) }));
    answers.follow(() => {
      radios.forEach((radio) => { radio.checked = radio.value === given()[i]; });
      const text = chosen(i)?.verdict ?? "";
      if (verdict.textContent !== text) verdict.textContent = text; // a text that is set again is read again
      verdict.classList.toggle("samviz-right", Boolean(chosen(i)?.right));
    });
    return make("fieldset", {}, make("legend", { textContent: `${i + 1}. ${text}` }),
      ...options.map((option, k) => make("label", {}, radios[k], `${option.letter}) ${option.text}`)), verdict);
  };

  const score = make("p");
  const call = make("input", { type: "text", readOnly: true, className: "samviz-typed samviz-call", onfocus: () => call.select() });
  const copied = make("span", { role: "status" });
  const copy = button("Copy", async () => {
    call.select(); // so that Ctrl+C does it where a page may not
    const done = await navigator.clipboard?.writeText(call.value).then(() => true, () => false) || document.execCommand("copy");
    copied.textContent = `${done ? "Copied. Paste" : "Copy it, and paste"} it over the cell's last line.`;
  });
  const keep = row(field("To keep your answers, put this in place of the cell's last line:", call), copy, copied);
  answers.follow(() => {
    score.textContent = `${questions.filter((_, i) => chosen(i)?.right).length} of ${questions.length} right.`;
    call.value = `quiz("${get("name")}", "${answers.get()}")`;
    copied.textContent = "";
    keep.hidden = !answers.get();
  });
  context.el.append(make("div", { className: "samviz-card samviz-quiz", role: "group", ariaLabel: "Quiz" }, alert,
    ...questions.map(ask), score, keep));
  return () => undo.forEach((undone) => undone());
}

export default { render: createQuiz };
