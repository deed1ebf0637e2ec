"""Durable storage of one node: data directory, write-ahead log, snapshots, group commit.

Read first: DESIGN.md beside this file; then ``write_ahead_log`` (what is written when),
``records`` (bytes), ``scan`` and ``replay`` (what a restart may believe).

Invariants:
    Nothing is acknowledged before it is on the disk.
    A record that was acknowledged is either recovered or its group is reported as damaged.
    After the first failed call the log is closed for ever.
"""

from synaxis.storage.data_directory import DataDirectory
from synaxis.storage.files import OsDirectory
from synaxis.storage.group_commit import GroupCommit
from synaxis.storage.write_ahead_log import WalBatch, WalOptions, WriteAheadLog

__all__ = [
    "DataDirectory",
    "GroupCommit",
    "OsDirectory",
    "WalBatch",
    "WalOptions",
    "WriteAheadLog",
]
