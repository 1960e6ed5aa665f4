// The answers as cards: state, reasons, words, places; and what is at a place.

import { comparisonPart } from "./comparison.js";
import { make } from "./dom.js";

const SHOWN = 8;
const SYMBOLS = { present: "\u25CF", absent: "\u25CB", unsure: "?" };

/**
 * The card of an answer.
 *
 * @param answer The report's entry, with colour and visible.
 * @param active Whether its map is shown.
 * @param act choose, toggle, remove, go(place), goChange(change), hover(word or null), correct.
 */
export function answerCard(answer, active, act) {
  const { report } = answer;
  const card = make("article", { class: active ? "card active" : "card", "data-answer": answer.id });
  card.style.setProperty("--colour", answer.colour);
  const parts = [
    make("header", {},
      make("div", { class: "asked" }, heading(answer, active, act)),
      make("button", { type: "button", class: "small", "aria-pressed": String(answer.visible), click: act.toggle,
        title: "Show or hide (V)" }, answer.visible ? "Shown" : "Hidden"),
      make("button", { type: "button", class: "small", click: act.remove, "aria-label": `Remove ${report.query}` }, "\u00D7"),
    ),
    stateLine(report),
    make("p", {}, report.sentence),
    reasons(report),
    answer.hidden ? make("p", { class: "quiet" }, "Hatched: nothing was measured there, or the lung holds no air.") : null,
    words(answer, act),
    places(report, act),
    comparisonPart(answer, act),
  ];
  card.append(...parts.filter(Boolean));
  const tools = make("p", { class: "bar" });
  if (report.peak_lps) {
    tools.append(make("button", { type: "button", class: "small", click: () => act.go(report.peak_lps) },
      report.instances.length ? "To the surest place" : "To the highest score"));
  }
  tools.append(make("button", { type: "button", class: "small", click: act.correct, title: "C" }, "Correct\u2026"));
  card.append(tools);
  return card;
}

/** A query that got no answer. */
export function declinedCard(entry, remove) {
  return make("article", { class: "card" },
    make("header", {}, make("div", { class: "asked" }, make("h3", {}, entry.query)),
      make("button", { type: "button", class: "small", click: remove, "aria-label": `Remove ${entry.query}` }, "\u00D7")),
    make("p", { class: "refusal" }, `Not answered: ${entry.declined.reason}`),
  );
}

function heading(answer, active, act) {
  return make("h3", {}, make("button", { type: "button", class: "plain link", click: act.choose,
    "aria-pressed": String(active), title: "Show this map" }, answer.report.query));
}

function stateLine(report) {
  const { presence, probability, score, calibrated } = report;
  const number = calibrated ? `probability ${percent(probability)}` : `score ${score.toFixed(2)}, not calibrated`;
  const line = make("p", {},
    make("span", { class: `state ${presence}` }, `${SYMBOLS[presence]} ${presence}`), `, ${number}`);
  if (report.negated) {
    const holds = report.holds === null ? "undecided whether this holds" : report.holds ? "the statement holds" : "the statement does not hold";
    line.append(`; ${holds}`);
  }
  return line;
}

function reasons(report) {
  const items = report.reasons.map(({ meaning, code }) => make("li", { title: code }, meaning));
  const share = report.assessed_fraction;
  const unknown = report.reasons.some(({ code }) => code === "extent-unknown");
  if (!unknown) items.push(make("li", {}, `${percent(share)} of the searched region was assessed`));
  return make("ul", { class: "reasons" }, ...items);
}

function words(answer, act) {
  const list = answer.words ?? [];
  if (!list.length) return null;
  const line = make("p", {}, make("span", { class: "quiet" }, "Words light up: "));
  list.forEach((one, n) => {
    const show = () => act.hover(n);
    const hide = () => act.hover(null);
    line.append(make("button", { type: "button", class: "small word", mouseenter: show, mouseleave: hide, focus: show,
      blur: hide, title: `What \u201C${one.word}\u201D lights up by itself` }, one.word), " ");
  });
  return line;
}

function places(report, act) {
  const { instances } = report;
  if (!instances.length) return null;
  const rows = instances.slice(0, SHOWN).map((one) =>
    make("tr", {},
      make("td", {}, make("button", { type: "button", class: "small", click: () => act.go(one.peak_lps) },
        `${one.label}. ${one.place || one.side || "here"}`)),
      make("td", {}, number(one.volume_ml, one.volume_ml < 10 ? 2 : 0)),
      make("td", {}, number(one.long_axis_mm, 0)),
      make("td", {}, number(one.mean_hu, 0)),
      make("td", {}, number(one.score, 2)),
    ));
  const table = make("table", {},
    make("thead", {}, make("tr", {}, ...["Place", "ml", "mm", "HU", report.calibrated ? "Prob." : "Score"].map((name) =>
      make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows));
  const more = instances.length - SHOWN;
  return more > 0 ? make("div", {}, table, make("p", { class: "quiet" }, `and ${more} more, in the files`)) : table;
}

/** What is at a place: the terms that fit best, and what was not compared. */
export function whatCard(found, act) {
  const told = found.findings.filter((fit) => fit.state !== "unlikely");
  const rest = found.findings.filter((fit) => fit.state === "unlikely");
  const shown = [...told, ...rest.slice(0, Math.max(0, 3 - told.length))];
  const row = (fit) =>
    make("tr", { class: fit.state },
      make("td", {}, make("button", { type: "button", class: "small", click: () => act.ask(fit.name),
        title: "Where is it?" }, fit.name)),
      make("td", {}, fit.state),
      make("td", {}, fit.probability === null ? `score ${fit.score.toFixed(2)}` : percent(fit.probability)),
    );
  const parts = found.structures.filter((fit) => fit.state !== "unlikely");
  const rows = shown.map(row);
  if (parts.length) rows.push(make("tr", { class: "part" }, make("td", { colspan: 3 }, "Part of")), ...parts.map(row));
  const card = make("div", {},
    make("header", { class: "bar" }, make("h2", {}, "What is this?"),
      make("button", { type: "button", class: "small", click: act.close, "aria-label": "Close" }, "\u00D7")),
    make("p", {}, found.sentence));
  if (rows.length) {
    card.append(make("table", {},
      make("thead", {}, make("tr", {}, ...["Term", "Fits", "Probability"].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows)));
  }
  const silent = found.findings.length - shown.length;
  const notes = [];
  if (silent > 0) notes.push(`${silent} other findings are unlikely here.`);
  if (found.measured_fraction < 0.995) notes.push(`${percent(found.measured_fraction)} of the place was measured, inside the body.`);
  notes.push(`${found.unknown.length} findings of the lexicon are not known to this model.`);
  card.append(make("p", { class: "quiet" }, notes.join(" ")));
  return card;
}

export function percent(share) {
  if (share === null || share === undefined) return "-";
  const value = 100 * share;
  if (value > 0 && value < 1) return "<1%";
  if (value > 99 && value < 100) return ">99%";
  return `${Math.round(value)}%`;
}

function number(value, decimals) {
  return value === null ? "-" : value.toFixed(decimals);
}
