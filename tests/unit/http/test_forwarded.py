"""Who the client is: what a trusted proxy says of it, and nothing that it says itself."""

from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.forwarded import LONGEST_ADDRESS, Networks, client_of, subscriber

TRUSTED: Networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def chain(*forwarded: bytes, peer: str = "10.0.0.1") -> str:
    return client_of([(b"X-Forwarded-For", value) for value in forwarded], peer, TRUSTED).address


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ((), "10.0.0.1"),
        ((b"",), "10.0.0.1"),
        ((b" , ,",), "10.0.0.1"),
        ((b"192.0.2.1",), "192.0.2.1"),
        ((b"198.51.100.9, 192.0.2.1, 10.9.9.9",), "192.0.2.1"),
        ((b"198.51.100.9", b"192.0.2.1", b"10.9.9.9"), "192.0.2.1"),
        ((b"10.2.2.2, 10.3.3.3",), "10.2.2.2"),
        ((b"192.0.2.1, ::ffff:10.3.3.3",), "192.0.2.1"),
        ((b"2001:db8::1, fd00::7",), "2001:db8::1"),
        ((b"198.51.100.9, 192.0.2.1:4711",), "192.0.2.1:4711"),
        ((b"198.51.100.9, 10.3.3.3:4711",), "10.3.3.3:4711"),
        ((b"198.51.100.9, unknown, 10.3.3.3",), "unknown"),
    ],
)
def test_the_client_is_the_nearest_that_no_trusted_proxy_is(
    forwarded: tuple[bytes, ...], address: str
) -> None:
    assert chain(*forwarded) == address


def test_a_peer_by_its_ipv4_mapped_address_is_as_trusted() -> None:
    assert chain(b"192.0.2.1", peer="::ffff:10.0.0.1") == "192.0.2.1"


@given(st.lists(st.binary(max_size=20), max_size=3), st.sampled_from(["192.0.2.7", "", "gone"]))
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(
    forwarded: list[bytes], peer: str
) -> None:
    assert chain(*forwarded, peer=peer) == peer


@given(st.lists(st.binary(max_size=20), max_size=3))
def test_no_garbage_in_a_chain_is_a_fault(forwarded: list[bytes]) -> None:
    client = client_of([(b"X-Forwarded-For", value) for value in forwarded], "10.0.0.1", TRUSTED)
    assert dict(client.forwarded)[b"X-Forwarded-For"].endswith(b"10.0.0.1")


def test_a_trusted_proxy_says_what_the_browser_spoke_and_with_whom() -> None:
    said = [(b"Host", b"inner"), (b"X-Forwarded-Proto", b"HTTPS"), (b"X-Forwarded-Host", b"outer")]
    client = client_of(said, "10.0.0.1", TRUSTED)
    assert (client.scheme, client.host, client.scheme_is_known) == ("https", b"outer", True)
    assert client.forwarded == (
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"outer"),
    )


@pytest.mark.parametrize("said", [[], [(b"X-Forwarded-Proto", b"gopher")]])
def test_a_proxy_that_says_no_scheme_leaves_it_unknown(said: list[tuple[bytes, bytes]]) -> None:
    client = client_of(said, "10.0.0.1", TRUSTED)
    assert (client.scheme, client.scheme_is_known) == ("http", False)


def test_without_a_host_none_is_forwarded() -> None:
    names = [name for name, _ in client_of([], "192.0.2.7", TRUSTED).forwarded]
    assert names == [b"X-Forwarded-For", b"X-Forwarded-Proto"]


@pytest.mark.parametrize(
    ("address", "one"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no address", "no address"),
        ("x" * 1000, "x" * LONGEST_ADDRESS),
    ],
)
def test_limits_hold_for_an_ipv4_address_or_an_ipv6_network(address: str, one: str) -> None:
    assert subscriber(address) == one


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_one_ipv6_network_are_one(address: IPv6Address, host: int) -> None:
    other = IPv6Address(int(address) >> 64 << 64 | host)
    if not address.ipv4_mapped and not other.ipv4_mapped:
        assert subscriber(str(address)) == subscriber(str(other))


@given(st.text())
def test_any_text_is_some_one(text: str) -> None:
    assert len(subscriber(text)) <= LONGEST_ADDRESS
