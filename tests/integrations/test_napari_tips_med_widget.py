"""The plugin in napari itself, without a screen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("napari", reason="napari is not installed (pip install 'napari[pyqt6]')")
pytest.importorskip("qtpy.QtWidgets", reason="Qt is not installed (pip install 'napari[pyqt6]')", exc_type=ImportError)

from napari_tips_med.reading import read

from tests.server.running import TOKEN, Running, running, turned, write_scan

pytestmark = pytest.mark.filterwarnings("ignore")  # those of napari and of Qt


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server") / "server") as made:
        yield made


@pytest.fixture
def widget(server: Running) -> Iterator[Any]:
    from napari.components import ViewerModel
    from napari.utils._proxies import PublicOnlyProxy
    from napari_tips_med.widget import AskWidget
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    made = AskWidget(PublicOnlyProxy(ViewerModel()))  # as napari gives it
    made.address.setText(server.url)
    made.token.setText(TOKEN)
    yield made
    application.processEvents()
    made.close()


def wait(until: Callable[[], bool]) -> None:
    """Lets Qt work until something is so."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        QApplication.processEvents()
        time.sleep(0.01)


def test_napari_gives_it_its_viewer() -> None:
    import inspect

    from napari_tips_med.widget import AskWidget

    assert list(inspect.signature(AskWidget).parameters) == ["napari_viewer"]


@pytest.mark.parametrize("name", ["oblique", "mirrored"])
def test_a_query_becomes_layers_at_their_place(name: str, widget: Any, tmp_path: Path) -> None:
    from napari.layers import Layer

    (data,) = read(str(write_scan(turned(name), tmp_path / "scan.nii.gz")))
    viewer = widget._viewer
    viewer.add_layer(Layer.create(*data))
    assert widget.scan.currentText() == "scan"
    widget.query.setText("mass in the left lung")
    widget.start()
    assert not widget.ask.isEnabled()
    wait(widget.ask.isEnabled)
    wait(lambda: widget.table.rowCount() > 0)
    labels = next(one for one in viewer.layers if one.name.endswith(": present"))
    peaks = next(one for one in viewer.layers if one.name.endswith(": peaks"))
    entry = labels.metadata["tips_med_answer"]
    peak_zyx = entry["peak_lps"][::-1]
    np.testing.assert_allclose(peaks.data_to_world(peaks.data[0]), peak_zyx, atol=1e-3)
    voxel = np.rint(labels.world_to_data(peak_zyx)).astype(int)
    assert labels.data[tuple(voxel)] == 1
    at = np.rint(peaks.data[0])
    assert labels._data_slice.point[0] == pytest.approx(at[0], abs=0.51), "the slice of the peak is shown"
    assert widget.table.item(0, 1).text() == "present" and "left lung" in widget.told.text()
    assert widget.table.rowCount() == 2 and not viewer.layers["mass in the left lung: “left”"].visible
    viewer.dims.set_point((0, 1, 2), (0.0, 0.0, 0.0))
    widget.table.cellClicked.emit(1, 0)
    assert viewer.dims.point[0] == pytest.approx(widget._rows[1].goes_to[0], abs=3.0)


def test_what_is_refused_is_told(widget: Any, tmp_path: Path) -> None:
    widget.start()
    assert "Open a scan first" in widget.told.text()
    widget.open(str(write_scan(turned("mirrored"), tmp_path / "scan.nii.gz")))
    wait(lambda: widget.scan.count() == 1)
    wait(widget.ask.isEnabled)
    widget.start()
    assert "Type a query" in widget.told.text()
    widget.token.setText("wrong")
    widget.query.setText("mass")
    widget.start()
    wait(widget.ask.isEnabled)
    wait(lambda: "token" in widget.told.text())
    assert len(widget._viewer.layers) == 1
