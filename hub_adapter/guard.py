"""Which addresses a connection may reach: the public Internet, and the private networks an administrator named for it.

`requests-hardened` resolves a name once, refuses private addresses and pins the rest, so that a name cannot turn into
another address between the check and the call. Here it learns a list of exceptions per connection.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = tuple(ipaddress.ip_network(net) for net in (
    "169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128",
    "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"))
"""Where clouds keep their credentials, and IPv4 in the clothes of IPv6 (mapped, NAT64, Teredo, 6to4), which may lead
there; no allow-list opens these."""


class AddressRefused(InvalidIPAddress):  # type: ignore[misc]  # the library ships no types
    """The target's name leads to an address that the connection may not reach."""


def allowed_networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Parse an allow-list of private networks.

    Raises:
        ValueError: no CIDR, not private, or it would open the cloud's metadata address.
    """
    networks = tuple(ipaddress.ip_network(cidr) for cidr in cidrs)
    for network in networks:
        if not network.is_private:
            raise ValueError(f"{network} is not a private network: public addresses need no allowance")
        if any(network.version == closed.version and network.overlaps(closed) for closed in _METADATA):
            raise ValueError(f"{network} holds link-local addresses, which are never allowed")
    return networks


class GuardedAdapter(IPFilterAdapter):  # type: ignore[misc]  # the library ships no types
    """Pins each request to one checked address; private ones only from the allow-list."""

    def __init__(self, https: bool, allowed: tuple[Network, ...], pool_size: int) -> None:
        super().__init__(is_https_proto=https)
        self._allowed = allowed
        self.init_poolmanager(pool_size, pool_size)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> tuple[Any, Any]:
        host, pool = map(dict, HTTPAdapter.build_connection_pool_key_attributes(self, request, verify, cert))
        name = str(host["host"])
        if (address := self._allowed_address(name)) is None:
            try:
                return super().build_connection_pool_key_attributes(request, verify, cert)  # type: ignore[no-any-return]
            except InvalidIPAddress as refused:
                may_be_opened = all(
                    a.is_private and not any(a in closed for closed in _METADATA) for a in _addresses(name.strip("[]"))
                )
                advice = ": name its network in the setting allow_private" if may_be_opened else ""
                raise AddressRefused(
                    f"{name} leads to {refused}, a private address that this connection does not allow{advice}"
                ) from None
        port = f":{host['port']}" if host.get("port") else ""
        request.headers["Host"] = f"[{name}]{port}" if ":" in name else f"{name}{port}"
        if self._is_https_proto:
            pool |= {"assert_hostname": name, "server_hostname": name}
        return host | {"host": f"[{address}]" if address.version == 6 else str(address)}, pool

    def _allowed_address(self, name: str) -> Address | None:
        """The allow-listed address of a name, if it has one; IPv4 first, since `localhost` often listens only there."""
        if not self._allowed:
            return None
        return next((a for a in _addresses(name.strip("[]")) if any(a in network for network in self._allowed)), None)


def _addresses(name: str) -> list[Address]:
    """The addresses of a name, IPv4 first; of one that is written out, itself; none if it cannot be resolved."""
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({ipaddress.ip_address(entry[4][0]) for entry in found}, key=lambda a: (a.version, int(a)))
