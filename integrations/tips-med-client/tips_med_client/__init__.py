"""A thin client of ``tips-med serve``: words in, masks in the patient's place out. Research use only.

>>> with Client("http://127.0.0.1:8431", token="...") as server:  # doctest: +SKIP
...     study = server.upload("chest.nii.gz")
...     server.wait(study)
...     answers = server.ask(study, "mass in the left lung")
"""

from tips_med_client.answer import Answer
from tips_med_client.asynchronous import AsyncClient
from tips_med_client.errors import ServerError
from tips_med_client.synchronous import Client
from tips_med_client.volume import Volume, read_nifti, write_nifti

__version__ = "0.1.0"
__all__ = ["Answer", "AsyncClient", "Client", "ServerError", "Volume", "read_nifti", "write_nifti"]
