// A form on the pages of studies and series in Orthanc Explorer. What comes from elsewhere is shown as text, never as markup.
(function () {
  "use strict";
  const NOTICE = "Research use only, not a medical device.";
  const STATES = {
    queued: "waiting", sending: "sending the images", reading: "reading the images", encoding: "encoding",
    asking: "asking",
  };

  function element(name, text, style) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (style !== undefined) made.style.cssText = style;
    return made;
  }

  async function fetched(path, options) {
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error("Orthanc does not answer");
    }
    let content;
    try {
      content = await response.json();
    } catch {
      throw new Error(`Orthanc answers ${response.status}`);
    }
    if (!response.ok) throw new Error(content.message || `Orthanc answers ${response.status}`);
    return content;
  }

  function shownAnswer(answer) {
    const box = element("div", undefined, "margin: 0.6em 0");
    if (answer.declined) {
      box.append(element("b", `${answer.query}: not answered`), element("div", answer.declined));
      return box;
    }
    const probability = answer.probability === null ? "" : ` (${answer.probability.toFixed(2)})`;
    box.append(element("b", `${answer.presence}${probability}`), element("div", answer.sentence));
    if (answer.reasons.length) {
      const list = element("ul", undefined, "margin: 0.3em 0");
      for (const reason of answer.reasons) list.append(element("li", reason));
      box.append(list);
    }
    for (const series of answer.stored) {
      const link = element("a", "the stored segmentation");
      link.href = `#series?uuid=${encodeURIComponent(series)}`;
      box.append(link);
    }
    return box;
  }

  function shownResults(task) {
    const parts = [];
    for (const result of task.results) {
      if (task.results.length > 1) parts.push(element("h4", `Series ${result.number || ""}`, "margin: 0.6em 0 0"));
      if (result.error) parts.push(element("p", result.error.message));
      else parts.push(...result.answers.map(shownAnswer));
    }
    if (task.error) parts.push(element("p", task.error.message));
    return parts;
  }

  async function ask(level, id, query, tell) {
    const asked = await fetched(`../tips-med/${level}/${encodeURIComponent(id)}/ask`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query }),
    });
    for (;;) {
      const task = await fetched(`../tips-med/tasks/${asked.task}`);
      if (task.state === "done" || task.state === "failed") return task;
      const part = task.total ? ` ${Math.floor((100 * task.done) / task.total)}%` : "";
      tell(`${STATES[task.state] || task.state}${part} …`);
      await new Promise((done) => setTimeout(done, 700));
    }
  }

  function form(level, id) {
    const box = element("form", undefined, "margin: 1em 0; padding: 0.8em; border: 1px solid #aaa; border-radius: 0.6em; background: #fff");
    box.className = "tips-med";
    box.dataset.role = "none";
    const label = element("label", "Where is it? Ask in words:", "display: block; margin-bottom: 0.4em");
    const query = element("input", undefined, "width: 100%; box-sizing: border-box; padding: 0.4em; font: inherit");
    query.type = "text";
    query.maxLength = 300;
    query.required = true;
    query.placeholder = "nodule in the left lung";
    query.dataset.role = "none";
    label.append(query);
    const button = element("button", "Ask", "padding: 0.4em 1em; font: inherit");
    button.type = "submit";
    button.dataset.role = "none";
    const said = element("div", undefined, "margin-top: 0.6em; white-space: normal; overflow-wrap: anywhere");
    said.setAttribute("role", "status");
    box.append(label, button, said, element("small", NOTICE, "color: #555"));
    box.addEventListener("submit", async (event) => {
      event.preventDefault();
      event.stopPropagation();
      button.disabled = true;
      said.replaceChildren();
      try {
        const task = await ask(level, id, query.value, (text) => { said.textContent = text; });
        said.replaceChildren(...shownResults(task));
      } catch (error) {
        said.textContent = error.message;
      }
      button.disabled = false;
    });
    return box;
  }

  for (const [page, level] of [["study", "studies"], ["series", "series"]]) {
    $(`#${page}`).live("pagebeforeshow", () => {
      const column = document.querySelector(`#${page} .ui-block-a > div`);
      if (!column || !$.mobile.pageData || !$.mobile.pageData.uuid) return;
      for (const old of column.querySelectorAll("form.tips-med")) old.remove();
      column.prepend(form(level, $.mobile.pageData.uuid));
    });
  }
})();
