import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from synaxis.cli import probe
from synaxis.cli.main import run


class Node(BaseHTTPRequestHandler):
    """Answers as a node does; ``server.ready`` decides what /readyz says."""

    server: "Server"

    def do_GET(self) -> None:
        if self.path == "/livez":
            self._answer(200, "ok")
        elif self.path == "/metrics":
            if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
                self._answer(401, "{}")
            else:
                self._answer(200, "synaxis_build_info 1\n")
        elif self.server.ready:
            self._answer(200, "[+]storage ok\n[+]quorum ok\n")
        else:
            self._answer(503, "[+]storage ok\n[-]quorum failed: no leader\n")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    ready = True
    key = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def node() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Node) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """The URL of a port that was free a moment ago."""
    with Server(("127.0.0.1", 0), Node) as server:
        return server.url


def test_a_ready_node_is_healthy(node: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["health", "-u", node.url, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["url"], row["state"], row["reason"]) == (node.url, "ready", "")
    assert row["checks"] == [{"name": "storage", "ok": True}, {"name": "quorum", "ok": True}]


def test_a_node_that_is_not_ready_fails_and_names_the_check(
    node: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    node.ready = False
    assert run(["health", "-u", node.url]) == 1
    assert capsys.readouterr().out.split("\t")[1:2] == ["not ready"]
    assert probe.check_readiness(node.url, 2.0)["reason"] == "quorum"


def test_one_unreachable_node_makes_health_say_so(
    node: Server, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["health", "-u", f"{node.url},{nobody}", "-o", "jsonl"]) == 3
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["state"] for row in rows] == ["ready", "unreachable"]


def test_quiet_health_is_the_exit_code_alone(
    node: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["health", "-q", "-u", node.url]) == 0
    assert capsys.readouterr() == ("", "")


def test_ping_is_content_with_any_node_that_answers(
    node: Server, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.ready = False
    assert run(["ping", "-u", f"{nobody},{node.url}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["url"] == node.url


def test_ping_of_nobody_cannot_connect(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ping", "-u", nobody]) == 3
    streams = capsys.readouterr()
    assert streams.out == ""
    assert nobody in streams.err


def test_metrics_come_through_unchanged(node: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["metrics", "-u", node.url]) == 0
    assert capsys.readouterr().out == "synaxis_build_info 1\n"


def test_the_url_comes_from_the_environment(node: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAXIS_URL", node.url)
    assert run(["health", "-q"]) == 0


def test_a_proxy_in_the_environment_does_not_answer_for_a_node(
    node: Server, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", nobody)
    assert run(["health", "-q", "-u", node.url]) == 0


def test_what_is_no_url_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["health", "-u", "file:///etc/passwd"]) == 2
    assert "file:///etc/passwd" in capsys.readouterr().err


def test_metrics_show_the_api_key_and_tell_when_it_is_wrong(
    node: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.key = "syx_right"
    assert run(["metrics", "-u", node.url]) == 4
    assert run(["metrics", "-u", node.url, "--api-key", "syx_right"]) == 0
    monkeypatch.setenv("SYNAXIS_API_KEY", "syx_right")
    assert run(["metrics", "-u", node.url]) == 0
