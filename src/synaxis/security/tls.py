"""TLS contexts of the two listeners. Peers authenticate each other with the cluster's own CA."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synaxis.errors import ConfigError

__all__ = ["client_side", "names_of", "peer_side", "server_side"]


def server_side(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of the client listener.

    Raises:
        ConfigError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, certificate, key)
    return context


def peer_side(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of the peer listener: only certificates of ``authority`` may call."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, certificate, key)
    _trust(context, authority)
    return context


def client_side(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context for dialling peers.

    Addresses are not checked, because a node may be dialled by any: certificates of peers name
    node ids (``names_of``), and whoever uses a link compares them with the node it means.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, certificate, key)
    _trust(context, authority)
    return context


def names_of(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return whom a verified certificate names: its DNS names, without any its common name.

    Args:
        certificate: as ``ssl.SSLSocket.getpeercert()`` returns it.
    """
    names = frozenset(
        value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"
    )
    return names or frozenset(
        value
        for attributes in certificate.get("subject", ())
        for kind, value in attributes
        if kind == "commonName"
    )


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use certificate {certificate} with key {key}: {error}"
        ) from error


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"peer_ca: cannot use {authority}: {error}") from error
