r"""Makes the picture of the plugin in napari, on the bundled scan.

pip install 'napari[pyqt6]'
PYTHONPATH=integrations/tips-med-client:integrations/napari-tips-med xvfb-run -s '-screen 0 1600x1000x24' \
    python -m benchmarks.napari_figure    # also needs the extra `test`, and Debian's xvfb where there is no screen
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import napari
from napari_tips_med.reading import sample
from napari_tips_med.widget import AskWidget
from PIL import Image
from qtpy.QtWidgets import QApplication

from benchmarks.figures import IMAGES
from tests.server.running import TOKEN, running
from tips_med.loading import open_model

QUERIES = ("mass in the left lung", "no pleural effusion")
MOST_S = 600


def main() -> None:
    """Asks two questions and saves what the window shows."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "server", open_model(device="cpu")) as server:
        viewer = napari.Viewer(show=True)
        viewer.window._qt_window.resize(1500, 900)
        widget = AskWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Ask a scan", area="right")
        (data,) = sample()
        viewer.add_layer(napari.layers.Layer.create(*data))
        widget.address.setText(server.url)
        widget.token.setText(TOKEN)
        for n, query in enumerate(QUERIES, 1):
            widget.query.setText(query)
            widget.start()
            wait(lambda wanted=n: widget.ask.isEnabled() and widget.table.rowCount() >= 2 * wanted)
        viewer.reset_view()
        widget.table.cellClicked.emit(0, 0)
        settle(2)
        viewer.screenshot(IMAGES / "napari.png", canvas_only=False, flash=False)
        viewer.close()
    with Image.open(IMAGES / "napari.png") as shown:
        shown.convert("RGB").save(IMAGES / "napari.png", optimize=True)


def wait(until) -> None:
    """Lets Qt work until something is so."""
    end = time.monotonic() + MOST_S
    while not until():
        assert time.monotonic() < end
        settle(0.05)


def settle(seconds: float) -> None:
    """Lets Qt work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
