import pytest

from synaxis import errors
from synaxis.cli.exit_codes import EXIT_CODES_BY_ERROR, EXIT_CODES_HELP, ExitCode, exit_code_for


def test_every_error_of_synaxis_has_an_exit_code() -> None:
    assert set(EXIT_CODES_BY_ERROR) == set(errors.ERRORS_BY_CODE.values())


def test_an_error_never_looks_like_success() -> None:
    assert ExitCode.OK not in EXIT_CODES_BY_ERROR.values()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConnectionFailed("x"), 3),
        (errors.AuthenticationRequired("x"), 4),
        (errors.PermissionDenied("x"), 4),
        (errors.NotFound("x"), 5),
        (errors.LockLost("x"), 6),
        (errors.DeadlockError("x"), 6),
        (errors.AlreadyExists("x"), 6),
        (errors.LeaseLost("x"), 6),
        (errors.VersionConflict("x"), 6),
        (errors.BackingUnavailable("x"), 3),
        (errors.LockTimeout("x"), 7),
        (errors.ConfigError("x"), 78),
        (errors.StorageCorrupt("x"), 74),
    ],
)
def test_the_documented_codes_hold(error: errors.SynaxisError, code: int) -> None:
    assert exit_code_for(error) == code


def test_an_error_made_by_a_user_takes_the_code_of_its_nearest_ancestor() -> None:
    class OurTimeout(errors.LockTimeout):
        pass

    assert exit_code_for(OurTimeout("x")) == ExitCode.TIMEOUT


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7, 69, 74, 78, 130])
def test_the_help_names_every_code_that_we_choose(code: int) -> None:
    assert f" {code} " in EXIT_CODES_HELP
