"""Guards of HTTP services: the ASGI middleware, and the one for aiohttp over a real socket."""

import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from aiohttp import ClientSession, web

from synaxis.client.fencing import FENCE_HEADER, FenceMiddleware, MemoryFenceStore, fence_middleware
from synaxis.errors import LimitExceeded


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def ask(app: FenceMiddleware, method: str, token: str | None) -> tuple[int, bytes]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    headers = [] if token is None else [(FENCE_HEADER.lower().encode(), token.encode())]
    scope = {"type": "http", "method": method, "path": "/accounts/1", "headers": headers}
    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_growing_tokens_pass_and_stale_ones_are_refused() -> None:
    app = FenceMiddleware(application, MemoryFenceStore())
    assert await ask(app, "PUT", "5") == (200, b"done")
    assert await ask(app, "PUT", "5") == (200, b"done")
    status, body = await ask(app, "PUT", "4")
    assert status == 412
    assert json.loads(body)["code"] == "stale_fencing_token"
    assert json.loads(body)["details"] == {"token": 4, "seen": 5}


async def test_a_change_without_a_token_is_refused_unless_tokens_are_optional() -> None:
    assert (await ask(FenceMiddleware(application, MemoryFenceStore()), "PUT", None))[0] == 428
    lax = FenceMiddleware(application, MemoryFenceStore(), required=False)
    assert (await ask(lax, "PUT", None))[0] == 200


async def test_reading_needs_no_token() -> None:
    assert (await ask(FenceMiddleware(application, MemoryFenceStore()), "GET", None))[0] == 200


@pytest.mark.parametrize("token", ["", "x", "-1", "0", "1.5", str(1 << 53), "\u0663"])
async def test_what_is_no_token_is_refused(token: str) -> None:
    assert (await ask(FenceMiddleware(application, MemoryFenceStore()), "PUT", token))[0] == 400


async def test_only_guarded_paths_are_guarded() -> None:
    app = FenceMiddleware(application, MemoryFenceStore(), lambda _path: None)
    assert (await ask(app, "PUT", None))[0] == 200


async def test_the_store_refuses_to_forget() -> None:
    store = MemoryFenceStore(resources_max=1)
    await store.admit("a", 1)
    with pytest.raises(LimitExceeded):
        await store.admit("b", 1)
    await store.admit("a", 2)


async def test_the_aiohttp_middleware_guards_a_real_service() -> None:
    async def change(_request: web.Request) -> web.Response:
        return web.Response(text="done")

    app = web.Application(middlewares=[fence_middleware(MemoryFenceStore())])
    app.router.add_put("/accounts/{id}", change)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/accounts/1"
        async with ClientSession() as http:
            statuses = []
            for token in ("7", "6", None):
                headers = {} if token is None else {FENCE_HEADER: token}
                async with http.put(url, headers=headers) as response:
                    statuses.append(response.status)
        assert statuses == [200, 412, 428]
    finally:
        await runner.cleanup()
