"""Exit codes, and the one table that gives each error of Synaxis its code.

Sources: sysexits(3) for 69 to 78; the shell's 128 + signal number for 130.
"""

from enum import IntEnum

from synaxis import errors

__all__ = ["EXIT_CODES_BY_ERROR", "EXIT_CODES_HELP", "ExitCode", "exit_code_for"]


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNAUTHORIZED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TIMEOUT = 7
    UNAVAILABLE = 69
    INTERNAL = 70
    INPUT_OUTPUT = 74
    CONFIG = 78
    NOT_EXECUTABLE = 126
    COMMAND_NOT_FOUND = 127
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES_HELP = """\
Exit codes:
  0  ok                       5  not found
  1  failed                   6  conflict: lock held, lost or in a deadlock;
  2  wrong usage                 topic exists; a change that is refused
  3  cannot connect, or the   7  not in time, or no message
     cluster cannot serve    69  port in use     74  disk error
  4  not allowed             78  wrong settings  130 interrupted
"""

EXIT_CODES_BY_ERROR: dict[type[errors.SynaxisError], ExitCode] = {
    errors.SynaxisError: ExitCode.FAILED,
    errors.ClientError: ExitCode.FAILED,
    errors.InvalidArgument: ExitCode.USAGE,
    errors.LimitExceeded: ExitCode.FAILED,
    errors.NotFound: ExitCode.NOT_FOUND,
    errors.AuthenticationRequired: ExitCode.UNAUTHORIZED,
    errors.PermissionDenied: ExitCode.UNAUTHORIZED,
    errors.LockTimeout: ExitCode.TIMEOUT,
    errors.DeadlockError: ExitCode.CONFLICT,
    errors.LockLost: ExitCode.CONFLICT,
    errors.LockNotHeld: ExitCode.CONFLICT,
    errors.StaleFencingToken: ExitCode.CONFLICT,
    errors.AlreadyExists: ExitCode.CONFLICT,
    errors.LeaseLost: ExitCode.CONFLICT,
    errors.VersionConflict: ExitCode.CONFLICT,
    errors.ConsumerFenced: ExitCode.CONFLICT,
    errors.SessionExpired: ExitCode.CONFLICT,
    errors.WaitAbandoned: ExitCode.FAILED,
    errors.ClusterError: ExitCode.UNREACHABLE,
    errors.NotLeader: ExitCode.UNREACHABLE,
    errors.NoQuorum: ExitCode.UNREACHABLE,
    errors.Overloaded: ExitCode.UNREACHABLE,
    errors.ConnectionFailed: ExitCode.UNREACHABLE,
    errors.RequestTimeout: ExitCode.TIMEOUT,
    errors.OutcomeUnknown: ExitCode.TIMEOUT,
    errors.BackingUnavailable: ExitCode.UNREACHABLE,
    errors.MembershipRefused: ExitCode.CONFLICT,
    errors.ProtocolViolation: ExitCode.FAILED,
    errors.ConfigError: ExitCode.CONFIG,
    errors.StorageError: ExitCode.INPUT_OUTPUT,
    errors.StorageCorrupt: ExitCode.INPUT_OUTPUT,
    # No restart cures a directory of another node: a supervisor must see it as configuration.
    errors.IdentityMismatch: ExitCode.CONFIG,
}


def exit_code_for(error: errors.SynaxisError) -> ExitCode:
    """Return the code of the nearest class of ``error`` that the table names."""
    for kind in type(error).__mro__:
        code = EXIT_CODES_BY_ERROR.get(kind)
        if code is not None:
            return code
    return ExitCode.FAILED
