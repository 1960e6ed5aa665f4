// The query box: completion while typing, "did you mean" for what is not known.

import { find, make, settled } from "./dom.js";

export class QueryBox {
  /**
   * @param api The server.
   * @param ask Called with the text to ask.
   */
  constructor(api, ask) {
    this.api = api;
    this.ask = ask;
    this.input = find("query");
    this.list = find("completions");
    this.refusal = find("refusal");
    this.chosen = -1;
    this.asked = 0;
    this.sent = "";
    find("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(this.input.value);
    });
    const look = settled(120, () => this.complete());
    this.input.addEventListener("input", () => {
      this.refusal.replaceChildren();
      look();
    });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
  }

  submit(text) {
    this.asked += 1;
    this.sent = this.input.value; // what was sent is not completed any more
    this.close();
    this.refusal.replaceChildren();
    if (text.trim()) this.ask(text.trim());
  }

  key(event) {
    const items = [...this.list.children];
    if (event.key === "Escape") {
      this.close();
    } else if (["ArrowDown", "ArrowUp"].includes(event.key) && items.length) {
      event.preventDefault();
      const way = event.key === "ArrowDown" ? 1 : -1;
      this.choose((this.chosen + way + items.length + (this.chosen < 0 && way < 0 ? 1 : 0)) % items.length);
    } else if (event.key === "Tab" && items.length && !event.shiftKey && !this.list.hidden) {
      event.preventDefault();
      this.take(items[Math.max(0, this.chosen)].textContent);
    } else if (event.key === "Enter" && this.chosen >= 0) {
      event.preventDefault();
      this.take(items[this.chosen].textContent);
    }
  }

  choose(number) {
    this.chosen = number;
    [...this.list.children].forEach((item, n) => item.setAttribute("aria-selected", String(n === number)));
    if (number >= 0) this.input.setAttribute("aria-activedescendant", this.list.children[number].id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  take(text) {
    this.input.value = text;
    this.sent = text;
    this.close();
    this.input.focus();
  }

  async complete() {
    const text = this.input.value;
    this.asked += 1;
    const number = this.asked;
    if (!text.trim() || text === this.sent) {
      this.close();
      return;
    }
    let found;
    try {
      found = await this.api.get(`/v1/suggestions?text=${encodeURIComponent(text)}`);
    } catch {
      return; // completion is a help: what is wrong shows when the question is asked
    }
    if (number !== this.asked || document.activeElement !== this.input) return;
    this.list.replaceChildren(
      ...found.completions.map((one, n) =>
        make("li", { id: `completion-${n}`, role: "option", "aria-selected": "false", mousedown: (event) => {
          event.preventDefault();
          this.take(one);
        } }, one),
      ),
    );
    this.choose(-1);
    this.list.hidden = !found.completions.length;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.mean(text, found);
  }

  /** Offers what unknown words may have been meant to be. */
  mean(text, { corrections, nearest }) {
    const offers = corrections
      .filter(({ suggestions }) => suggestions.length)
      .flatMap(({ typed, suggestions }) => suggestions.slice(0, 2).map((one) => text.replace(typed, one)));
    const all = [...new Set([...offers, ...(nearest ?? [])])].slice(0, 4);
    if (!all.length || text.endsWith(" ") === false && !this.list.hidden) return;
    this.refusal.replaceChildren(make("span", { class: "quiet" }, "Did you mean "), ...this.links(all));
  }

  links(texts) {
    return texts.flatMap((one, n) => [
      n ? make("span", { class: "quiet" }, " or ") : null,
      make("button", { type: "button", class: "link", click: () => {
        this.input.value = one;
        this.submit(one);
      } }, one),
    ].filter(Boolean));
  }

  /** Shows why a question has no answer, with the nearest ones that have. */
  async refuse(error, text) {
    this.refusal.replaceChildren(error.text ?? String(error));
    try {
      const { corrections, nearest } = await this.api.get(`/v1/suggestions?text=${encodeURIComponent(text)}`);
      const offers = corrections.flatMap(({ typed, suggestions }) => suggestions.slice(0, 2).map((one) => text.replace(typed, one)));
      const all = [...new Set([...offers, ...(nearest ?? [])])].slice(0, 4);
      if (all.length) this.refusal.append(make("br"), "Did you mean ", ...this.links(all), "?");
    } catch {
      // the refusal itself is shown
    }
  }

  close() {
    this.list.hidden = true;
    this.list.replaceChildren();
    this.chosen = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}
