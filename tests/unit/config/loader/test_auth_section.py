import ipaddress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.config.loader.auth_section import auth
from gateway.config.loader.faults import ConfigError
from gateway.config.loader.yaml_document import compose
from gateway.config.model import Auth

SECRET = "s" * 32


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form = PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(Encoding.PEM, form).decode()


def private(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


RSA = rsa.generate_private_key(65537, 2048)
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()


def read(text: str, environ: dict[str, str] | None = None, folder: Path = Path()) -> Auth:
    return auth(compose(text), environ or {}, folder)


def refused(text: str, environ: dict[str, str] | None = None, folder: Path = Path()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, environ, folder)
    return [fault.message for fault in caught.value.faults]


def test_an_empty_section_gives_the_defaults() -> None:
    assert read("{}") == Auth()


def test_every_key_is_read() -> None:
    text = """
        query: t
        cookie: c
        bearer: false
        algorithms: [HS256, HS512]
        secret: $SECRET
        issuer: https://$HOST
        audience: [a, b]
        leeway: 0s
        forward_claims: {sub: X-User-Id, $x: X-Other}
        token_endpoint: /auth/stream-token
        stream_token_secret: $SECRET
        trusted_proxies: [10.0.0.0/8, 127.0.0.1, "::1"]
    """
    assert read(text, {"SECRET": SECRET, "HOST": "id.example"}) == Auth(
        query="t",
        cookie="c",
        bearer=False,
        algorithms=("HS256", "HS512"),
        secret=SECRET,
        issuer="https://id.example",
        audience=("a", "b"),
        leeway=0.0,
        forward_claims=(("sub", "X-User-Id"), ("$x", "X-Other")),
        token_endpoint="/auth/stream-token",
        stream_token_secret=SECRET,
        trusted_proxies=(
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_network("127.0.0.1/32"),
            ipaddress.ip_network("::1/128"),
        ),
    )


def test_query_and_cookie_can_be_turned_off() -> None:
    section = read("query: false\ncookie: no")
    assert (section.query, section.cookie, section.bearer) == (None, None, True)


def test_without_any_place_for_a_token_the_section_is_refused() -> None:
    assert "are all off: turn one on" in refused("{query: false, cookie: false, bearer: false}")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query: true", "must be text, not true"),
        ("query: 'a b'", "plain name such as token, or false"),
        ("cookie: 'a=b'", "plain name such as token, or false"),
        ("bearer: 1", "must be true or false"),
        ("algorithms: none", "'none' is not one of HS256"),
        ("algorithms: [hs256]", "'hs256' is not one of HS256"),
        ("algorithms: ES256K", "is not one of"),
        ("algorithms: []", "the list is empty"),
        ("issuer: ''", "must not be empty"),
        ("audience: []", "the list is empty"),
        ("leeway: none", "0s for no leeway"),
        ("leeway: 10", "such as 10s"),
        ("forward_claims: [sub]", "must be a mapping"),
        ("forward_claims: {sub: Authorization}", "written by the gateway"),
        ("forward_claims: {sub: cookie}", "written by the gateway"),
        ("forward_claims: {sub: X-Forwarded-For}", "written by the gateway"),
        ("forward_claims: {sub: Host}", "use preserve_host"),
        ("forward_claims: {sub: TE}", "belongs to the connection"),
        ("forward_claims: {sub: 'a b'}", "is not a header name"),
        ("forward_claims: {'': X-A}", "must not be empty"),
        ("forward_claims: {a: X-A, b: x-a}", "x-a is the header of two claims"),
        ("trusted_proxies: 10.0.0.0/8", "must be a list"),
        ("trusted_proxies: [10.0.0.1/8]", "did you mean 10.0.0.0/8?"),
        ("trusted_proxies: [proxy]", "an address or a network"),
        ("jwks_url: https://x", "say algorithms: [RS256]"),
        ("{algorithms: RS256, jwks_url: keys.json}", "must be https://host[:port]/path"),
        ("{algorithms: RS256, jwks_url: 'http://id.example/keys'}", "use https"),
        ("{algorithms: RS256, jwks_url: 'http://127.0.0.1.example/keys'}", "use https"),
        ("{algorithms: RS256, jwks_url: 'https://x/#k'}", "must be https://host[:port]/path"),
        ("{algorithms: RS256, jwks_url: 'https://x /k'}", "must not hold white space"),
        ("{algorithms: RS256, jwks_url: 'https://a:b@x/k'}", "must not hold credentials"),
        (f"{{jwks_url: 'https://x', secret: {SECRET}}}", "exclude each other"),
        ("token_endpoint: x", "must start with a slash"),
        ("token_endpoint: '/{x}'", "a path without parameters"),
        ("token_endpoint: /healthz", "the gateway's own"),
        ("{token_endpoint: /x, query: false}", "turn on query"),
        ("{token_endpoint: /x, cookie: false, bearer: false}", "turn on cookie or bearer"),
        ("{token_endpoint: /x, stream_token_secret: short}", "at least 32 bytes"),
        (f"stream_token_secret: {SECRET}", "belongs to token_endpoint"),
        ("secrets: x", "did you mean 'secret'?"),
    ],
)
def test_a_value_that_could_not_work_is_refused(text: str, message: str) -> None:
    (fault,) = refused(text)
    assert message in fault


