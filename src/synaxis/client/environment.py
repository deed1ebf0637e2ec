"""The two settings that a client may find in the environment: the only reader of it here."""

import os

__all__ = ["DEFAULT_URL", "api_key_from_environment", "urls_from_environment"]

DEFAULT_URL = "http://127.0.0.1:7400"
"""Where ``synaxis up`` listens."""


def urls_from_environment() -> str:
    """Return ``SYNAXIS_URL`` (or ``SYNAXIS_URLS``), else the address of a local node."""
    return os.environ.get("SYNAXIS_URL") or os.environ.get("SYNAXIS_URLS") or DEFAULT_URL


def api_key_from_environment() -> str:
    """Return ``SYNAXIS_API_KEY``, else an empty string."""
    return os.environ.get("SYNAXIS_API_KEY", "")
