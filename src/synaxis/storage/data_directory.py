"""The data directory of a node: whose it is, and that only one process uses it.

``identity.json`` holds the node id, the cluster id and the *disk id*, a random number drawn when
the directory was made. A node whose disk was wiped comes back with its old node id but another
disk id; its peers remember the old one and refuse it, because it may have forgotten a vote.

Layout: ``identity.json``, ``lock`` (flock, holds the process id), ``wal/`` and ``messages/`` (see
DESIGN.md).

Sources: Ongaro's thesis 3.8; etcd raft doc.go ("an ID must be used only once").
"""

import fcntl
import os
import secrets
import stat
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import orjson

from synaxis.errors import IdentityMismatch, StorageCorrupt, StorageError
from synaxis.ids import NodeId
from synaxis.storage.files import OsDirectory

__all__ = ["FREE_BYTES_MIN", "DataDirectory", "Identity"]

FORMAT_VERSION = 1
FREE_BYTES_MIN = 64 * 1024 * 1024
"""A node does not start with less free disk space: one segment, so that it can at least begin."""

_IDENTITY = "identity.json"
_LOCK = "lock"
_WAL = "wal"
_MESSAGES = "messages"
_DISK_ID_BYTES = 16
_FOREIGN_FILES_ALLOWED = {_LOCK, _WAL, "lost+found"}

Bootstrap = TypeVar("Bootstrap")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``identity.json``."""

    format_version: int
    cluster_id: str
    node_id: NodeId
    disk_id: str
    bootstrap: Any = None
    """How the cluster was founded, as plain values; means nothing here."""
    peer_disks: dict[NodeId, str] = {}
    """Disk id of every peer that was ever met, removed ones too: their ids are used up."""
    log_begun: bool = False
    """Whether a log was made here: from then on an empty one is a lost one."""


class DataDirectory:
    """An open, locked data directory; close it to let another process in."""

    def __init__(self, path: Path, lock: int, identity: Identity) -> None:
        self._path = path
        self._lock = lock
        self._identity = identity

    @classmethod
    def open(
        cls,
        path: Path | str,
        node_id: NodeId,
        cluster_id: str | None = None,
        bootstrap: object = None,
        free_bytes_min: int = FREE_BYTES_MIN,
    ) -> "DataDirectory":
        """Open the directory, or make one.

        Args:
            path: made with mode 0700 if missing.
            node_id: must be the one that the directory was made for.
            cluster_id: likewise; None takes the stored one, or a random one if there is none.
            bootstrap: a struct that is remembered when the directory is made, and ignored
                later; see ``bootstrap_of``.
            free_bytes_min: less free space is refused.

        Raises:
            IdentityMismatch: the directory belongs to another node or cluster.
            StorageError: another process uses it, the disk is full, or it is not ours.
        """
        path = Path(path)
        directory = OsDirectory.create(path)
        lock = _acquire(path)
        try:
            _require_space(path, free_bytes_min)
            if _IDENTITY in directory.names():
                identity = _load(directory, path)
                _check(identity, path, node_id, cluster_id)
                _require_log(identity, path)
            else:
                _require_empty(directory, path)
                identity = Identity(
                    format_version=FORMAT_VERSION,
                    cluster_id=cluster_id or secrets.token_hex(_DISK_ID_BYTES),
                    node_id=node_id,
                    disk_id=secrets.token_hex(_DISK_ID_BYTES),
                    bootstrap=msgspec.to_builtins(bootstrap),
                )
                OsDirectory.create(path / _WAL)
                _save(directory, identity)
            OsDirectory.create(path / _MESSAGES)
        except BaseException:
            os.close(lock)
            raise
        opened = cls(path, lock, identity)
        opened._note_log()
        return opened

    @staticmethod
    def bootstrap_of(path: Path | str, type_: type[Bootstrap]) -> Bootstrap | None:
        """Return what the directory at ``path`` was made with, or None if it is new."""
        path = Path(path)
        if not (path / _IDENTITY).exists():
            return None
        stored = _load(OsDirectory(path), path).bootstrap
        return None if stored is None else msgspec.convert(stored, type_)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    @property
    def identity(self) -> Identity:
        """Whose it is."""
        return self._identity

    @property
    def disk_id(self) -> str:
        """Random id of this disk's content; peers remember it."""
        return self._identity.disk_id

    @property
    def cluster_id(self) -> str:
        """Id of the cluster."""
        return self._identity.cluster_id

    @property
    def free_bytes(self) -> int:
        """Disk space that this process may still use."""
        return _free_bytes(self._path)

    @property
    def wal(self) -> OsDirectory:
        """The log's directory."""
        return OsDirectory(self._path / _WAL)

    @property
    def messages(self) -> OsDirectory:
        """The message store's directory."""
        return OsDirectory(self._path / _MESSAGES)

    def remember_peer(self, node_id: NodeId, disk_id: str) -> None:
        """Note durably which disk a peer has; repeating it costs nothing.

        Raises:
            IdentityMismatch: the peer comes back with another disk.
        """
        if node_id == self._identity.node_id:
            known: str | None = self._identity.disk_id
        else:
            known = self._identity.peer_disks.get(node_id)
        if known is None:
            self._note_log()
            self._update(peer_disks={**self._identity.peer_disks, node_id: disk_id})
        elif known != disk_id:
            message = (
                f"node {node_id!r} comes back with another disk ({disk_id}, was {known}): its data "
                "directory was wiped, or two nodes use one id; remove the member from the cluster "
                "and let the machine join under a new node id"
            )
            raise IdentityMismatch(message, node=node_id, disk=disk_id, known=known)

    def close(self) -> None:
        """Let other processes in; a second call does nothing."""
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note_log(self) -> None:
        if not self._identity.log_begun and self.wal.names():
            self._update(log_begun=True)

    def _update(self, **changes: object) -> None:
        identity = msgspec.structs.replace(self._identity, **changes)
        _save(OsDirectory(self._path), identity)
        self._identity = identity


