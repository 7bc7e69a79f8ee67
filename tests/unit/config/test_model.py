"""The frozen types of a configuration say what an upstream is called, and keep the secret."""

from dataclasses import FrozenInstanceError

import pytest

from gateway.config.model import Auth, Config, Route, Timeouts, Upstream


@pytest.mark.parametrize(
    ("upstream", "authority"),
    [
        (Upstream("", "http", "service", 80), "service"),
        (Upstream("", "http", "service", 8080), "service:8080"),
        (Upstream("", "http", "service", 443), "service:443"),
        (Upstream("", "https", "service", 443), "service"),
        (Upstream("", "https", "service", 80), "service:80"),
        (Upstream("", "http", "::1", 80), "[::1]"),
        (Upstream("", "https", "2001:db8::7", 8443), "[2001:db8::7]:8443"),
        (Upstream("", "unix", socket_path="/run/service.sock"), "localhost"),
    ],
)
def test_the_authority_names_the_port_only_where_it_is_not_the_schemes_own(
    upstream: Upstream, authority: str
) -> None:
    assert upstream.authority == authority


def test_the_secret_is_not_shown_with_the_configuration() -> None:
    config = Config((), Auth(secret="not to be told"))
    assert "not to be told" not in repr(config)
    assert "not to be told" not in str(config)


def test_no_exchange_is_cut_for_being_long_and_no_stream_for_being_silent_by_default() -> None:
    bounds = Timeouts()
    assert (bounds.total, bounds.idle, bounds.stream_idle) == (None, 60.0, None)
    assert (bounds.connect, bounds.first_byte, bounds.send) == (5.0, 30.0, 60.0)


def test_a_route_asks_for_a_token_by_default() -> None:
    assert Route("/", (), Upstream("")).auth_required


def test_a_route_has_its_first_upstream_and_the_others_of_its_list() -> None:
    one, other = Upstream("http://a"), Upstream("http://b")
    assert Route("/", (), one).upstreams == (one,)
    assert Route("/", (), one, others=(other,)).upstreams == (one, other)


def test_what_was_loaded_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Auth().bearer = False  # type: ignore[misc] # that it is frozen is what is tested
