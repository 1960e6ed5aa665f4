"""Names of studies that do not tell whose they are."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from tips_med.encoders.study import EncodedStudy


def key_of(study: EncodedStudy, secret: bytes) -> str:
    """The name of a study in an archive: a keyed hash of its Series Instance UID, or of its voxels where it has none.

    The same scan gets the same key however its file is called, and whatever weights encoded it. Who does not have the
    secret can neither find a known scan in an archive nor learn from a key whose it is.

    Args:
        study: Encoded study.
        secret: 32 bytes, see ``tips_med.secret.secret_key``.

    Returns:
        32 hexadecimal digits.
    """
    scan = study.scan
    if scan.provenance.series_uid:
        # Volumes of one series (phases) differ in their images.
        images = hashlib.sha256("\n".join(scan.provenance.instance_uids).encode()).hexdigest()
        identity = f"series:{scan.provenance.series_uid}:{images}".encode()
    else:
        content = hashlib.sha256(scan.voxels.tobytes())
        content.update(np.round(scan.lps_from_kji, 4).tobytes())
        identity = b"voxels:" + content.digest()
    return hmac.digest(secret, identity, "sha256").hex()[:32]
