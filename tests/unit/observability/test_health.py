"""Health answers."""

import pytest

from synaxis.observability.health import HealthChecks


@pytest.fixture
def checks() -> HealthChecks:
    return HealthChecks("readyz", {"storage": lambda: None, "quorum": lambda: "no leader"})


def well() -> HealthChecks:
    return HealthChecks("livez", {"loop": lambda: None})


def test_all_well_is_two_letters_and_200() -> None:
    assert well().report() == (200, "ok", {})


def test_verbose_lists_every_check() -> None:
    assert well().report(verbose=True).text == "[+]loop ok\nlivez check passed\n"


def test_a_failure_is_503_and_told_in_full_even_when_not_asked(checks: HealthChecks) -> None:
    report = checks.report()
    assert report.status == 503
    assert report.text == "[+]storage ok\n[-]quorum failed: no leader\nreadyz check failed\n"
    assert report.failures == {"quorum": "no leader"}


def test_an_excluded_check_is_not_run(checks: HealthChecks) -> None:
    report = checks.report(verbose=True, exclude=["quorum"])
    assert report.healthy
    assert "[+]quorum excluded: ok" in report.text


def test_excluding_an_unknown_name_is_told_and_changes_nothing(checks: HealthChecks) -> None:
    report = checks.report(exclude=["nothing"])
    assert report.status == 503
    assert 'warn: no check is named "nothing"' in report.text


@pytest.mark.parametrize(("name", "status"), [("storage", 200), ("quorum", 503), ("x", 404)])
def test_one_check_can_be_asked_alone(checks: HealthChecks, name: str, status: int) -> None:
    assert checks.report_one(name).status == status
