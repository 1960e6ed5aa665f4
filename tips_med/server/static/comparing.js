// Asking what became of the findings of answers, and reading the outlines that come with it.

import { LostError } from "./api.js";
import { readMask } from "./reading.js";

/**
 * Compares answers, text by text; each gets its `comparison`, and `moved`, the prior outline on the current scan.
 *
 * @param prior The prior scan, which is registered.
 * @param answers Answers of the current scan.
 * @param late Whether the prior scan is another one by now.
 */
export async function compareAnswers(prior, answers, late) {
  const { app, api, pair } = prior;
  for (const text of new Set(answers.map((one) => one.text))) {
    const made = answers.filter((one) => one.text === text);
    made.forEach((one) => { one.comparison = { state: "asking" }; });
    app.show();
    try {
      const report = await api.post(`${pair.url}/comparisons`, { query: text });
      const notes = report.notes.filter((note) => !pair.notes.includes(note));
      const found = await Promise.all(made.map((one) => comparisonOf(api, report, one.report.query)));
      if (late()) return;
      made.forEach((one, n) => {
        one.comparison = { ...found[n], notes };
        one.moved = found[n].moved ?? null;
      });
    } catch (error) {
      if (late()) return;
      if (error instanceof LostError) app.lost();
      made.forEach((one) => { one.comparison = { state: "refused", text: error.text ?? error.message }; });
    }
    app.show();
  }
}

async function comparisonOf(api, report, query) {
  const entry = report.comparisons.find((one) => one.query === query);
  if (!entry) return { state: "refused", text: "It was not compared." };
  if (entry.declined) return { state: "refused", text: `Not compared: ${entry.declined.reason}` };
  const urls = [entry.urls.prior, entry.urls.prior_on_current];
  const [mask, moved] = await Promise.all(urls.map(async (url) => readMask(await api.bytes(url))));
  return { state: "made", entry, mask, moved };
}
