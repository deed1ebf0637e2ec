"""Guards for HTTP services: requests carry the token in ``X-Synaxis-Fence``.

Stale requests are answered 412, requests without a token 428, malformed ones 400. Requests that
change nothing (GET, HEAD, OPTIONS) pass.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from synaxis.errors import LimitExceeded, StaleFencingToken

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = [
    "FENCE_HEADER",
    "FenceMiddleware",
    "FenceStore",
    "MemoryFenceStore",
    "fence_middleware",
]

FENCE_HEADER = "X-Synaxis-Fence"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
TOKEN_END = 1 << 53
RESOURCES_MAX = 100_000

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
ResourceOf = Callable[[str], str | None]
"""Returns the resource that a path stands for; None = not guarded."""


class FenceStore(Protocol):
    """Remembers the highest token of each resource, as durably as the resource itself."""

    async def admit(self, resource: str, token: int) -> None:
        """Note ``token``.

        Raises:
            StaleFencingToken: a higher one was here.
        """
        ...


class MemoryFenceStore:
    """Remembers in memory, for one process; real services keep it with their data."""

    def __init__(self, resources_max: int = RESOURCES_MAX) -> None:
        self._seen: dict[str, int] = {}
        self._resources_max = resources_max

    async def admit(self, resource: str, token: int) -> None:
        """Note ``token``.

        Raises:
            StaleFencingToken: a higher one was here.
            LimitExceeded: too many resources; forgetting one would let stale writes in.
        """
        seen = self._seen.get(resource, 0)
        if token < seen:
            raise StaleFencingToken(
                f"{resource} has seen token {seen}; {token} is stale", token=token, seen=seen
            )
        if not seen and len(self._seen) >= self._resources_max:
            raise LimitExceeded(
                f"more than {self._resources_max} guarded resources",
                limit="resources_max",
                maximum=self._resources_max,
            )
        self._seen[resource] = token


def same_path(path: str) -> str | None:
    """Guard every path as a resource of its own."""
    return path


class FenceMiddleware:
    """ASGI middleware; in Starlette and FastAPI ``app.add_middleware(FenceMiddleware, ...)``."""

    def __init__(
        self,
        app: Application,
        store: FenceStore,
        resource_of: ResourceOf = same_path,
        *,
        required: bool = True,
    ) -> None:
        self._app = app
        self._check = _Check(store, resource_of, required=required)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; anything but HTTP passes."""
        if scope["type"] == "http":
            name = FENCE_HEADER.lower().encode()
            header = next((value for key, value in scope["headers"] if key.lower() == name), None)
            text = None if header is None else header.decode("latin-1")
            refusal = await self._check.refusal(scope["method"], scope["path"], text)
            if refusal is not None:
                status, body = refusal
                headers = [(b"content-type", b"application/json")]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._app(scope, receive, send)


def fence_middleware(
    store: FenceStore, resource_of: ResourceOf = same_path, *, required: bool = True
) -> "Middleware":
    """Return a middleware for ``aiohttp.web.Application(middlewares=[...])``."""
    from aiohttp import web  # noqa: PLC0415  # users of other frameworks do not pay for it

    check = _Check(store, resource_of, required=required)

    @web.middleware
    async def guard(request: web.Request, handler: "Handler") -> web.StreamResponse:
        header = request.headers.get(FENCE_HEADER)
        refusal = await check.refusal(request.method, request.path, header)
        if refusal is not None:
            status, body = refusal
            return web.Response(status=status, body=body, content_type="application/json")
        return await handler(request)

    return guard


class _Check:
    """The rule itself, for any framework."""

    def __init__(self, store: FenceStore, resource_of: ResourceOf, *, required: bool) -> None:
        self._store = store
        self._resource_of = resource_of
        self._required = required

    async def refusal(self, method: str, path: str, header: str | None) -> tuple[int, bytes] | None:
        """Return status and body of a refusal, or None to let the request in."""
        resource = None if method in SAFE_METHODS else self._resource_of(path)
        if resource is None:
            return None
        if header is None:
            if not self._required:
                return None
            return 428, _body("fencing_token_required", f"send the token in {FENCE_HEADER}")
        if not (header.isascii() and header.isdigit() and 0 < int(header) < TOKEN_END):
            return 400, _body("invalid_argument", f"{FENCE_HEADER} is no fencing token")
        try:
            await self._store.admit(resource, int(header))
        except StaleFencingToken as error:
            return error.http_status, _body(error.code, error.message, error.details)
        return None


def _body(code: str, message: str, details: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"code": code, "message": message, "details": details or {}}).encode()
