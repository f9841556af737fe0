"""What of a certificate is too old for OpenSSL's usual security level, and at which level it is taken.

Emulab signed the certificates of its users with SHA-1 still in 2021, and gave them keys of 1024 bits in 2016
(mkusercert, ssl/ca.cnf).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

_BITS = ((2048, 2), (1024, 1), (0, 0))
"""Bits of a key that OpenSSL takes at a level (SSL_CTX_set_security_level(3)), up to the default here."""
_OLD_DIGESTS = frozenset({"md5", "sha1"})
"""Digests of signatures that OpenSSL 3 takes at level 0 alone."""


@dataclass(frozen=True)
class Age:
    """What is old about a certificate."""

    words: str = ""
    """Such as "a key of 1024 bits"; "" for nothing."""
    level: int = 2
    """The highest security level of those up to 2 at which OpenSSL presents it."""

    def advice(self, level: int) -> str:
        """Say what has to be set so that OpenSSL presents the certificate; "" where the level does.

        Args:
            level: the one that is set.
        """
        if not self.words or level <= self.level:
            return ""
        return (
            f"the certificate has {self.words}: set [cloudlab] tls_security_level = {self.level}, or download"
            " a new one from the Cloudlab portal"
        )


def age_of(leaf: x509.Certificate) -> Age:
    """Look at the key and the signature of a certificate."""
    words, levels = [], [2]
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        level = next(level for bits, level in _BITS if key.key_size >= bits)
        if level < 2:
            words.append(f"a key of {key.key_size} bits")
            levels.append(level)
    digest = _digest(leaf)
    if digest in _OLD_DIGESTS:
        words.append({"sha1": "a SHA-1 signature", "md5": "an MD5 signature"}[digest])
        levels.append(0)
    return Age(" and ".join(words), min(levels))


def _digest(leaf: x509.Certificate) -> str:
    try:
        algorithm = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return algorithm.name if algorithm else ""
