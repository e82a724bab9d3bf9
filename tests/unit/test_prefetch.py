"""dramatiq reads its settings when it is imported; ours must be there by then."""

from __future__ import annotations

import subprocess
import sys


def test_dramatiq_fetches_one_message_at_a_time() -> None:
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            "import debfleet.bell, dramatiq.worker; print(dramatiq.worker.QUEUE_PREFETCH)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert seen.stdout.strip() == "1"
