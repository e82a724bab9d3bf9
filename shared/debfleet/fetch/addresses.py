"""Which addresses a remote may lie at, judged on what its name resolved to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from debfleet.config import Network
from debfleet.errors import NetworkRefused

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Link-local, and where clouds hand the machine's own credentials to whoever asks.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "168.63.129.16/32",  # Azure's host agent
        "fd00:ec2::254/128",  # AWS
        "fd20:ce::254/128",  # Google
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def check_address(host: str, address: str, networks: Sequence[Network]) -> None:
    """Refuse an address that ``host`` stands for.

    Raises:
        NetworkRefused: It is link-local or a cloud's metadata service, or in none of ``networks``
            (which allow all when empty).
    """
    meant = _meant(ipaddress.ip_address(address))
    if any(meant in network for network in _NEVER):
        raise NetworkRefused(
            host, address, "link-local and cloud metadata addresses are never fetched from"
        )
    if networks and not any(meant in network for network in networks):
        raise NetworkRefused(host, address, "it is not in DEBFLEET_UPSTREAM_NETWORKS")


def literal_address(host: str) -> str | None:
    """The host as an address, if it is written as one; aiohttp does not resolve those."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return host


class GuardedResolver(AbstractResolver):
    """Resolves names to the addresses that are allowed.

    ``resolve`` raises ``NetworkRefused`` when a name has addresses, but none that is allowed.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See ``AbstractResolver``."""
        allowed: list[ResolveResult] = []
        refusal: NetworkRefused | None = None
        for result in await self._inner.resolve(host, port, family):
            try:
                check_address(host, result["host"], self._networks)
            except NetworkRefused as e:
                refusal = e
            else:
                allowed.append(result)
        if refusal is not None and not allowed:
            raise refusal
        return allowed

    async def close(self) -> None:
        """See ``AbstractResolver``."""
        await self._inner.close()


def _meant(address: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one, where there is one: it is where the packets go."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.scope_id is not None:
        return ipaddress.IPv6Address(int(address))
    return address
