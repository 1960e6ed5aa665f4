// What became of the findings of an answer, as a part of its card.

import { make } from "./dom.js";

const ORDER = ["new", "grown", "shrunk", "gone", "stable", "unsure"];
const SHOWN = 12;
const MINUS = "\u2212";

/**
 * The part of a card that compares with the prior scan; null where there is nothing to tell.
 *
 * @param answer An answer whose comparison may be under way, refused or made.
 * @param act goChange(change).
 */
export function comparisonPart(answer, act) {
  const { comparison } = answer;
  if (!comparison) return null;
  const part = make("section", { class: "comparison", "aria-label": "Against the prior scan" },
    make("h4", {}, "Against the prior scan"));
  if (comparison.state === "asking") {
    part.append(make("p", { class: "quiet" }, "Comparing\u2026"));
  } else if (comparison.state === "refused") {
    part.append(make("p", { class: "refusal" }, comparison.text));
  } else {
    part.append(...told(comparison, answer, act));
  }
  return part;
}

function told({ entry, notes }, answer, act) {
  const { changes } = entry;
  const counts = ORDER.map((status) => [status, changes.filter((one) => one.status === status).length]).filter(([, n]) => n);
  const parts = [make("p", {}, changes.length ? counts.map(([status, n]) => `${n} ${status}`).join(", ") : entry.sentence)];
  if (changes.length) parts.push(table(changes, act));
  if (changes.length > SHOWN) parts.push(make("p", { class: "quiet" }, `and ${changes.length - SHOWN} more, by tips-med compare`));
  const small = [];
  if (changes.some((one) => one.volume_change)) small.push("In brackets: 95% limits of repeat noise alone. Within them, and by no more than half, a change is called stable.");
  if (answer.comparison.moved) small.push("Dashed: the prior outline, moved onto this scan.");
  if (answer.threshold !== null) small.push("Compared at the calibrated threshold.");
  small.push(...notes);
  parts.push(make("p", { class: "quiet" }, small.join(" ")));
  return parts;
}

function table(changes, act) {
  const ordered = [...changes].sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status)).slice(0, SHOWN);
  return make("table", { class: "changes" },
    make("thead", {}, make("tr", {}, ...["Prior ml", "Now ml", "Change ml", "%"].map((name) => make("th", { scope: "col" }, name)))),
    ...ordered.map((change) => rows(change, act)));
}

function rows(change, act) {
  const { number, status, region, volume_change: volume } = change;
  const button = make("button", { type: "button", class: "small", title: "Go there in both scans", click: () => act.goChange(change) },
    `${number}. `, make("span", { class: `status ${status}` }, status), region ? `, ${region}` : "");
  const why = change.reasons.map(({ code, meaning }) => make("li", { title: code }, meaning));
  const limits = (value, [low, high], text) => make("td", {}, text(value), make("br"),
    make("span", { class: "quiet" }, `(${text(low)} to ${text(high)})`));
  return make("tbody", { "data-change": number, "data-status": status },
    make("tr", {}, make("th", { scope: "rowgroup", colspan: 4 }, button, why.length ? make("ul", {}, ...why) : null)),
    make("tr", {},
      make("td", {}, ml(change.prior_ml)),
      make("td", {}, ml(change.current_ml)),
      volume ? limits(volume.change_ml, volume.change_ml_limits_95, (v) => signed(v, ml)) : make("td", {}, "-"),
      volume ? limits(volume.change_percent, volume.change_percent_limits_95, (v) => signed(v, (one) => one.toFixed(0))) : make("td", {}, "-")));
}

/** A volume with two or three digits that count. */
function ml(value) {
  if (value === null) return "-";
  return value.toFixed(value >= 100 ? 0 : value >= 1 ? 1 : 2);
}

function signed(value, text) {
  const shown = text(Math.abs(value));
  if (Number(shown) === 0) return "0";
  return `${value < 0 ? MINUS : "+"}${shown}`;
}
