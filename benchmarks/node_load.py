"""Load of the node: 50 studies pushed by 4 senders, the node killed twice; every study must be answered exactly once.

    python -m benchmarks.node_load

The answerer does no inference: what is measured is the queue, the disk and the network.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.serving.node.load import answers_under_load

STUDIES = 50


def main() -> int:
    """Runs it, and prints what was found.

    Returns:
        0 when every study was answered exactly once.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        answers = answers_under_load(Path(folder), STUDIES, kill_after=(10, 25))
        seconds = time.monotonic() - began
    twice = sum(count > 1 for count in answers.values())
    print(f"{len(answers)} of {STUDIES} studies answered, {twice} more than once, two kills, {seconds:.0f} s")
    return 0 if len(answers) == STUDIES and not twice else 1


if __name__ == "__main__":
    sys.exit(main())
