"""What several settings must agree on; each finding names the settings and what is allowed."""

from collections.abc import Iterator
from typing import NamedTuple

from synaxis.config.addresses import Address
from synaxis.config.settings import Settings

__all__ = ["Problem", "problems"]


class Problem(NamedTuple):
    """One thing that is wrong: the setting to change first, and the sentence for people."""

    setting: str
    message: str


def problems(settings: Settings) -> list[Problem]:
    """Return everything that is wrong with the combination; empty when all is well."""
    return [
        *_identity(settings),
        *_times_and_sizes(settings),
        *_addresses(settings),
        *_security(settings),
    ]


def _identity(settings: Settings) -> Iterator[Problem]:
    if settings.cluster and settings.join:
        yield Problem("join", "give either cluster (the first members) or join, not both")
    if (settings.cluster or settings.join) and not settings.node_id:
        yield Problem("node_id", "is required with cluster or join: this node's own name")
    members = settings.members
    if settings.node_id and members and settings.node_id not in members:
        known = ", ".join(members)
        yield Problem(
            "node_id",
            f"{settings.node_id} is not among the ids in cluster ({known}); a node that does not "
            "find itself there would count itself twice",
        )
    if settings.join and not settings.join.startswith(("http://", "https://")):
        yield Problem("join", "must be a URL such as http://10.0.0.1:7400")


def _times_and_sizes(settings: Settings) -> Iterator[Problem]:
    shortest, longest = settings.election_timeout_ms_min, settings.election_timeout_ms_max
    if longest * 10 < shortest * 13:
        yield Problem(
            "election_timeout_ms_max",
            f"{longest} must be at least 1.3 times election_timeout_ms_min ({shortest}), "
            "or elections keep splitting the vote",
        )
    if settings.heartbeat_ms * 3 > shortest:
        yield Problem(
            "heartbeat_ms",
            f"{settings.heartbeat_ms} must be at most a third of "
            f"election_timeout_ms_min ({shortest}), or one lost heartbeat costs the leader",
        )
    if settings.inflight_bytes_max < settings.append_bytes_max:
        yield Problem(
            "inflight_bytes_max",
            f"{settings.inflight_bytes_max} is less than append_bytes_max "
            f"({settings.append_bytes_max}), so that one message would never fit",
        )
    if settings.session_ttl_ms_min > settings.session_ttl_ms_max:
        yield Problem(
            "session_ttl_ms_max",
            f"{settings.session_ttl_ms_max} is less than session_ttl_ms_min "
            f"({settings.session_ttl_ms_min})",
        )


def _addresses(settings: Settings) -> Iterator[Problem]:
    api, peer = settings.listen_address, settings.peer_listen_address
    if api == peer and api.port:
        yield Problem(
            "peer_listen",
            f"{peer} is also the address of listen; clients and peers need a port each "
            "(the addresses in cluster are peer addresses)",
        )
    clustered = bool(settings.cluster or settings.join)
    if clustered and settings.peer_advertised.is_wildcard:
        yield Problem(
            "peer_advertise",
            f"{settings.peer_advertised} stands for every interface and nobody can dial it; "
            "say under which host:port the other nodes reach this one",
        )
    if clustered and not settings.advertise and api.is_wildcard:
        yield Problem(
            "advertise",
            f"listen is {api}, which nobody can dial; say under which URL clients reach this node",
        )


def _security(settings: Settings) -> Iterator[Problem]:
    yield from _together(settings, ("tls_cert", "tls_key"))
    yield from _together(settings, ("peer_ca", "peer_cert", "peer_key"))
    if settings.i_know_this_is_insecure:
        return
    api_safe = settings.tls_cert is not None and settings.api_keys_file is not None
    peer_safe = settings.peer_ca is not None
    if not settings.listen_address.is_loopback and not api_safe:
        yield _exposed("listen", settings.listen_address, "tls_cert, tls_key and api_keys_file")
    if not settings.peer_listen_address.is_loopback and not peer_safe:
        yield _exposed(
            "peer_listen", settings.peer_listen_address, "peer_ca, peer_cert and peer_key"
        )


def _together(settings: Settings, names: tuple[str, ...]) -> Iterator[Problem]:
    missing = [name for name in names if getattr(settings, name) is None]
    if missing and len(missing) < len(names):
        yield Problem(missing[0], f"{', '.join(names)} are only useful together")


def _exposed(setting: str, address: Address, needed: str) -> Problem:
    return Problem(
        setting,
        f"{address} can be reached from other machines without TLS and authentication; "
        f"set {needed}, or listen on 127.0.0.1",
    )
