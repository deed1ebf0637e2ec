"""Addresses in settings: ``host:port``, lists of members, and what counts as loopback."""

import ipaddress
import re
from typing import NamedTuple

from synaxis.ids import NodeId

__all__ = ["NODE_ID_PATTERN", "Address", "parse_address", "parse_members", "parse_node_id"]

NODE_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


class Address(NamedTuple):
    """Where to bind or dial; an IPv6 host is held without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the spelling that ``parse_address`` takes."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a name other than localhost counts as not."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every interface, so that nobody can dial it."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Read ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: with what is allowed.
    """
    host, separator, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        msg = f"{text!r}: write an IPv6 address in brackets, as in [::1]:7400"
        raise ValueError(msg)
    if not separator or not host or not port.isascii() or not port.isdigit():
        msg = f"{text!r} is not host:port"
        raise ValueError(msg)
    if int(port) > 65535:
        msg = f"{text!r}: a port is a number from 0 to 65535"
        raise ValueError(msg)
    return Address(host, int(port))


def parse_node_id(text: str) -> NodeId:
    """Read a node's name.

    Raises:
        ValueError: with what is allowed.
    """
    if not re.fullmatch(NODE_ID_PATTERN, text):
        msg = (
            f"{text!r} is no node id: 1 to 63 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
        raise ValueError(msg)
    return NodeId(text)


def parse_members(text: str) -> dict[NodeId, Address]:
    """Read ``n1=host:port,n2=host:port``; an entry without an id is known by its host.

    The bare form exists for the predecessor's CLUSTER_NODES. A host is not an identity, so the
    caller must still find its own id in the result.

    Raises:
        ValueError: an entry is malformed, or two entries share an id or an address.
    """
    members: dict[NodeId, Address] = {}
    owners: dict[Address, NodeId] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, separator, place = entry.partition("=")
        address = parse_address(place if separator else entry)
        node_id = parse_node_id(name.strip() if separator else address.host)
        if node_id in members:
            msg = f"the id {node_id} appears twice"
            raise ValueError(msg)
        if address in owners:
            msg = f"{owners[address]} and {node_id} have the same address {address}"
            raise ValueError(msg)
        members[node_id] = address
        owners[address] = node_id
    return members
