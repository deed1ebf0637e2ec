"""The generated pages are those in the repository."""

from pathlib import Path

import pytest

from synaxis.config.load import load_settings
from synaxis.config.reference import env_example, settings_page
from synaxis.config.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("path", "made"), [("docs/settings.md", settings_page()), (".env.example", env_example())]
)
def test_the_page_is_up_to_date(path: str, made: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == made, "run `make docs`"


def test_every_setting_is_in_both() -> None:
    for name in Settings.model_fields:
        assert f"| `{name}` |" in settings_page()
        assert f"#SYNAXIS_{name.upper()}=" in env_example()


def test_the_example_with_every_line_switched_on_changes_nothing() -> None:
    """So the defaults that it shows are the defaults."""
    Path(".env").write_text(env_example().replace("\n#SYNAXIS_", "\nSYNAXIS_"))
    assert load_settings() == load_settings(dotenv=None)
