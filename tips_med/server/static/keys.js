// The keyboard: everything that the pointer can do.

import { find } from "./dom.js";
import { PLANES, WINDOWS } from "./view.js";

const TILES = ["axial", "coronal", "sagittal", "mip"];
const MIP_TURN = Math.PI / 12;

export function bindKeys(app) {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, dialog");
    if (typing && event.target.type !== "checkbox") {
      if (event.key === "Escape") app.over.focus();
      return;
    }
    if (press(app, event)) event.preventDefault();
  });
}

function press(app, event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && key === "z") {
    app.correcting.undo();
    return true;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (key === "/") {
    find("query").focus();
    find("query").select();
    return true;
  }
  if (key === "?") {
    find("keys").showModal();
    return true;
  }
  if (!app.view.scan) return false;
  const view = app.prior.moves(event.target) ? app.prior.pane.view : app.view;
  return navigate(app, view, key) || act(app, key, event.target === app.over);
}

function navigate(app, view, key) {
  const plane = PLANES[view.first];
  if (view.first === "mip" && (key === "ArrowLeft" || key === "ArrowRight")) {
    app.turn(app.mip.angle + (key === "ArrowLeft" ? -MIP_TURN : MIP_TURN));
    return true;
  }
  if (TILES[Number(key) - 1]) app.arrange(TILES[Number(key) - 1]);
  else if (key === "a") app.arrange(view.first, !view.alone);
  else if (key === "+" || key === "=") app.zoom(1.25);
  else if (key === "-") app.zoom(0.8);
  else if (key === "0") app.zoom(0);
  else if (!plane) return false;
  else if (key === "PageUp") view.step(plane.depth, 1);
  else if (key === "PageDown") view.step(plane.depth, -1);
  else if (key.startsWith("Arrow")) {
    const tile = view.tiles.find((one) => one.name === view.first);
    const across = tile && tile.size[0] < 0 ? -1 : 1;
    if (key === "ArrowLeft") view.step(plane.across, -across);
    else if (key === "ArrowRight") view.step(plane.across, across);
    else view.step(plane.up, key === "ArrowUp" ? 1 : -1);
  } else return false;
  return true;
}

function act(app, key, onScan) {
  const { active } = app.questions;
  if (key === "w") {
    const names = Object.keys(WINDOWS);
    app.chosen = true;
    app.setWindow(names[(names.indexOf(app.windowName) + 1) % names.length]);
  } else if (key === "n") app.next(1);
  else if (key === "p") app.next(-1);
  else if (key === "o") app.prior.toggle();
  else if (key === "f") app.prior.setFollowing(!app.prior.following);
  else if (key === "i") app.what(app.view.mm);
  else if (key === "v" && active) app.questions.toggle(active);
  else if (key === "c" && active) app.correcting.begin(active);
  else if (key === "b") app.use("paint");
  else if (key === "e") app.use("erase");
  else if (key === "[" || key === "]") {
    app.correcting.brushMm = Math.min(25, Math.max(1, app.correcting.brushMm + (key === "]" ? 1 : -1)));
    app.correcting.show();
  } else if (key === " " && onScan) {
    if (app.tool === "what") app.what(app.view.mm);
    else if (app.tool !== "move") app.correcting.press(app.tool, app.view.mm);
  } else return false;
  return true;
}
