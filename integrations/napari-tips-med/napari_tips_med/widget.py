"""The widget: a query, an answer as layers, and a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari import Viewer
from napari.layers import Image, Layer
from napari.qt.threading import create_worker
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from tips_med_client import Client, ServerError

from napari_tips_med.asking import COLUMNS, NOTICE, Row, Shown, ask
from napari_tips_med.placing import KEY
from napari_tips_med.reading import LayerData, read_by_server

ADDRESS = "http://127.0.0.1:8431"
_WIDTHS_PX = (130, 80, 75, 65)
"""Of the columns but the last, which has the rest."""


class AskWidget(QWidget):
    """Asks the selected scan.

    Args:
        napari_viewer: napari's viewer; napari gives it to an argument of this name.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self._rows: list[Row] = []
        self.address = QLineEdit(ADDRESS)
        self.token = QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("printed by `tips-med serve`; kept in this window alone")
        self.scan = QComboBox()
        self.query = QLineEdit()
        self.query.setPlaceholderText("mass in the left lung")
        self.words = QCheckBox("with the map of each word")
        self.words.setChecked(True)
        self.ask = QPushButton("Ask")
        self.open_file = QPushButton("Open by the server...")
        self.open_folder = QPushButton("Open a folder by the server...")
        self.told = QLabel(NOTICE)
        self.told.setTextFormat(Qt.TextFormat.PlainText)
        self.told.setWordWrap(True)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setStretchLastSection(True)
        for column, width_px in enumerate(_WIDTHS_PX):
            self.table.setColumnWidth(column, width_px)
        self.table.setMinimumWidth(sum(_WIDTHS_PX) + 160)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self._lay_out()
        self.ask.clicked.connect(self.start)
        self.query.returnPressed.connect(self.start)
        self.open_file.clicked.connect(self._choose_file)
        self.open_folder.clicked.connect(self._choose_folder)
        self.table.cellClicked.connect(self._go)
        viewer.layers.events.inserted.connect(self._list_scans)
        viewer.layers.events.removed.connect(self._list_scans)
        viewer.layers.selection.events.active.connect(self._take_active)
        self._list_scans()

    def start(self) -> None:
        """Asks the query of the selected scan."""
        layer, query = self._layer(), self.query.text().strip()
        if layer is None:
            self.told.setText("Open a scan first: File, Open, or by the server.")
        elif not query:
            self.told.setText("Type a query first, such as: mass in the left lung")
        else:
            address, token, words = self.address.text(), self.token.text(), self.words.isChecked()

            self._run(address, token, lambda client: ask(client, layer, query, words=words))

    def open(self, path: str) -> None:
        """Opens a scan by the server."""

        def work(client: Client) -> Iterator[str | Shown]:
            yield "The server reads and encodes the scan ..."
            yield Shown([read_by_server(client, path)], [])
            yield "Type a query, and press Enter."

        self._run(self.address.text(), self.token.text(), work)

    def _run(self, address: str, token: str, work: Callable[[Client], Iterator[str | Shown]]) -> None:
        """Does it in a thread; what is done, and what fails, is shown in words."""

        def run() -> Iterator[str | Shown]:
            try:  # here, for Qt ends the program where a thread fails
                with Client(address.strip(), token.strip() or None) as client:
                    yield from work(client)
            except (ServerError, ValueError, OSError) as error:
                yield str(error)

        worker = create_worker(run, _start_thread=False)
        self._busy(True)
        worker.yielded.connect(self._take)
        worker.finished.connect(lambda: self._busy(False))
        worker.start()

    def _take(self, what: str | Shown) -> None:
        if isinstance(what, str):
            self.told.setText(what)
            return
        for layer in what.layers:
            self._show(layer)
        for row in what.rows:
            self._add(row)
        place = next((row.goes_to for row in what.rows if row.goes_to is not None), None)
        if place is not None:
            self._look_at(place)
        if what.rows:
            self.told.setText(" ".join(row.tip for row in what.rows if not row.texts[0].startswith(" ")))

    def _show(self, data: LayerData) -> None:
        scan = self._layer()
        self._viewer.add_layer(Layer.create(*data))
        if scan is not None:
            self._viewer.layers.selection.active = scan

    def _add(self, row: Row) -> None:
        at = self.table.rowCount()
        self._rows.append(row)
        self.table.insertRow(at)
        for column, text in enumerate(row.texts):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            self.table.setItem(at, column, item)
        self.table.resizeRowsToContents()

    def _busy(self, busy: bool) -> None:
        for one in (self.ask, self.query, self.open_file, self.open_folder):
            one.setEnabled(not busy)

    def _go(self, row: int, _: int) -> None:
        place = self._rows[row].goes_to
        if place is not None:
            self._look_at(place)

    def _look_at(self, zyx: tuple[float, float, float]) -> None:
        self._viewer.dims.set_point((0, 1, 2), zyx)

    def _layer(self) -> Image | None:
        name = self.scan.currentText()
        return next((one for one in self._viewer.layers if one.name == name and isinstance(one, Image)), None)

    def _list_scans(self, _: Any = None) -> None:
        """Fills the list with what can be asked."""
        kept = self.scan.currentText()
        self.scan.clear()
        self.scan.addItems([one.name for one in self._viewer.layers if isinstance(one, Image) and KEY in one.metadata])
        self.scan.setCurrentText(kept)

    def _take_active(self, _: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and self.scan.findText(active.name) >= 0:
            self.scan.setCurrentText(active.name)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "A scan", filter="Scans (*.nii *.nii.gz *.dcm *.zip)")
        if path:
            self.open(path)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "A folder with one DICOM series")
        if path:
            self.open(path)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Server", self.address)
        form.addRow("Token", self.token)
        form.addRow("Scan", self.scan)
        form.addRow("Query", self.query)
        form.addRow("", self.words)
        buttons, whole = QHBoxLayout(), QVBoxLayout(self)
        for one in (self.ask, self.open_file, self.open_folder):
            buttons.addWidget(one)
        whole.addLayout(form)
        whole.addLayout(buttons)
        whole.addWidget(self.told)
        whole.addWidget(self.table)
        whole.addWidget(QLabel(NOTICE))
