"""What a token's signature is verified with: algorithms, HMAC secrets and public keys.

Each check raises ValueError with a hint, and shows no secret.
"""

from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.config.loader.faults import quoted
from gateway.config.model import MIN_SECRET

ALGORITHMS = (
    *(f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)),
    "EdDSA",
)

_MAX_KEY_FILE = 64 * 1024
_MIN_RSA_BITS = 2048  # RFC 7518, section 3.3
_KINDS = {
    "RS": "an RSA key",
    "PS": "an RSA key",
    "ES256": "an EC key on the curve P-256",
    "ES384": "an EC key on the curve P-384",
    "ES512": "an EC key on the curve P-521",
    "EdDSA": "an Ed25519 or Ed448 key",
}


def is_hmac(algorithm: str) -> bool:
    return algorithm.startswith("HS")


def algorithm(text: str) -> str:
    if text not in ALGORITHMS:
        raise ValueError(f"{quoted(text)} is not one of {', '.join(ALGORITHMS)}")
    return text


def secret(text: str) -> str:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        # How Python shows bytes of the environment that are not UTF-8: no token could match them.
        raise ValueError("an HMAC secret is UTF-8 text: write other bytes as hex or base64")
    if len(text.encode()) < MIN_SECRET:
        raise ValueError(f"an HMAC secret has at least {MIN_SECRET} bytes: choose a longer one")
    return text


def public_key_text(text: str, folder: Path) -> str:
    """Returns the PEM text that is given, or that is in the named file."""
    pem = text if "-----BEGIN" in text else _file(folder / text)
    if "PRIVATE KEY-----" in pem:
        raise ValueError("this is a private key: keep it away from here, and give the public key")
    if "-----BEGIN CERTIFICATE-----" in pem:
        raise ValueError("this is a certificate: take the key from it, openssl x509 -pubkey -noout")
    if "PUBLIC KEY-----" not in pem:
        raise ValueError("must be a public key in PEM, or the name of a file that holds one")
    return pem


def check_public_key(pem: str, algorithm: str) -> None:
    """Checks that a key is of the algorithm's kind, and strong enough for it."""
    try:
        key = jwt.get_algorithm_by_name(algorithm).prepare_key(pem)
    except (jwt.InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError) as error:
        kind = _KINDS.get(algorithm) or _KINDS[algorithm[:2]]
        raise ValueError(f"not a key that {algorithm} can use: it needs {kind}") from error
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise ValueError(f"an RSA key has at least {_MIN_RSA_BITS} bits: make a larger one")


def _file(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError("no such file, and no PEM text either")
        with path.open(encoding="ascii") as file:
            return file.read(_MAX_KEY_FILE)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError("the file is not PEM text") from error
