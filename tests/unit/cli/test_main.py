import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from synaxis.cli import main

HEAVY = ("aiohttp", "cyclopts", "rich", "pydantic", "prometheus_client", "structlog")


def modules_loaded_by(*arguments: str) -> set[str]:
    program = (
        "import sys, json\n"
        "from synaxis.cli.main import run\n"
        "try: run(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["lock", "--help"],
        ["queue", "dlq", "--help"],
        ["health", "--url", "http://127.0.0.1:1", "-q"],
    ],
    ids=" ".join,
)
def test_what_is_typed_most_imports_nothing_heavy(arguments: list[str]) -> None:
    assert modules_loaded_by(*arguments).isdisjoint(HEAVY)


def test_help_costs_less_than_300_ms_of_cpu() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "synaxis", "--help"], stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < 0.3


def test_no_arguments_print_the_help_and_fail_as_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.run([]) == 2
    assert "Usage: synaxis" in capsys.readouterr().out


def test_a_group_alone_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["lock", "--help"]) == 0
    assert "force-release" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage_and_hints_at_the_right_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.run(["lcok", "ls"]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "Did you mean `synaxis lock ls`?" in streams.err


def test_an_unknown_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["up", "--nodse", "3"]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "--nodes" in streams.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("synaxis ")


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        (["--url", "u", "lock", "ls"], ["lock", "ls", "--url", "u"]),
        (["--json", "-q", "lock", "ls"], ["lock", "ls", "--json", "-q"]),
        (["--url=u", "lock", "run", "n", "--", "ls"], ["lock", "run", "n", "--url=u", "--", "ls"]),
        (["lock", "ls", "--url", "u"], ["lock", "ls", "--url", "u"]),
        (["--help"], ["--help"]),
    ],
)
def test_common_options_may_stand_before_the_command(
    typed: list[str], understood: list[str]
) -> None:
    assert main.hoist_options(typed) == understood


def test_a_wrong_setting_ends_with_78_and_names_the_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.run(["node", "run", "--listen", "nowhere"]) == 78
    assert "SYNAXIS_LISTEN" in capsys.readouterr().err


def test_a_reader_that_leaves_early_causes_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m synaxis config show | true"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stderr == ""


def test_a_group_within_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["queue", "dlq", "--help"]) == 0
    assert "redrive" in capsys.readouterr().out
    assert main.run(["queue", "dlq"]) == 2


@pytest.mark.parametrize(
    ("typed", "named", "meant"),
    [
        (["queue", "dlq", "redriev"], "queue dlq redriev", "queue dlq redrive"),
        (["queue", "pbu", "orders"], "queue pbu", "queue pub"),
        (["quee", "ls"], "quee", "queue ls"),
    ],
)
def test_an_unknown_word_is_named_where_it_stands(
    capsys: pytest.CaptureFixture[str], typed: list[str], named: str, meant: str
) -> None:
    assert main.run(typed) == 2
    told = capsys.readouterr().err
    assert f"`{named}`" in told
    assert f"`synaxis {meant}`" in told
