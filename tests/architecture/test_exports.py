"""The public API is ``synaxis.__all__``, and costs nothing until it is used."""

import pickle  # noqa: TID251  # users' process pools pickle errors
import re
import subprocess
import sys
from pathlib import Path

import pytest

import synaxis
from synaxis.errors import ERRORS_BY_CODE, SynaxisError

HEAVY = ("aiohttp", "asyncio", "msgspec", "prometheus_client", "pydantic", "redis", "uhashring")


def test_every_public_name_can_be_had() -> None:
    for name in synaxis.__all__:
        assert getattr(synaxis, name) is not None


def test_names_are_sorted_and_unique() -> None:
    assert list(synaxis.__all__) == sorted(set(synaxis.__all__))
    assert dir(synaxis) == list(synaxis.__all__)


def test_type_checkers_see_the_same_names_as_users() -> None:
    source = Path(synaxis.__file__ or "").read_text()
    block = source[source.index("if TYPE_CHECKING:") : source.index("__all__")]
    declared = set(
        re.findall(r"^    (?:    )?(?:from \S+ import )?(\w+)(?:,|:.*)?$", block, re.MULTILINE)
    )
    declared |= {
        name.strip()
        for names in re.findall(r"import ([^(\n]+)$", block, re.MULTILINE)
        for name in names.split(",")
    }
    assert set(synaxis.__all__) <= declared


def test_a_name_that_is_not_public_is_missing() -> None:
    with pytest.raises(AttributeError):
        _ = synaxis.Router


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, synaxis; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    )
    assert set(HEAVY) & set(result.stdout.split()) == set()


@pytest.mark.parametrize("kind", [ERRORS_BY_CODE[code] for code in sorted(ERRORS_BY_CODE)])
def test_every_error_survives_pickling(kind: type[SynaxisError]) -> None:
    error = kind("what happened", token=7, reason="because")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own error, our own bytes
    assert type(copy) is kind
    assert (copy.message, copy.details, str(copy)) == (error.message, error.details, str(error))


def test_every_public_error_is_of_the_family() -> None:
    for name in synaxis.__all__:
        found = getattr(synaxis, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert issubclass(found, synaxis.SynaxisError)
