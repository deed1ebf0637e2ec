"""The settings for readers: ``docs/settings.md`` and ``.env.example``, made from ``Settings``.

``python -m synaxis.config.reference`` (``make docs``) writes both into the working directory; a
test fails while they differ from what this module makes.
"""

import textwrap
from pathlib import Path

from pydantic import SecretStr

from synaxis.config.settings import ENV_PREFIX, GROUPS, Settings
from synaxis.config.sources import LEGACY_NAMES, LEGACY_WITHOUT_EFFECT

__all__ = ["env_example", "settings_page"]

_PAGE_START = """\
# Settings

<!-- Made by `make docs` from `src/synaxis/config/settings.py`; do not edit. -->

Every setting has one name in three spellings. `election_timeout_ms_min` is

- the flag `--election-timeout-ms-min` of `synaxis node run`,
- the environment variable `SYNAXIS_ELECTION_TIMEOUT_MS_MIN`,
- the key `election_timeout_ms_min` of the TOML file that `--config` or `SYNAXIS_CONFIG` names.

Flags win over the environment, the environment over `.env` in the working directory, `.env` over
the TOML file, and that over the default. A wrong value ends the process with exit code 78 and a
message that names the setting; so does an unknown key in the TOML file.
`synaxis config show` prints what is in effect. A secret can be mounted as a file:
`SYNAXIS_JOIN_API_KEY_FILE` holds the path, the file the value.

Units are the last part of a name: `_ms` milliseconds, `_s` seconds, `_bytes` bytes.
"""

_LEGACY_START = """\
## Names of the predecessor

These variables without prefix are understood as well; ours win when both are set.

| Variable | Means |
|---|---|
"""

_LEGACY_IN_CODE = {
    "NODE_HOST, NODE_PORT": "`listen`",
    "NODE_TYPE": "`roles`; `lock_manager`, `queue_node` and `cache_node` mean `locks`, `queues` "
    "and `caches`",
}

_ENV_START = """\
# Settings of a Synaxis node, with their defaults. Made by `make docs`; do not edit.
# Copy to .env in the directory where a node starts. Explained in docs/settings.md.
"""


def settings_page() -> str:
    """Return ``docs/settings.md``."""
    parts = [_PAGE_START]
    for group in GROUPS:
        rows = [_row(name) for name in Settings.model_fields if Settings.group_of(name) == group]
        header = "| Setting | Default | Allowed | Meaning |\n|---|---|---|---|\n"
        parts.append(f"## {group}\n\n{header}{''.join(rows)}")
    legacy = {old: f"`{new}`" for old, new in LEGACY_NAMES.items()} | _LEGACY_IN_CODE
    unused = {old: f"accepted, no effect: {why}" for old, why in LEGACY_WITHOUT_EFFECT.items()}
    rows = [f"| `{old}` | {means} |\n" for old, means in sorted((legacy | unused).items())]
    parts.append(_LEGACY_START + "".join(rows))
    return "\n".join(parts)


def env_example() -> str:
    """Return ``.env.example``: every setting, commented out, with its default."""
    parts = [_ENV_START]
    for group in GROUPS:
        lines = [f"# --- {group} ---"]
        for name, field in Settings.model_fields.items():
            if Settings.group_of(name) == group:
                lines += textwrap.wrap(
                    field.description or "", 96, initial_indent="# ", subsequent_indent="# "
                )
                lines.append(f"#{ENV_PREFIX}{name.upper()}={_default(name)}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(name: str) -> str:
    default = _default(name)
    shown = f"`{default}`" if default else ""
    description = (Settings.model_fields[name].description or "").replace("|", "\\|")
    return f"| `{name}` | {shown} | {Settings.allowed(name)} | {description} |\n"


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if value is None or isinstance(value, SecretStr):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Write both files below the working directory."""
    Path("docs").mkdir(exist_ok=True)
    Path("docs/settings.md").write_text(settings_page(), encoding="utf-8")
    Path(".env.example").write_text(env_example(), encoding="utf-8")


if __name__ == "__main__":
    main()
