"""Addresses and member lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.config.addresses import Address, parse_address, parse_members, parse_node_id


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:7400", Address("10.0.0.1", 7400)),
        (" localhost:0 ", Address("localhost", 0)),
        ("[::1]:7400", Address("::1", 7400)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "7400", "host", "host:", ":7400", "host:x", "host:-1", "host:65536", "::1:7400"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets|port is"):
        parse_address(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_the_spelling_of_an_address_reads_back(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("10.0.0.1", False),
        ("lo.example", False),
        ("::", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback


@pytest.mark.parametrize("text", ["n1", "lock-manager-1", "N_1.x", "a" * 63])
def test_node_ids_are_plain_names(text: str) -> None:
    assert parse_node_id(text) == text


@pytest.mark.parametrize("text", ["", "-n1", "n 1", "n1\n", "a" * 64, "knöten", "a/b"])
def test_other_node_ids_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no node id"):
        parse_node_id(text)


def test_members_are_read_in_their_order() -> None:
    members = parse_members("n2=b:7401, n1=a:7401,")
    assert list(members.items()) == [("n2", Address("b", 7401)), ("n1", Address("a", 7401))]


def test_an_entry_without_an_id_is_known_by_its_host() -> None:
    assert parse_members("lock-1:8000") == {"lock-1": Address("lock-1", 8000)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("n1=a:1,n1=b:1", "n1 appears twice"), ("n1=a:1,n2=a:1", "n1 and n2 have the same address")],
)
def test_members_share_nothing(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_members(text)
