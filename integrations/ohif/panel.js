// The panel: plain DOM. What comes from elsewhere is shown as text, never as markup.
const NOTICE = "Research use only, not a medical device.";
const STATES = { queued: "waiting", reading: "reading the images", encoding: "encoding" };
const FIELD = "width: 100%; box-sizing: border-box; padding: 6px 8px; border: 1px solid #3a5a8f; border-radius: 4px; background: #000; color: #fff";

function element(name, text, style) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (style !== undefined) made.style.cssText = style;
  return made;
}

function field(label, type) {
  const box = element("label", label, "display: block; margin-bottom: 8px");
  const input = element("input", undefined, `${FIELD}; margin-top: 4px`);
  input.type = type;
  box.append(input);
  return [box, input];
}

/**
 * @param {import("./server.js").Server} server
 * @param {import("./viewer.js").Viewer} viewer
 * @returns {{element: HTMLElement, reset: () => void}} The panel; `reset` forgets what was asked, as when the study is closed.
 */
export function createPanel(server, viewer) {
  const form = element("form", undefined, "padding: 12px; color: #fff; font-size: 14px; line-height: 1.4");
  form.dataset.tipsMed = "panel";
  const [queryBox, query] = field("Where is it? Ask in words:", "text");
  query.maxLength = 300;
  query.required = true;
  query.placeholder = "nodule in the left lung";
  query.autocomplete = "off";
  const [tokenBox, token] = field("Token of the server (kept until the page is closed):", "password");
  token.autocomplete = "off";
  tokenBox.style.display = "none";
  const button = element("button", "Ask", "padding: 6px 16px; border-radius: 4px; background: #348cfd; color: #000");
  button.type = "submit";
  const said = element("div", undefined, "margin: 12px 0; overflow-wrap: anywhere");
  said.setAttribute("role", "status");
  form.append(queryBox, tokenBox, button, said, element("small", NOTICE, "color: #aab4c4"));
  // The viewer's own keys would take what is typed.
  for (const kind of ["keydown", "keypress", "keyup"]) form.addEventListener(kind, (event) => event.stopPropagation());

  let asking = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const mine = new AbortController();
    asking = mine;
    button.disabled = true;
    form.setAttribute("aria-busy", "true");
    if (token.value) server.token = token.value;
    try {
      await ask(server, viewer, query.value, said, mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error.code === "wrong-token") tokenBox.style.display = "block";
      said.append(element("div", error.message, "color: #ffb4a8"));
    }
    if (mine.signal.aborted) return;
    button.disabled = false;
    form.removeAttribute("aria-busy");
  });

  const reset = () => {
    asking?.abort();
    query.value = "";
    said.replaceChildren();
    button.disabled = false;
    form.removeAttribute("aria-busy");
  };
  return { element: form, reset };
}

async function ask(server, viewer, query, said, signal) {
  const tell = (text) => said.replaceChildren(element("span", `${text} …`));
  said.replaceChildren();
  const open = viewer.openSeries();
  try {
    tell("asking");
    const study = await server.refer(open.dicomweb, open.study, open.series, signal);
    await server.wait(study, signal, (state, done, total) => {
      tell((STATES[state] ?? state) + (total ? ` ${Math.floor((100 * done) / total)}%` : ""));
    });
    tell("asking");
    const answers = await server.ask(study, query, signal);
    said.replaceChildren(...answers.map(shown));
    for (const answer of answers) {
      if (answer.urls?.seg) await viewer.showSegmentation(await server.dicom(answer.urls.seg, signal), open, signal);
    }
  } catch (error) {
    if (said.querySelector("span")) said.replaceChildren(); // what it was busy with
    throw error;
  }
}

function shown(answer) {
  const box = element("div", undefined, "margin-bottom: 10px");
  if (answer.declined) {
    box.append(element("b", `${answer.query}: not answered`), element("div", answer.declined.reason));
    return box;
  }
  const probability = answer.probability === null ? "" : ` (${answer.probability.toFixed(2)})`;
  box.append(element("b", answer.presence + probability), element("div", answer.sentence));
  if (answer.reasons.length) {
    const list = element("ul", undefined, "margin: 4px 0 0 16px; list-style: disc");
    list.append(...answer.reasons.map((reason) => element("li", reason.meaning)));
    box.append(list);
  }
  return box;
}
