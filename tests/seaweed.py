"""A real S3 server for tests: SeaweedFS from its wheel, on free ports of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from debfleet_cli.ports import free_port
from debfleet_cli.unprivileged import die_with_parent

KEY, SECRET = "debfleet", "a secret for tests"
REGION = "us-east-1"
_PATIENCE = 120.0  # seconds for the start on a busy machine; alone it takes three
_SERVERS = ("master", "volume", "filer", "s3")


def weed_program() -> str | None:
    """The program, where the wheel or the machine has it."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


class Seaweed:
    """One server; an empty place for each who asks."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        ports = [free_port() for _ in range(2 * len(_SERVERS))]
        self._ports = dict(zip(_SERVERS, ports, strict=False))
        config = folder / "s3.json"
        keys = [{"accessKey": KEY, "secretKey": SECRET}]
        config.write_text(
            json.dumps({"identities": [{"name": KEY, "credentials": keys, "actions": ["Admin"]}]})
        )
        flags = ["-filer", "-s3", f"-s3.config={config}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        flags += [f"-dir={folder}", "-volume.max=100", "-master.volumeSizeLimitMB=64"]
        flags += ["-master.telemetry=false", "-volume.preStopSeconds=0", "-s3.port.iceberg=0"]
        flags += ["-s3.port.lance=0", f"-filer.localSocket={folder}/filer.sock"]
        flags += [f"-s3.localSocket={folder}/s3.sock"]
        for name, port, grpc in zip(_SERVERS, ports, ports[len(_SERVERS) :], strict=False):
            # Left to themselves they take the port and 10,000, which may be no port at all.
            flags += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
        self._log = folder / "weed.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, f"-logdir={folder}", "server", *flags], cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=die_with_parent(signal.SIGKILL),
            )  # fmt: skip

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    def bucket(self) -> str:
        """The store URL of an empty place in the one bucket: each bucket would take volumes."""
        self._made += 1
        folder = f"http://127.0.0.1:{self._ports['filer']}/buckets/debs/"
        self._wait_for(lambda: _status(self.endpoint) is not None)
        self._wait_for(lambda: _status(folder, "POST") in (201, 409))  # 409: made a moment ago
        return f"s3://debs/store-{self._made}?endpoint={self.endpoint}&region={REGION}"

    def stop(self) -> None:
        """At once: its own way out takes half a minute, and nothing of it is needed again."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wait_for(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not is_so():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-3000:]
                raise AssertionError(f"SeaweedFS does not serve:\n{tail}")
            time.sleep(0.1)


def _status(url: str, method: str = "GET") -> int | None:
    """The status of an answer, or nothing where nobody answers."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method=method), timeout=10
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code
    except OSError:
        return None
