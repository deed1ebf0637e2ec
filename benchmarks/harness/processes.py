"""Server processes that the benchmarks start on loopback and always stop again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["ServerProcess", "free_ports", "http_get", "listens", "scratch_directory", "wait_until"]

_POLL_S = 0.02
_STOP_TIMEOUT_S = 10.0


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports of 127.0.0.1 that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for open_socket in sockets:
            open_socket.bind(("127.0.0.1", 0))
        return [open_socket.getsockname()[1] for open_socket in sockets]
    finally:
        for open_socket in sockets:
            open_socket.close()


def scratch_directory(name: str, user: str | None = None) -> Path:
    """Return a new private directory, owned by ``user`` if given; the caller removes it."""
    path = Path(tempfile.mkdtemp(prefix=f"synaxis-bench-{name}-"))
    if user is not None:
        shutil.chown(path, user)
    return path


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def http_get(url: str, post: bytes | None = None, timeout_s: float = 1.0) -> tuple[int, bytes]:
    """Return status and body of a loopback URL; (0, b"") while nobody answers.

    With ``post`` the request is a POST of these bytes.
    """
    try:
        with urllib.request.urlopen(url, post, timeout_s) as response:  # noqa: S310 - loopback
            return int(response.status), bytes(response.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


class ServerProcess:
    """One server in a process group of its own, its output in a log file."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        user: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self._log = log
        self._user = user
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def ending(self) -> str:
        """What became of the process, for messages."""
        assert self._process is not None, "not started"
        return f"ended with code {self._process.poll()}"

    def start(self) -> None:
        """Start, or start again after the process has ended."""
        assert not self.alive, "already running"
        account = pwd.getpwnam(self._user) if self._user else None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._log.parent,
                env=os.environ | (self._environment or {}),
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def kill(self) -> None:
        """SIGKILL the whole group and wait for the end."""
        self._stop(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the server to end; kill it when it has not within ten seconds."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._wait()
        self._stop(signal.SIGKILL)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the server's output."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _stop(self, how: signal.Signals) -> None:
        if self.alive:
            os.killpg(self.pid, how)
            self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(_STOP_TIMEOUT_S)


def wait_until(
    condition: Callable[[], bool],
    what: str,
    timeout_s: float = 30.0,
    processes: Iterable[ServerProcess] = (),
) -> float:
    """Poll ``condition`` until it holds and return the seconds that took.

    Raises:
        RuntimeError: it did not hold in time, or one of ``processes`` ended before.
    """
    watched = list(processes)
    started = time.perf_counter()
    while not condition():
        dead = next((process for process in watched if not process.alive), None)
        if dead is not None:
            raise RuntimeError(f"a process {dead.ending} before {what}:\n{dead.log_tail()}")
        if time.perf_counter() - started > timeout_s:
            tails = "\n".join(process.log_tail(5) for process in watched)
            raise RuntimeError(f"not within {timeout_s:.0f} s: {what}\n{tails}")
        time.sleep(_POLL_S)
    return time.perf_counter() - started
