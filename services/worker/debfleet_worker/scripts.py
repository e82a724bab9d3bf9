"""Run an operator's script that signs a file: Pulp's protocol."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from debfleet.db.publications import SigningService
from debfleet.errors import SigningFailed

SCRIPT_SECONDS = 120.0

_LARGEST_ANSWER = 1 << 20
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_script(
    service: SigningService,
    path: Path,
    fingerprint: str,
    correlation_id: str,
    *,
    seconds: float = SCRIPT_SECONDS,
) -> bytes:
    """What the script prints; its one argument is the path of the file, whose folder is its own.

    Raises:
        SigningFailed: It cannot be run, fails, or takes longer; nothing that it started runs on.
    """
    assert service.script is not None
    environment = {
        "PATH": os.environ.get("PATH", _PATH),
        "HOME": os.environ.get("HOME", str(path.parent)),
        "PULP_TEMP_WORKING_DIR": str(path.parent),
        "PULP_SIGNING_KEY_FINGERPRINT": fingerprint,
        "CORRELATION_ID": correlation_id,
    }
    if service.gnupghome:
        environment["GNUPGHOME"] = service.gnupghome
    try:
        process = subprocess.Popen(
            [service.script, str(path)],
            cwd=path.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as e:
        raise SigningFailed(service.name, f"{service.script} cannot be run: {e.strerror}") from None
    with process:
        try:
            answer, complaint = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise SigningFailed(service.name, f"it ran for {seconds:g} seconds") from None
        finally:
            if process.poll() is None:
                # Its children hold its output open: waiting for it alone would wait for them.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        said = complaint.decode("utf-8", "replace").strip()[-500:]
        raise SigningFailed(service.name, f"it ended with {process.returncode}: {said}")
    return answer[:_LARGEST_ANSWER]
