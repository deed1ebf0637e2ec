"""``ping``, ``health`` and ``metrics``: plain HTTP with the standard library only.

Container health checks run these every few seconds, so they must not cost the import of the SDK
(aiohttp alone is 170 ms of CPU).
"""

import argparse
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from synaxis.cli import output
from synaxis.cli.durations import parse_duration_s
from synaxis.cli.exit_codes import EXIT_CODES_HELP, ExitCode
from synaxis.cli.output import Column, Format, Printer, Row
from synaxis.client.endpoints import parse_urls
from synaxis.client.environment import api_key_from_environment, urls_from_environment
from synaxis.errors import InvalidArgument

__all__ = ["Response", "check_readiness", "fetch", "health", "metrics", "ping"]

BODY_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; ``status`` 0 means that nothing did, and ``error`` says why."""

    url: str
    status: int
    body: str
    latency_s: float
    error: str = ""


def fetch(
    url: str, path: str, timeout_s: float, cacert: str | None = None, api_key: str = ""
) -> Response:
    """GET ``path`` of one node; never raises for what the network or the node does."""
    context = ssl.create_default_context(cafile=cacert) if url.startswith("https") else None
    request = urllib.request.Request(url + path)  # noqa: S310 - parse_urls admits http(s) only
    if api_key:
        request.add_header("Authorization", f"Bearer {api_key}")
    # No proxy: one from the environment would answer in place of the node.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    started = time.perf_counter()
    try:
        with opener.open(request, timeout=timeout_s) as reply:
            body, status, reason = reply.read(BODY_BYTES_MAX), reply.status, ""
    except urllib.error.HTTPError as error:
        body, status, reason = error.read(BODY_BYTES_MAX), error.code, ""
    except (OSError, ValueError) as error:
        body, status, reason = b"", 0, str(getattr(error, "reason", error)) or "no answer"
    latency_s = time.perf_counter() - started
    return Response(url, status, body.decode("utf-8", "replace"), latency_s, reason)


def check_readiness(url: str, timeout_s: float, cacert: str | None = None) -> Row:
    """Return the row of one node for ``synaxis health``."""
    response = fetch(url, "/readyz?verbose", timeout_s, cacert)
    checks = [
        {"name": line[3:].strip().split(" ")[0], "ok": line.startswith("[+]")}
        for line in response.body.splitlines()
        if line.startswith(("[+]", "[-]"))
    ]
    failed = [str(check["name"]) for check in checks if not check["ok"]]
    if response.status == 0:
        state = "unreachable"
    else:
        state = "ready" if response.status == 200 else "not ready"
    return {
        "url": url,
        "state": state,
        "latency_ms": round(response.latency_s * 1000, 1),
        "checks": checks,
        "reason": response.error or ", ".join(failed),
    }


def health(arguments: list[str]) -> int:
    """Ask every node whether it is ready; 0 only when all are."""
    options = _parse("health", health.__doc__, arguments)
    rows = [check_readiness(url, options.timeout, options.cacert) for url in options.urls]
    columns = [
        Column("URL", "url"),
        Column("STATE", "state"),
        Column("LATENCY MS", "latency_ms", number=True),
        Column("REASON", "reason"),
    ]
    if not options.quiet:
        _printer(options).rows(rows, columns)
    states = {row["state"] for row in rows}
    if "unreachable" in states:
        return ExitCode.UNREACHABLE
    return ExitCode.OK if states == {"ready"} else ExitCode.FAILED


def ping(arguments: list[str]) -> int:
    """Ask the nodes in turn until one answers; it need not be ready to serve."""
    options = _parse("ping", ping.__doc__, arguments)
    reasons = []
    for url in options.urls:
        response = fetch(url, "/livez", options.timeout, options.cacert)
        if response.status == 200:
            row = {"url": url, "latency_ms": round(response.latency_s * 1000, 1)}
            columns = [Column("URL", "url"), Column("LATENCY MS", "latency_ms")]
            if not options.quiet:
                _printer(options).record(row, columns)
            return ExitCode.OK
        reasons.append(f"{url}: {response.error or f'HTTP {response.status}'}")
    if not options.quiet:
        output.error("no node answers: " + "; ".join(reasons))
    return ExitCode.UNREACHABLE


def metrics(arguments: list[str]) -> int:
    """Print the metrics of the first node that answers, in the Prometheus text format."""
    options = _parse("metrics", metrics.__doc__, arguments)
    key = options.api_key or api_key_from_environment()
    reasons = []
    refused = False
    for url in options.urls:
        response = fetch(url, "/metrics", options.timeout, options.cacert, key)
        if response.status == 200:
            sys.stdout.write(response.body)
            return ExitCode.OK
        refused = refused or response.status in (401, 403)
        reasons.append(f"{url}: {response.error or f'HTTP {response.status}'}")
    output.error("no node gave its metrics: " + "; ".join(reasons))
    return ExitCode.UNAUTHORIZED if refused else ExitCode.UNREACHABLE


def _duration(text: str) -> float:
    try:
        return parse_duration_s(text)
    except InvalidArgument as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _parse(command: str, description: str | None, arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"synaxis {command}",
        description=description,
        epilog=EXIT_CODES_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-u", "--url", metavar="URLS", help="nodes, comma-separated [SYNAXIS_URL]")
    parser.add_argument("--timeout", type=_duration, default=5.0, help="per node (default 5s)")
    parser.add_argument("--api-key", metavar="KEY", help="for metrics [SYNAXIS_API_KEY]")
    parser.add_argument("--cacert", metavar="FILE", help="PEM certificate to trust for https")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit code")
    parser.add_argument("-o", "--output", type=Format, choices=list(Format), help="output format")
    parser.add_argument("--json", action="store_const", const=Format.JSON, dest="output")
    parser.add_argument("--no-headers", action="store_true", help="no header line in tables")
    parser.add_argument("--no-color", action="store_true", help="no colours (also NO_COLOR)")
    options = parser.parse_args(arguments)
    options.urls = parse_urls(options.url or urls_from_environment())
    return options


def _printer(options: argparse.Namespace) -> Printer:
    return Printer(options.output, headers=not options.no_headers, color=not options.no_color)