def _acquire(path: Path) -> int:
    """Take the lock and return its descriptor; it ends with the process at the latest."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"could not open {path / _LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        if not isinstance(error, BlockingIOError):
            raise StorageError(f"could not lock {path}: {error.strerror}") from error
        message = (
            f"data directory {path} is in use by process {holder}; "
            "stop that process or give this node another directory"
        )
        raise StorageError(message, path=str(path), holder=holder) from error
    return lock


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _require_space(path: Path, free_bytes_min: int) -> None:
    free = _free_bytes(path)
    if free < free_bytes_min:
        message = f"only {free} bytes are free at {path}; at least {free_bytes_min} are needed"
        raise StorageError(message, free_bytes=free, free_bytes_min=free_bytes_min)


def _require_empty(directory: OsDirectory, path: Path) -> None:
    foreign = [name for name in directory.names() if name not in _FOREIGN_FILES_ALLOWED]
    if (path / _WAL).is_dir():
        foreign += OsDirectory(path / _WAL).names()
    if foreign:
        message = (
            f"{path} holds {foreign[0]!r} but no {_IDENTITY}: it is no data directory, or a "
            "damaged one; give the node an empty directory"
        )
        raise StorageError(message, path=str(path))
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        # Made by someone else, empty, and ours from now on.
        try:
            path.chmod(0o700)
        except OSError as error:
            message = f"{path} may be read by others and its mode cannot be changed to 0700"
            raise StorageError(message, path=str(path)) from error


def _require_log(identity: Identity, path: Path) -> None:
    log = OsDirectory.create(path / _WAL)
    if identity.log_begun and not log.names():
        message = (
            f"{log.path} is empty although this node has written a log there; a node that forgot "
            f"its votes must not come back: remove it from the cluster, empty {path} and let it "
            "join under a new node id"
        )
        raise StorageError(message, path=str(log.path))


def _load(directory: OsDirectory, path: Path) -> Identity:
    try:
        return msgspec.convert(orjson.loads(directory.read(_IDENTITY)), Identity)
    except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
        message = f"{path / _IDENTITY} is damaged ({error}); replace the node under a new node id"
        raise StorageCorrupt(message) from error


def _save(directory: OsDirectory, identity: Identity) -> None:
    text = orjson.dumps(msgspec.to_builtins(identity), option=orjson.OPT_INDENT_2)
    directory.replace(_IDENTITY, text + b"\n")


def _check(identity: Identity, path: Path, node_id: NodeId, cluster_id: str | None) -> None:
    if identity.format_version != FORMAT_VERSION:
        message = (
            f"{path} has format version {identity.format_version}; "
            f"this program reads {FORMAT_VERSION}"
        )
        raise StorageError(message, version=identity.format_version)
    if identity.node_id != node_id:
        message = (
            f"{path} belongs to node {identity.node_id!r}, not to {node_id!r}; "
            "start the node under its own id or give it an empty directory"
        )
        raise IdentityMismatch(message, node=identity.node_id)
    if cluster_id is not None and identity.cluster_id != cluster_id:
        message = (
            f"{path} belongs to cluster {identity.cluster_id!r}, not to {cluster_id!r}; "
            "point the node at its own data directory or give it an empty one"
        )
        raise IdentityMismatch(message, cluster=identity.cluster_id)
