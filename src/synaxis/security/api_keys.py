"""API keys: random strings that the cluster knows only by their hash.

A key has 256 random bits, so a plain SHA-256 is enough: there is nothing to guess.
"""

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from synaxis.errors import ConfigError

__all__ = ["ApiKeys", "new_api_key"]

PREFIX = "syx_"
_SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}")


def new_api_key() -> str:
    """Return a fresh key; show it once, store ``ApiKeys.line(name, key)``."""
    return PREFIX + secrets.token_urlsafe(32)


class ApiKeys:
    """The keys of a file with one ``name:sha256-hex`` per line; ``#`` starts a comment."""

    def __init__(self, hashes: dict[str, bytes] | None) -> None:
        self._hashes = hashes

    @classmethod
    def open_to_all(cls) -> "ApiKeys":
        """Return the guard of a node that asks for no key."""
        return cls(None)

    @classmethod
    def load(cls, path: Path) -> "ApiKeys":
        """Read the file.

        Raises:
            ConfigError: unreadable, empty or malformed.
        """
        hashes: dict[str, bytes] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(f"api_keys_file: cannot read {path}: {error.strerror}") from error
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            name, _, digest = text.partition(":")
            if name in hashes or not _SHA256_HEX.fullmatch(digest):
                # A hash cut short would lock its owner out without a word.
                raise ConfigError(
                    f"api_keys_file: line {number} of {path} is not name:sha256-hex, with a name "
                    "of its own"
                )
            hashes[name] = bytes.fromhex(digest)
        if not hashes:
            raise ConfigError(f"api_keys_file: {path} holds no key")
        return cls(hashes)

    @staticmethod
    def line(name: str, key: str) -> str:
        """Return the line that admits ``key``."""
        return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"

    def admits(self, key: str) -> bool:
        """Whether ``key`` is known (or none is asked for); takes equally long either way."""
        if self._hashes is None:
            return True
        # A header may hold bytes that are no text; they are no key either.
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
        known = [hmac.compare_digest(digest, each) for each in self._hashes.values()]
        return any(known)
