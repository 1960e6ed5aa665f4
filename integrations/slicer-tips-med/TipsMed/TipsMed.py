"""The panel of 3D Slicer in which the open volume is asked in words. What it does is in ``TipsMedLib``."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import ctk
import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

NOTICE = "Research use only, not a medical device"
ADDRESS = "http://127.0.0.1:8431"
CLIENT_MISSING = (
    "The package tips-med-client is not installed. In the Python console of Slicer, run: "
    'slicer.util.pip_install("CHECKOUT/integrations/tips-med-client"), and load this module again.'
)
_POLL_MS, _GIVEN_S = 50, 0.03


class TipsMed(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Ask in words"
        parent.categories = ["Segmentation"]
        parent.contributors = ["The tips_med developers"]
        parent.helpText = f"Ask a CT volume in words, by a server that `tips-med serve` starts. {NOTICE}."


class TipsMedWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self) -> None:
        """Makes the panel; Slicer calls this once."""
        ScriptedLoadableModuleWidget.setup(self)
        self._pool = ThreadPoolExecutor(1)
        self._future: Future | None = None
        self._asked: Any = None
        self._studies: dict[tuple[str, str, int, bytes], str] = {}
        self._told = ""
        form = qt.QFormLayout()
        self.address = qt.QLineEdit(ADDRESS)
        self.token = qt.QLineEdit()
        self.token.setEchoMode(qt.QLineEdit.Password)
        self.token.setPlaceholderText("printed by `tips-med serve`; kept in this window alone")
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = self.volume.renameEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        self.query = qt.QLineEdit()
        self.query.setPlaceholderText("mass in the left lung")
        self.words = qt.QCheckBox("with the map of each word")
        for name, part in (
            ("Server", self.address),
            ("Token", self.token),
            ("Volume", self.volume),
            ("Query", self.query),
            ("", self.words),
        ):
            form.addRow(name, part)
        box = ctk.ctkCollapsibleButton()
        box.text = "Ask in words"
        box.setLayout(form)
        self.ask = qt.QPushButton("Ask")
        self.told = qt.QLabel(NOTICE)
        self.told.setTextFormat(qt.Qt.PlainText)
        self.told.setWordWrap(True)
        self.table = slicer.qMRMLTableView()
        self.table.setMRMLScene(slicer.mrmlScene)
        for part in (box, self.ask, self.told, self.table, qt.QLabel(NOTICE)):
            self.layout.addWidget(part)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self.ask.connect("clicked()", self.start)
        self.query.connect("returnPressed()", self.start)
        self.table.connect("clicked(QModelIndex)", self._go)

    def cleanup(self) -> None:
        """Ends what runs; Slicer calls this when the module is reloaded."""
        self._timer.stop()
        self._pool.shutdown(wait=False)

    def start(self) -> None:
        """Asks the selected volume, in a thread."""
        try:
            from tips_med_client import Client, Volume
            from TipsMedLib import asking, nodes
        except ModuleNotFoundError as error:
            self.told.setText(CLIENT_MISSING if error.name in ("tips_med_client", "httpx") else str(error))
            return
        node, query = self.volume.currentNode(), self.query.text.strip()
        if not query or self._future is not None:
            self.told.setText("Type a query first, such as: mass in the left lung" if not query else "Still asking ...")
            return
        try:
            seen = nodes.volume_of(node)
            scan = Volume(seen.voxels.copy(), seen.lps_from_kji)  # Slicer's own may go while the thread works
        except ValueError as error:
            self.told.setText(str(error))
            return
        address, token, words = self.address.text.strip(), self.token.text.strip() or None, bool(self.words.checked)
        modality = nodes.modality_of(node)
        key = (address, node.GetID(), node.GetImageData().GetMTime(), scan.lps_from_kji.tobytes())

        def work() -> list[Any]:
            with Client(address, token) as client:
                known = self._studies.get(key)
                if known is None or all(one["id"] != known for one in client.studies()):
                    self._studies[key] = asking.encode(client, scan, modality, self._tell)
                self._tell("Asking ...")
                return asking.fetch(client, self._studies[key], scan, query, words=words)

        self.ask.enabled = False
        self._asked = node
        self._future = self._pool.submit(work)
        self._timer.start()

    def poll(self) -> None:
        """Looks whether the thread is done, and shows what it brings; a timer calls this."""
        if self._future is None:
            return
        wait([self._future], timeout=_GIVEN_S)  # gives the thread time, where Slicer's event loop holds Python's lock
        self.told.setText(self._told)
        if not self._future.done():
            return
        future, self._future = self._future, None
        self._timer.stop()
        self.ask.enabled = True
        from tips_med_client import ServerError
        from TipsMedLib import nodes

        try:
            fetched = future.result()
            table = nodes.show(slicer.mrmlScene, self._asked, fetched, self.table.mrmlTableNode())
        except (ServerError, ValueError, OSError) as error:
            self.told.setText(str(error))
            return
        self.table.setMRMLTableNode(table)
        self.told.setText(" ".join(one.answer.declined or one.answer.sentence for one in fetched))
        first = next((one.answer for one in fetched if one.answer.declined is None and one.answer.instances), None)
        if first is not None and first.peak_lps is not None:
            x, y, z = first.peak_lps
            nodes.jump_to(slicer.mrmlScene, self._asked, (-x, -y, z))

    def _tell(self, text: str) -> None:
        """From the thread; shown by ``poll``, for a thread must not touch Qt."""
        self._told = text

    def _go(self, index: Any) -> None:
        from TipsMedLib import nodes

        if self._asked is not None:
            nodes.jump_to_row(slicer.mrmlScene, self._asked, self.table.mrmlTableNode(), index.row())
