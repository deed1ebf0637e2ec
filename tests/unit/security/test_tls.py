"""Contexts of the listeners, tried with a real handshake in memory."""

import ssl
from pathlib import Path

import pytest
import trustme

from synaxis.errors import ConfigError
from synaxis.security import tls


class Authority:
    def __init__(self, directory: Path, name: str) -> None:
        self._ca = trustme.CA()
        self._directory = directory / name
        self._directory.mkdir()
        self.path = self._directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.path))

    def issue(self, name: str) -> tuple[Path, Path]:
        issued = self._ca.issue_cert(name)
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "foreign")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ...]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up)
    done: set[int] = set()
    for turn in range(8):
        side = (turn + 1) % 2
        try:
            ends[side].do_handshake()
            done.add(side)
        except ssl.SSLWantReadError:
            continue
    assert done == {0, 1}
    return ends


def test_nodes_of_one_authority_know_each_other_by_name(ours: Authority) -> None:
    server, client = shake_hands(
        tls.peer_side(ours.path, *ours.issue("n1")), tls.client_side(ours.path, *ours.issue("n2"))
    )
    assert server.version() == "TLSv1.3"
    for end, name in ((server, "n2"), (client, "n1")):
        certificate = end.getpeercert()
        assert certificate is not None
        assert tls.names_of(certificate) == {name}


def test_a_caller_of_another_authority_is_refused(ours: Authority, foreign: Authority) -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(
            tls.peer_side(ours.path, *ours.issue("n1")),
            tls.client_side(ours.path, *foreign.issue("n2")),
        )


def test_a_server_of_another_authority_is_refused(ours: Authority, foreign: Authority) -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(
            tls.peer_side(ours.path, *foreign.issue("n1")),
            tls.client_side(ours.path, *ours.issue("n2")),
        )


def test_a_caller_without_a_certificate_is_refused(ours: Authority) -> None:
    anonymous = ssl.create_default_context(cafile=str(ours.path))
    anonymous.check_hostname = False
    with pytest.raises(ssl.SSLError):
        shake_hands(tls.peer_side(ours.path, *ours.issue("n1")), anonymous)


def test_files_that_cannot_be_used_are_named(ours: Authority, tmp_path: Path) -> None:
    certificate, key = ours.issue("n1")
    with pytest.raises(ConfigError, match="nowhere"):
        tls.server_side(tmp_path / "nowhere", key)
    with pytest.raises(ConfigError, match=r"n2\.key"):
        tls.server_side(certificate, ours.issue("n2")[1])
    with pytest.raises(ConfigError, match="peer_ca"):
        tls.peer_side(key, certificate, key)