def test_hmac_beside_public_keys_is_refused() -> None:
    assert "keep one kind" in refused("algorithms: [HS256, RS256]")[0]


def test_a_short_secret_is_refused_and_not_shown() -> None:
    (fault,) = refused("secret: open-sesame")
    assert "at least 32 bytes" in fault
    assert "open-sesame" not in fault


def test_a_secret_of_the_environment_that_is_no_text_is_refused() -> None:
    (fault,) = refused("{}", {"GATEWAY_JWT_SECRET": "\udcff" * 32})
    assert "is UTF-8 text" in fault


def test_a_secret_is_measured_in_bytes() -> None:
    assert read(f"secret: {'é' * 16}").secret == "é" * 16


def test_the_environment_gives_the_secret_where_the_file_has_no_key() -> None:
    environ = {"GATEWAY_JWT_SECRET": SECRET}
    assert read("{}", environ).secret == SECRET
    assert read(f"secret: {'f' * 32}", environ).secret == "f" * 32
    assert read("algorithms: RS256", environ).secret is None


def test_a_short_secret_of_the_environment_is_refused_by_name() -> None:
    (fault,) = refused("{}", {"GATEWAY_JWT_SECRET": "short"})
    assert fault.startswith("GATEWAY_JWT_SECRET: an HMAC secret has at least 32 bytes")


def test_a_public_key_beside_those_that_are_fetched_is_refused() -> None:
    text = "{algorithms: RS256, jwks_url: 'https://x', public_key: $KEY}"
    assert "exclude each other" in refused(text, {"KEY": public(RSA)})[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example/keys?v=1",
        "http://127.0.0.1:80/k",
        "http://[::1]/k",
        "http://localhost:1/k",
    ],
)
def test_keys_are_fetched_over_tls_or_from_this_machine(url: str) -> None:
    section = read(f"{{algorithms: [ES256], jwks_url: '{url}'}}", {"GATEWAY_JWT_SECRET": SECRET})
    assert (section.jwks_url, section.secret) == (url, None)


@pytest.mark.parametrize(
    ("algorithms", "key"),
    [
        ("[RS256, PS512]", RSA),
        ("ES256", P256),
        ("ES384", P384),
        ("EdDSA", ED),
    ],
)
def test_a_public_key_that_fits_is_taken_from_text_or_file(
    algorithms: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    tmp_path: Path,
) -> None:
    pem = public(key)
    (tmp_path / "key.pem").write_text(pem)
    text = f"{{algorithms: {algorithms}, public_key: $KEY}}"
    assert read(text, {"KEY": pem}).public_key == pem
    assert read(text, {"KEY": "key.pem"}, tmp_path).public_key == pem
    assert read(text, {"KEY": str(tmp_path / "key.pem")}).public_key == pem


@pytest.mark.parametrize(
    ("algorithms", "pem", "message"),
    [
        ("RS256", public(P256), "it needs an RSA key"),
        ("ES256", public(RSA), "not a key that ES256 can use"),
        ("ES256", public(P384), "it needs an EC key on the curve P-256"),
        ("EdDSA", public(RSA), "not a key that EdDSA can use"),
        ("RS256", private(RSA), "this is a private key"),
        ("RS256", "-----BEGIN CERTIFICATE-----", "openssl x509 -pubkey"),
        ("RS256", "-----BEGIN PUBLIC KEY-----\nAAAA", "not a key that RS256 can use"),
        ("RS256", "-----BEGIN X-----", "must be a public key in PEM"),
        ("RS256", "missing.pem", "no such file"),
        ("RS256", "/", "no such file"),
        ("RS256", "a" * 5000, "the file cannot be read"),
        ("HS256", public(RSA), "say algorithms: [RS256]"),
    ],
)
def test_a_public_key_that_does_not_fit_is_refused(algorithms: str, pem: str, message: str) -> None:
    (fault,) = refused(f"{{algorithms: {algorithms}, public_key: $KEY}}", {"KEY": pem})
    assert message in fault


def test_a_weak_rsa_key_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    (fault,) = refused("{algorithms: RS256, public_key: $KEY}", {"KEY": public(weak)})
    assert "at least 2048 bits" in fault


def test_a_key_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.der").write_bytes(b"\x30\x82\xff")
    (fault,) = refused("{algorithms: RS256, public_key: key.der}", {}, tmp_path)
    assert "not PEM text" in fault


def test_a_secret_for_public_key_algorithms_is_refused() -> None:
    (fault,) = refused(f"{{algorithms: RS256, secret: {SECRET}}}")
    assert "a secret is for HS algorithms" in fault


def test_without_an_environment_what_refers_to_it_is_not_checked() -> None:
    text = "{algorithms: [$A], secret: $S, audience: [$B], trusted_proxies: [$C], issuer: $I}"
    assert auth(compose(text), None, Path()) == Auth()


def test_every_fault_of_the_section_is_reported() -> None:
    assert len(refused("{query: [], leeway: 5, secret: x, algorithms: RS1, bogus: 1}")) == 5
