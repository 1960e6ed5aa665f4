"""Load of the node: 100 studies pushed by 8 senders, the node killed five times at random; each answered exactly once.

    python -m benchmarks.node_load [SEED]

The answerer is a stub that does no inference: what is measured is the queue, the disk and the network.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from tests.serving.node.load import answers_under_load

STUDIES, SENDERS, KILLS = 100, 8, 5


def main() -> int:
    """Runs it, and prints what was found.

    Returns:
        0 when every study was answered exactly once.
    """
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    chance = random.Random(seed)
    kill_after = sorted(chance.sample(range(STUDIES - 5), KILLS))
    waits_s = [chance.uniform(0, 1) for _ in kill_after]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        answers = answers_under_load(Path(folder), STUDIES, kill_after, SENDERS, waits_s)
        seconds = time.monotonic() - began
    twice = sum(count > 1 for count in answers.values())
    print(
        f"{len(answers)} of {STUDIES} studies answered, {twice} more than once; {SENDERS} senders, the node killed "
        f"after {', '.join(map(str, kill_after))} answers (seed {seed}), no inference, {seconds:.0f} s"
    )
    return 0 if len(answers) == STUDIES and not twice else 1


if __name__ == "__main__":
    sys.exit(main())
