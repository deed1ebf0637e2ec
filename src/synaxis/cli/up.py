"""``synaxis up``: a cluster on this machine, in one terminal."""

import asyncio
import json
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from synaxis.cli import output
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.output import printable
from synaxis.cli.probe import check_readiness
from synaxis.cli.supervisor import ChildSpec, Supervisor
from synaxis.errors import ConfigError

__all__ = ["LocalNode", "app", "busy_ports", "plan", "up"]

app = App(name="synaxis", help_format="plaintext")

HOST = "127.0.0.1"
NODES_MAX = 9
PORT_STRIDE = 10
PORT_MAX = 65535 - PORT_STRIDE * NODES_MAX
READY_POLL_S = 0.1
READY_TIMEOUT_S = 1.0
MANIFEST = "cluster.json"


@dataclass(frozen=True, slots=True)
class LocalNode:
    """Where one node of the local cluster lives."""

    node_id: str
    api_port: int
    data_dir: Path

    @property
    def peer_port(self) -> int:
        """The port for other nodes."""
        return self.api_port + 1

    @property
    def url(self) -> str:
        """What clients use."""
        return f"http://{HOST}:{self.api_port}"

    def command(self, nodes: Sequence["LocalNode"], flags: Sequence[str]) -> list[str]:
        """Return the command line that runs this node as a member of ``nodes``."""
        members = ",".join(f"{node.node_id}={HOST}:{node.peer_port}" for node in nodes)
        return [
            *(sys.executable, "-m", "synaxis", "node", "run"),
            *("--node-id", self.node_id),
            *("--listen", f"{HOST}:{self.api_port}"),
            *("--peer-listen", f"{HOST}:{self.peer_port}"),
            *("--cluster", members),
            *("--data-dir", str(self.data_dir)),
            *flags,
        ]


def plan(nodes: int, data_dir: Path, port: int) -> list[LocalNode]:
    """Lay out ``nodes`` nodes: ids n1, n2 ...; API ports ``port``, +10, +20; peer ports +1."""
    return [
        LocalNode(f"n{number + 1}", port + PORT_STRIDE * number, data_dir / f"n{number + 1}")
        for number in range(nodes)
    ]


def busy_ports(nodes: Sequence[LocalNode]) -> list[int]:
    """Return the ports of ``nodes`` that another program listens on."""
    ports = [port for node in nodes for port in (node.api_port, node.peer_port)]
    return [port for port in ports if not _is_free(port)]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A connection of a node that ended a moment ago lingers in TIME_WAIT: that is no listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def remember_size(data_dir: Path, nodes: int) -> None:
    """Bind ``data_dir`` to a cluster of ``nodes`` nodes.

    Raises:
        ConfigError: it holds a cluster of another size. Starting with other nodes beside old
            ones would not be a bigger cluster but a second one.
    """
    manifest = data_dir / MANIFEST
    try:
        known = int(json.loads(manifest.read_text(encoding="utf-8"))["nodes"])
    except FileNotFoundError:
        data_dir.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"nodes": nodes}) + "\n", encoding="utf-8")
        return
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"data_dir: {manifest} is not readable: {error}") from error
    if known != nodes:
        raise ConfigError(
            f"data_dir: {data_dir} holds a cluster of {known} node(s), not {nodes}; "
            f"use --nodes {known}, another --data-dir, or `synaxis cluster add` for growth"
        )


@app.command
def up(
    *node_flags: str,
    nodes: Annotated[int, Parameter(validator=Number(gte=1, lte=NODES_MAX))] = 1,
    data_dir: Path = Path("synaxis-data"),
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=PORT_MAX))] = 7400,
    logs: Literal["terminal", "files"] = "terminal",
) -> int:
    """Start a cluster on this machine: one node, or several supervised ones.

    The cluster's URL is printed on stdout as SYNAXIS_URL=... once it is
    ready. Nodes that crash are started again. Ctrl-C stops all, a second
    Ctrl-C kills. Data stays in --data-dir.

    Args:
        node_flags: after --: flags of synaxis node run for every node.
        nodes: how many nodes; 3 survive the loss of one, 5 of two.
        data_dir: where the data lives, one directory per node.
        port: API port of the first node; the next ones have +10, +20; peers +1.
        logs: terminal: each line after its node's name; files: DATA_DIR/n1.log ...
    """
    layout = plan(nodes, data_dir.absolute(), port)
    if busy := busy_ports(layout):
        taken = ", ".join(str(number) for number in busy)
        output.error(f"already in use on {HOST}: port {taken}; choose another with --port")
        return ExitCode.UNAVAILABLE
    try:
        remember_size(data_dir, nodes)
        with ExitStack() as files:
            return _supervise(layout, node_flags, files if logs == "files" else None)
    except OSError as error:
        output.error(f"data_dir: {error}")
        return ExitCode.INPUT_OUTPUT


def _supervise(layout: list[LocalNode], flags: Sequence[str], files: ExitStack | None) -> int:
    specs = []
    if files is None and sys.stderr.isatty():
        flags = ("--log-format", "console", *flags)  # for a person, though it is a pipe to us
    for node in layout:
        path = node.data_dir.parent / f"{node.node_id}.log"
        log = None if files is None else files.enter_context(path.open("ab"))
        specs.append(ChildSpec(node.node_id, node.command(layout, flags), log))
    output.message(f"synaxis: starting {len(layout)} node(s); data in {layout[0].data_dir.parent}")
    supervisor = Supervisor(specs, _emit)
    with asyncio.Runner() as runner:
        return runner.run(_run(supervisor, layout))


async def _run(supervisor: Supervisor, layout: list[LocalNode]) -> int:
    async with asyncio.TaskGroup() as tasks:
        announcing = tasks.create_task(_announce_when_ready(layout))
        code = await supervisor.run()
        announcing.cancel()
    return code


async def _announce_when_ready(layout: list[LocalNode]) -> None:
    """Print the URL once every node is ready."""
    for node in layout:
        # No event of ours can tell the state of another process, so it is asked again.
        while not await asyncio.to_thread(_is_ready, node.url):  # noqa: ASYNC110
            await asyncio.sleep(READY_POLL_S)
    urls = ",".join(node.url for node in layout)
    output.message("synaxis: ready; in another terminal: export SYNAXIS_URL=" + urls)
    print(f"SYNAXIS_URL={urls}", flush=True)


def _is_ready(url: str) -> bool:
    return bool(check_readiness(url, READY_TIMEOUT_S)["state"] == "ready")


def _emit(name: str, line: str) -> None:
    # Log lines keep their colours when a person watches; a pipe gets no control characters.
    text = line if sys.stderr.isatty() else printable(line)
    output.message(f"{name} | {text}")
