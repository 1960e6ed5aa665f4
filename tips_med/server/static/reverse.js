// Ask in reverse: what is at a place, or in a ball about it.

import { LostError } from "./api.js";
import { ballMask } from "./correct.js";
import { find, make } from "./dom.js";
import { flipped } from "./nifti.js";
import { whatCard } from "./panel.js";

/** Asks what is at a place, RAS in mm, or within a radius of it, and shows it. */
export async function askWhat(app, mm, radiusMm = 0) {
  if (!app.study) return;
  const asked = find("what");
  app.view.moveTo(mm);
  asked.hidden = false;
  asked.replaceChildren(make("p", { class: "quiet" }, "Comparing\u2026"));
  const close = () => {
    asked.hidden = true;
    asked.replaceChildren();
  };
  try {
    const place = radiusMm ? { mask: await ballMask(app.view.scan, mm, radiusMm) } : { at_lps: flipped(mm) };
    const found = await app.api.post(`${app.study.url}/what`, place);
    asked.replaceChildren(whatCard(found, { close, ask: (text) => app.ask(text) }));
    asked.scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (error instanceof LostError) app.lost();
    asked.replaceChildren(make("p", { class: "refusal" }, error.text ?? error.message),
      make("button", { type: "button", class: "small", click: close }, "Close"));
  }
}
