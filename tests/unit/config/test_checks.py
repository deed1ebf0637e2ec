"""What several settings must agree on."""

import pytest

from synaxis.config import load_settings
from synaxis.errors import ConfigError

THREE = "n1=10.0.0.1:7401,n2=10.0.0.2:7401,n3=10.0.0.3:7401"
SAFE_PEERS = {"peer_ca": "ca.pem", "peer_cert": "n1.pem", "peer_key": "n1.key"}
SAFE_API = {"tls_cert": "api.pem", "tls_key": "api.key", "api_keys_file": "keys"}


@pytest.mark.parametrize(
    ("flags", "setting", "reason"),
    [
        ({"cluster": THREE}, "node_id", "is required"),
        ({"join": "http://a:1"}, "node_id", "is required"),
        ({"cluster": THREE, "node_id": "n4"}, "node_id", "n4 is not among the ids"),
        ({"cluster": "n1=a:1,n1=b:1", "node_id": "n1"}, "cluster", "n1 appears twice"),
        ({"cluster": "n1=a:1,n2=a:1", "node_id": "n1"}, "cluster", "the same address"),
        ({"cluster": THREE, "join": "http://a:1", "node_id": "n1"}, "join", "not both"),
        ({"join": "a:1", "node_id": "n4"}, "join", "must be a URL"),
        ({"election_timeout_ms_max": 600}, "election_timeout_ms_max", "at least 1.3 times"),
        ({"heartbeat_ms": 200}, "heartbeat_ms", "at most a third"),
        ({"inflight_bytes_max": 4096}, "inflight_bytes_max", "never fit"),
        ({"session_ttl_ms_max": 500}, "session_ttl_ms_max", "less than session_ttl_ms_min"),
        ({"listen": "127.0.0.1:7401"}, "peer_listen", "also the address of listen"),
        ({"listen": "0.0.0.0:7400"}, "listen", "without TLS and authentication"),
        ({"peer_listen": "10.0.0.1:7401"}, "peer_listen", "set peer_ca, peer_cert and peer_key"),
        ({"tls_cert": "a"}, "tls_key", "only useful together"),
        ({"peer_ca": "a", "peer_key": "b"}, "peer_cert", "only useful together"),
        (
            {"node_id": "n4", "join": "http://a:1", "peer_listen": "0.0.0.0:7401", **SAFE_PEERS},
            "peer_advertise",
            "nobody can dial",
        ),
        (
            {"node_id": "n4", "join": "http://a:1", "listen": "[::]:7400", **SAFE_API},
            "advertise",
            "which nobody can dial",
        ),
    ],
)
def test_a_combination_that_cannot_work_is_refused(
    flags: dict[str, object], setting: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        load_settings(flags)
    assert setting in caught.value.details["settings"]


def test_a_predecessors_id_that_differs_from_its_host_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Defect R4: such a node was its own peer, voted twice and counted n + 1 members."""
    monkeypatch.setenv("NODE_ID", "lock-1")
    monkeypatch.setenv("CLUSTER_NODES", "lock-manager-1:8000,lock-manager-2:8000")
    with pytest.raises(ConfigError, match="would count itself twice"):
        load_settings({"i_know_this_is_insecure": True})


def test_other_addresses_than_loopback_are_fine_with_tls_and_keys() -> None:
    settings = load_settings(
        {"node_id": "n1", "cluster": THREE, "listen": "10.0.0.1:7400", **SAFE_PEERS, **SAFE_API}
    )
    assert settings.api_url == "https://10.0.0.1:7400"


def test_tls_without_keys_does_not_open_the_api() -> None:
    with pytest.raises(ConfigError, match="api_keys_file"):
        load_settings({"listen": "10.0.0.1:7400", "tls_cert": "a", "tls_key": "b"})


def test_the_override_opens_everything() -> None:
    settings = load_settings(
        {"listen": "0.0.0.0:7400", "peer_listen": "0.0.0.0:7401", "i_know_this_is_insecure": "true"}
    )
    assert settings.listen_address.is_wildcard


def test_a_members_own_entry_is_where_it_listens_for_peers() -> None:
    settings = load_settings(
        {"node_id": "n2", "cluster": "n1=127.0.0.1:1,n2=127.0.0.1:2", "listen": "127.0.0.1:3"}
    )
    assert str(settings.peer_listen_address) == "127.0.0.1:2"
    assert str(settings.peer_advertised) == "127.0.0.1:2"


def test_port_zero_twice_is_no_clash() -> None:
    load_settings({"listen": "127.0.0.1:0", "peer_listen": "127.0.0.1:0"})


@pytest.mark.parametrize(
    ("given", "url"),
    [("db.example:7400", "http://db.example:7400"), ("https://a.example/", "https://a.example")],
)
def test_clients_are_told_the_advertised_url(given: str, url: str) -> None:
    assert load_settings({"advertise": given}).api_url == url
