// Pointer and wheel on the prior scan: they move both scans while it follows the cross, else it alone.

/** @param prior The prior scan. */
export function bindPriorPointer(prior) {
  const { app } = prior;
  const { over, view } = prior.pane;

  const at = (event) => {
    const box = over.getBoundingClientRect();
    const ratio = over.width / box.width;
    const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    return { tile: view.tileAt(x, y), x, y };
  };

  const move = (event) => {
    const { tile, x, y } = at(event);
    if (!tile || !prior.pair) return;
    const mm = tile.placeOf(x, y);
    if (prior.following) app.view.moveTo(prior.field.toCurrent(mm));
    else prior.moveTo(mm);
  };

  over.addEventListener("pointerdown", (event) => {
    over.focus({ preventScroll: true });
    over.setPointerCapture(event.pointerId);
    if (event.button === 0) move(event);
  });
  over.addEventListener("pointermove", (event) => event.buttons & 1 && move(event));
  over.addEventListener("contextmenu", (event) => event.preventDefault());
  over.addEventListener("dblclick", (event) => {
    const { tile } = at(event);
    if (tile) app.arrange(tile.name, !view.alone);
  });
  over.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { tile } = at(event);
    if (event.ctrlKey) {
      app.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    } else if (tile && prior.pair) {
      if (!prior.following) prior.alone();
      (prior.following ? app.view : view).step(tile.plane.depth, event.deltaY < 0 ? 1 : -1);
    }
  }, { passive: false });
}
