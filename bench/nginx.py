"""The upstream of the benchmark: an archive behind nginx, near or far away."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import Unavailable, connects, until

from debfleet_cli.ports import free_address

_NGINX = """\
{modules}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr; {user}
events {{ worker_connections 512; }}
http {{
  log_format asked '$status $request_uri'; access_log {folder}/asked.log asked;
  sendfile on; tcp_nopush on; keepalive_requests 1000000; client_body_temp_path {folder};
  proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{ listen {address}; root {root}; {locations} }}
}}
"""
# 50 ms before each answer, and for a package the 100 ms that 100 KB take at 1 MB/s. (limit_rate
# holds nothing back of a file that is smaller than what it allows in a second.)
_SLOW = """\
location / { echo_sleep 0.05; echo_exec @file; }
location /pool/ { echo_sleep 0.15; echo_exec @file; }
location @file { }
"""
_ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


@dataclass(frozen=True)
class Web:
    """A running nginx with an archive."""

    url: str  # with a slash at its end
    log: Path

    def asked(self) -> list[str]:
        """The request lines since the last time."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines


@contextmanager
def web(root: Path, *, slow: bool = False) -> Iterator[Web]:
    """Serve a folder by nginx; ``slow`` as from far away.

    Raises:
        Unavailable: nginx, or for ``slow`` its echo module, is not installed.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise Unavailable("nginx (Debian: nginx-light)")
    if slow and not _ECHO.exists():
        raise Unavailable("nginx's echo module (Debian: libnginx-mod-http-echo)")
    folder = Path(tempfile.mkdtemp(prefix="bench-web-"))
    address = free_address()
    (folder / "nginx.conf").write_text(
        _NGINX.format(
            folder=folder,
            address=address,
            root=root,
            user="user root;" if os.geteuid() == 0 else "",
            modules=f"load_module {_ECHO};" if slow else "",
            locations=_SLOW if slow else "",
        )
    )
    process = subprocess.Popen(
        [program, "-c", str(folder / "nginx.conf"), "-e", "stderr"], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: connects(address), "nginx answers")
        yield Web(f"http://{address}/", folder / "asked.log")
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
