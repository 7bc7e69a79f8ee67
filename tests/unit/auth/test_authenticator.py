"""The token is found, verified and turned into an identity, and nothing hostile passes."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth.authenticator import Authenticator, Identity, require_scopes
from gateway.auth.credentials import TokenSource
from gateway.config.model import MAX_TOKEN, Auth
from gateway.http import errors
from gateway.http.errors import Failure, Rejection

T = TypeVar("T")
SECRET = "a secret of thirty-two bytes, yes"
PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
PEM = serialization.Encoding.PEM


def public_pem(private_key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(private_key.public_key().public_bytes(PEM, form).decode())


def private_pem(private_key: Any) -> str:
    form, locked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return str(private_key.private_bytes(PEM, form, locked).decode())


def claims(**more: Any) -> dict[str, Any]:
    """Claims that outlive a run of the tests: some are made when the tests are collected."""
    return {"sub": "ada", "exp": int(time.time()) + 3600} | more


def signed(payload: dict[str, Any] | None = None, **header: Any) -> bytes:
    return jwt.encode(payload or claims(), SECRET, "HS256", header).encode()


def segment(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def raw(header: bytes, payload: bytes, key: bytes = SECRET.encode()) -> bytes:
    """Sign any bytes at all with HMAC-SHA256, as no library would."""
    signing_input = segment(header) + b"." + segment(payload)
    return signing_input + b"." + segment(hmac.digest(key, signing_input, hashlib.sha256))


HS256 = b'{"alg":"HS256"}'


def identify(
    authorization: Sequence[bytes] = (),
    query: bytes = b"",
    cookies: Sequence[bytes] = (),
    *,
    query_name: str | None = "token",
    **auth: Any,
) -> Identity:
    authenticator = Authenticator(Auth(**({"secret": SECRET, "query": query_name} | auth)))
    return authenticator.authenticate(authorization=authorization, query=query, cookies=cookies)


def bearer(token: bytes, **auth: Any) -> Identity:
    return identify([b"Bearer " + token], **auth)


def refusal(call: Callable[[], object], failure: Failure) -> Rejection:
    with pytest.raises(Rejection) as caught:
        call()
    assert caught.value.failure is failure
    return caught.value


def outcome(call: Callable[[], T]) -> T | Failure:
    """Give what the call returns, or why it refused. Anything else that it raises is a fault."""
    try:
        return call()
    except Rejection as found:
        return found.failure


def refused(token: bytes, failure: Failure = errors.TOKEN_INVALID, **auth: Any) -> Rejection:
    """Expect a refusal that shows no part of the token, neither to the client nor to the log."""
    found = refusal(lambda: bearer(token, **auth), failure)
    reported = found.detail + found.reason
    assert not any(part in reported for part in token.decode("latin-1").split(".") if len(part) > 9)
    return found


# Finding


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ({"authorization": [b"Bearer %s"]}, TokenSource.AUTHORIZATION),
        ({"authorization": [b"bEARER   %s "]}, TokenSource.AUTHORIZATION),
        ({"authorization": [b"Basic %.0s", b"Bearer %s"]}, TokenSource.AUTHORIZATION),
        ({"query": b"token=%s"}, TokenSource.QUERY),
        ({"query": b"a=1&&%%74oke%%6E=%s&b"}, TokenSource.QUERY),
        ({"authorization": [b"Basic %s"], "query": b"token=%s"}, TokenSource.QUERY),
        ({"cookies": [b"gateway_token=%s"]}, TokenSource.COOKIE),
        ({"cookies": [b"a=1; gateway_token=%s; b=2"]}, TokenSource.COOKIE),
        ({"cookies": [b"a=%.0s", b'b;gateway_token="%s"']}, TokenSource.COOKIE),
    ],
)
def test_a_token_is_found_in_each_of_its_places(place: Any, source: TokenSource) -> None:
    token = signed()
    filled: dict[str, Any] = {
        name: value % token if isinstance(value, bytes) else [one % token for one in value]
        for name, value in place.items()
    }
    identity = identify(**filled)
    assert (identity.subject, identity.source) == ("ada", source)


def test_a_parameter_name_with_a_space_is_found_in_both_its_encodings() -> None:
    for query in (b"my+token=" + signed(), b"my%20token=" + signed()):
        assert identify(query=query, query_name="my token").subject == "ada"


def test_a_percent_encoded_token_in_the_query_is_decoded() -> None:
    encoded = b"".join(b"%%%02x" % byte for byte in signed())
    assert identify(query=b"token=" + encoded).subject == "ada"


def test_the_first_token_present_decides_also_when_it_is_bad() -> None:
    good, bad = signed(), b"bad"
    cookies = [b"gateway_token=" + good]
    refusal(lambda: identify([b"Bearer " + bad], b"token=" + good, cookies), errors.TOKEN_INVALID)
    refusal(lambda: identify(query=b"token=" + bad, cookies=cookies), errors.TOKEN_INVALID)
    refusal(lambda: identify(query=b"token=", cookies=cookies), errors.TOKEN_INVALID)
    refusal(lambda: identify(query=b"token", cookies=cookies), errors.TOKEN_INVALID)
    refusal(lambda: identify([b"Bearer"], cookies=cookies), errors.TOKEN_INVALID)
    assert identify([b"Bearer " + good], b"token=" + bad).source is TokenSource.AUTHORIZATION


def test_a_token_that_comes_twice_in_one_place_is_refused() -> None:
    token = signed()
    for twice in (
        {"authorization": [b"Bearer " + token] * 2},
        {"query": b"token=" + token + b"&toke%6e=" + token},
        {"cookies": [b"gateway_token=" + token] * 2},
        {"cookies": [b"gateway_token=" + token + b";gateway_token=" + token]},
    ):
        found = refusal(lambda given=twice: identify(**given), errors.TOKEN_INVALID)  # type: ignore[misc]
        assert "exactly one" in found.detail


def test_a_request_without_a_token_gets_every_place_to_send_it() -> None:
    found = refusal(identify, errors.TOKEN_MISSING)
    assert all(place in found.detail for place in ("Bearer", "?token=", "'gateway_token'"))


def test_a_place_that_is_switched_off_is_not_looked_at() -> None:
    token = signed()
    everywhere = ([b"Bearer " + token], b"token=" + token, [b"gateway_token=" + token])
    off: dict[str, Any] = {"bearer": False, "query_name": None, "cookie": None}
    found = refusal(lambda: identify(*everywhere, **off), errors.TOKEN_MISSING)
    assert "Bearer" not in found.detail
    assert identify(*everywhere, **(off | {"cookie": "gateway_token"})).source == "cookie"


# Verifying


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_a_token_signed_with_a_private_key_is_verified_with_its_public_one(algorithm: str) -> None:
    key = PRIVATE_KEYS[algorithm]
    token = jwt.encode(claims(), key, algorithm).encode()
    auth: dict[str, Any] = {
        "secret": None,
        "public_key": public_pem(key),
        "algorithms": (algorithm,),
    }
    assert bearer(token, **auth).subject == "ada"
    refused(token[:-12] + b"A" * 12, **auth)
    refused(signed(), **auth)


def test_each_algorithm_is_bound_to_its_own_key() -> None:
    rsa_key = PRIVATE_KEYS["RS256"]
    both: dict[str, Any] = {"public_key": public_pem(rsa_key), "algorithms": ("HS256", "RS256")}
    assert bearer(signed(), **both).subject == "ada"
    assert bearer(jwt.encode(claims(), rsa_key, "RS256").encode(), **both).subject == "ada"
    refused(raw(HS256, json.dumps(claims()).encode(), public_pem(rsa_key).encode()), **both)


def test_a_public_key_is_never_taken_for_an_hmac_secret() -> None:
    pem = public_pem(PRIVATE_KEYS["RS256"])
    token = raw(HS256, json.dumps(claims()).encode(), pem.encode())
    refused(token, secret=None, public_key=pem, algorithms=("RS256",))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", " none", None, 0, [], ["HS256"]]
)
def test_a_token_that_claims_no_algorithm_is_refused(alg: Any) -> None:
    header, payload = json.dumps({"alg": alg}).encode(), json.dumps(claims()).encode()
    refused(segment(header) + b"." + segment(payload) + b".")
    refused(raw(header, payload))


def test_a_token_without_an_algorithm_is_refused() -> None:
    refused(raw(b"{}", json.dumps(claims()).encode()))


def test_another_algorithm_with_the_right_secret_is_refused() -> None:
    long_secret = SECRET * 2
    token = jwt.encode(claims(), long_secret, "HS512").encode()
    found = refused(token, secret=long_secret)
    assert "algorithm" in found.detail
    assert bearer(token, secret=long_secret, algorithms=("HS256", "HS512")).subject == "ada"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_token_that_brings_its_own_key_is_refused_however_well_it_is_signed(name: str) -> None:
    assert "own key" in refused(signed(None, **{name: "https://evil.example/k"})).detail


@pytest.mark.parametrize("header", [{"crit": ["x"], "x": 1}, {"crit": []}, {"crit": "b64"}])
def test_a_critical_extension_that_is_not_understood_is_refused(header: dict[str, Any]) -> None:
    refused(raw(json.dumps({"alg": "HS256"} | header).encode(), json.dumps(claims()).encode()))


def test_a_detached_payload_is_refused() -> None:
    header = b'{"alg":"HS256","b64":false,"crit":["b64"]}'
    refused(raw(header, json.dumps(claims()).encode()))
    refused(raw(header, b""))


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1 --", "\0", "https://evil.example"])
def test_a_key_id_chooses_no_key(kid: str) -> None:
    assert bearer(signed(None, kid=kid)).subject == "ada"
    payload = json.dumps(claims()).encode()
    header = json.dumps({"alg": "HS256", "kid": kid}).encode()
    refused(raw(header, payload, key=b""))


@pytest.mark.parametrize("kid", [b"1", b"null", b"{}"])
def test_a_key_id_that_is_no_string_is_refused(kid: bytes) -> None:
    refused(raw(b'{"alg":"HS256","kid":%b}' % kid, json.dumps(claims()).encode()))


def test_every_truncation_of_a_token_is_refused() -> None:
    token = signed()
    for length in range(1, len(token)):
        refused(token[:length])


@pytest.mark.parametrize(
    "mangle", ["{}.", ".{}", "{}.a", "{}\x80", "{} ", "a.{}", "{}, {}", "{}\n.."]
)
def test_a_token_with_anything_more_around_it_is_refused(mangle: str) -> None:
    token = signed()
    value = mangle.encode("latin-1").replace(b"{}", token)
    refusal(lambda: identify(cookies=[b'gateway_token="' + value + b'"']), errors.TOKEN_INVALID)


def test_a_token_over_the_limit_is_refused_before_it_is_parsed() -> None:
    long = signed(claims(pad="x" * 7000))
    assert len(long) > MAX_TOKEN
    assert str(MAX_TOKEN) in refused(long).detail
    assert bearer(signed(claims(pad="x" * 4000))).subject == "ada"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"exp":',
        b"[" * 5000,
        b'{"exp":' + b"[" * 5000,
        b'{"exp":' + b"9" * 5000 + b"}",
    ],
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    refused(raw(HS256, payload))


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b"\xff", b"[" * 5000, b'{"alg":'])
def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    refused(raw(header, json.dumps(claims()).encode()))


def test_of_a_doubled_key_the_last_one_holds() -> None:  # RFC 7519, 4
    expired = b'{"exp":%d,"exp":%d}' % (time.time() + 60, time.time() - 60)
    refused(raw(HS256, expired), errors.TOKEN_EXPIRED)
    refused(raw(b'{"alg":"HS256","alg":"none"}', json.dumps(claims()).encode()))


# Claims


def test_a_token_without_exp_is_refused() -> None:
    assert '"exp"' in refused(signed({"sub": "ada"})).detail


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "date", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400, '"1"', "true", "null", "[]", "{}"]
)
def test_a_date_that_is_no_date_is_refused(name: str, date: str) -> None:
    payload = json.dumps(claims())[:-1] + f',"{name}":{date}}}'
    assert f'"{name}"' in refused(raw(HS256, payload.encode())).detail


def test_an_exp_in_milliseconds_is_refused() -> None:
    assert "seconds" in refused(signed(claims(exp=int(time.time() * 1000)))).detail


def test_exp_may_be_a_fraction_and_is_kept_in_seconds() -> None:
    exp = time.time() + 60.25
    assert bearer(signed(claims(exp=exp))).expires_at == exp


def test_an_expired_token_has_another_code_than_an_invalid_one() -> None:
    assert "expired" in refused(signed(claims(exp=time.time() - 60)), errors.TOKEN_EXPIRED).detail
    refused(signed(claims(exp=-1)), errors.TOKEN_EXPIRED)


def test_the_leeway_forgives_clocks_that_differ() -> None:
    now = time.time()
    late, early = signed(claims(exp=now - 20)), signed(claims(nbf=now + 20, iat=now + 20))
    assert bearer(late, leeway=30.0).subject == bearer(early, leeway=30.0).subject == "ada"
    refused(late, errors.TOKEN_EXPIRED, leeway=10.0)
    refused(early, leeway=10.0)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused(name: str) -> None:
    assert "not valid yet" in refused(signed(claims(**{name: time.time() + 60}))).detail


def test_a_token_of_another_issuer_is_refused() -> None:
    assert bearer(signed(claims(iss="us")), issuer="us").subject == "ada"
    assert "issuer" in refused(signed(claims(iss="them")), issuer="us").detail
    assert '"iss"' in refused(signed(), issuer="us").detail
    refused(raw(HS256, json.dumps(claims(iss=["us"])).encode()), issuer="us")


def test_a_token_for_another_audience_is_refused() -> None:
    ours: dict[str, Any] = {"audience": ("web", "app")}
    assert bearer(signed(claims(aud="app")), **ours).subject == "ada"
    assert bearer(signed(claims(aud=["x", "web"])), **ours).subject == "ada"
    assert "audience" in refused(signed(claims(aud="x")), **ours).detail
    assert '"aud"' in refused(signed(), **ours).detail
    refused(signed(claims(aud={"web": 1})), **ours)


def test_any_audience_will_do_where_none_is_configured() -> None:
    assert bearer(signed(claims(aud="whoever"))).subject == "ada"


@pytest.mark.parametrize("subject", [1, None, ["ada"], "ada\n", "a\0", "\x1b[2J", "\ud800"])
def test_a_subject_that_a_log_could_not_show_is_refused(subject: Any) -> None:
    refused(raw(HS256, json.dumps(claims(sub=subject)).encode()))


def test_a_token_without_a_subject_has_an_empty_one() -> None:
    assert bearer(signed({"exp": time.time() + 60})).subject == ""


# Scopes


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ({}, set()),
        ({"scope": "read  write"}, {"read", "write"}),
        ({"scp": ["read", "write", 1]}, {"read", "write"}),
        ({"scopes": "read"}, {"read"}),
        ({"scope": "a", "scp": ["b"], "scopes": ["c"]}, {"a", "b", "c"}),
        ({"scope": None, "scp": 5, "scopes": {"admin": True}}, set()),
    ],
)
def test_scopes_are_the_union_of_the_claims_in_use(
    granted: dict[str, Any], expected: set[str]
) -> None:
    assert bearer(signed(claims(**granted))).scopes == expected


def test_a_missing_scope_is_named() -> None:
    identity = bearer(signed(claims(scope="read")))
    require_scopes(identity, ["read"])
    require_scopes(identity, [])
    found = refusal(lambda: require_scopes(identity, ["write", "read"]), errors.SCOPE_MISSING)
    assert "write" in found.detail
    assert "read" not in found.detail


# Forwarded claims


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("ada", b"ada"),
        ("Zoë", "Zoë".encode()),
        ("", b""),
        (7, b"7"),
        (True, b"true"),
        (False, b"false"),
        (["a", "b c"], b"a,b c"),
        ([], b""),
    ],
)
def test_a_claim_goes_on_as_a_header(value: Any, header: bytes) -> None:
    identity = bearer(signed(claims(role=value)), forward_claims=(("role", "X-Role"),))
    assert identity.headers == ((b"X-Role", header),)


def test_a_claim_that_is_missing_or_null_is_left_out() -> None:
    forward = (("sub", "X-User-Id"), ("role", "X-Role"), ("team", "X-Team"))
    identity = bearer(signed(claims(role=None)), forward_claims=forward)
    assert identity.headers == ((b"X-User-Id", b"ada"),)


@pytest.mark.parametrize(
    "value",
    [
        *("a\r\nX-Admin: 1", "a\0", "\x7f", "\x85", "\ud800", " ada", "ada ", 1.5, {"a": 1}),
        *(["a", 1], ["a,admin"], ["a\n"], [" a"], [["a"]]),
    ],
)
def test_a_claim_that_a_service_would_read_otherwise_is_refused(value: Any) -> None:
    token = raw(HS256, json.dumps(claims(role=value)).encode())
    assert '"role"' in refused(token, forward_claims=(("role", "X-Role"),)).detail


# Keys


def test_without_any_key_no_token_is_accepted() -> None:
    refused(signed(), secret=None)


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"secret": "x" * 31}, "too short"),
        ({"secret": "x" * 63, "algorithms": ("HS512",)}, "too short"),
        ({"secret": ""}, "auth.secret"),
        ({"secret": public_pem(PRIVATE_KEYS["RS256"])}, "asymmetric"),
        ({"secret": SECRET, "algorithms": ("RS256",)}, "needs auth.public_key"),
        ({"public_key": public_pem(PRIVATE_KEYS["RS256"])}, "needs auth.secret"),
        ({"public_key": "nonsense", "algorithms": ("RS256",)}, "does not serve RS256"),
        ({"public_key": "nonsense", "algorithms": ("ES256",)}, "does not serve ES256"),
        ({"public_key": "nonsense", "algorithms": ("EdDSA",)}, "does not serve EdDSA"),
        ({"public_key": "nonsense", "algorithms": ("none",)}, "does not serve none"),
        ({"public_key": "nonsense", "algorithms": ("XX256",)}, "does not serve XX256"),
        (
            {"public_key": public_pem(PRIVATE_KEYS["ES256"]), "algorithms": ("RS256",)},
            "does not serve RS256",
        ),
        (
            {"public_key": public_pem(dsa.generate_private_key(1024)), "algorithms": ("RS256",)},
            "does not serve RS256",
        ),
    ],
)
def test_a_key_that_does_not_fit_its_algorithm_is_reported_at_startup(
    auth: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Authenticator(Auth(**auth))


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_a_private_key_in_place_of_the_public_one_is_reported_at_startup(algorithm: str) -> None:
    pem = private_pem(PRIVATE_KEYS[algorithm])
    with pytest.raises(ValueError, match="private key") as caught:
        Authenticator(Auth(public_key=pem, algorithms=(algorithm,)))
    assert pem.splitlines()[1] not in str(caught.value)


# Hostile bytes

FORM = st.sampled_from(
    [b"token=", b"gateway_token=", b"Bearer ", b"&", b";", b"%", b"%74", b".", b'"']
)
BYTES = st.lists(st.binary(max_size=20) | FORM | st.sampled_from([signed()])).map(b"".join)
AUTHENTICATOR = Authenticator(Auth(secret=SECRET, forward_claims=(("sub", "X-User-Id"),)))


@given(st.lists(BYTES, max_size=3), BYTES, st.lists(BYTES, max_size=3))
def test_arbitrary_bytes_are_identified_or_refused(
    authorization: list[bytes], query: bytes, cookies: list[bytes]
) -> None:
    found = outcome(
        lambda: AUTHENTICATOR.authenticate(
            authorization=authorization, query=query, cookies=cookies
        )
    )
    if isinstance(found, Identity):
        assert found.subject == "ada"
    else:
        assert found in (errors.TOKEN_INVALID, errors.TOKEN_MISSING)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
CLAIM_NAMES = st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "jti", "scope", "scp"])


@given(st.dictionaries(CLAIM_NAMES, JSON))
@example({"jti": 1})
def test_arbitrary_claims_are_identified_or_refused(odd: dict[str, Any]) -> None:
    token = raw(HS256, json.dumps(claims() | odd).encode())
    found = outcome(lambda: bearer(token, forward_claims=(("scp", "X-Scopes"),)))
    if isinstance(found, Identity):
        assert found.subject == odd.get("sub", "ada")
    else:
        assert found in (errors.TOKEN_INVALID, errors.TOKEN_EXPIRED)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_arbitrary_signed_bytes_are_refused(header: bytes, payload: bytes) -> None:
    refused(raw(header, payload))
    refused(raw(HS256, payload))
