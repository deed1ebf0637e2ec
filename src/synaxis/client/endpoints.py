"""URLs of nodes: how users write them and how the client compares and dials them."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from synaxis.errors import InvalidArgument

__all__ = ["normalized", "parse_urls", "socket_url"]

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def parse_urls(urls: str | Iterable[str]) -> tuple[str, ...]:
    """Return the node URLs in order, without duplicates; a string may hold several, by commas.

    Raises:
        InvalidArgument: nothing was given, or one of them is not an http(s) URL.
    """
    parts = urls.split(",") if isinstance(urls, str) else list(urls)
    found = tuple(dict.fromkeys(normalized(part.strip()) for part in parts if part.strip()))
    if not found:
        raise InvalidArgument("no node URL given; expected for example http://127.0.0.1:7400")
    return found


def normalized(url: str) -> str:
    """Return the one spelling of ``url`` that the client uses as a key.

    Raises:
        InvalidArgument: it is not an http(s) URL with a host.
    """
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise InvalidArgument(f"not a node URL: {url!r}; expected for example http://host:7400")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def socket_url(url: str) -> str:
    """Return the address of the client protocol on the node ``url``."""
    return f"{url}/v1/client"
