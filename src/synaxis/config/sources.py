"""Where values come from besides flags: the environment, ``.env``, and a TOML file.

Both environments understand the predecessor's bare names, and ``SYNAXIS_X_FILE`` for a secret X
that is mounted as a file.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
)

from synaxis.errors import ConfigError

__all__ = [
    "LEGACY_NAMES",
    "LEGACY_WITHOUT_EFFECT",
    "DotEnvSource",
    "EnvironmentSource",
    "TomlSource",
    "translate",
]

LEGACY_NAMES: Mapping[str, str] = {
    "NODE_ID": "node_id",
    "CLUSTER_NODES": "cluster",
    "CONSENSUS_TYPE": "consensus_type",
    "ELECTION_TIMEOUT_MIN": "election_timeout_ms_min",
    "ELECTION_TIMEOUT_MAX": "election_timeout_ms_max",
    "HEARTBEAT_INTERVAL": "heartbeat_ms",
    "REDIS_URL": "cache_store_url",
    "REPLICATION_FACTOR": "replication_factor",
    "LOG_LEVEL": "log_level",
    "DATA_DIR": "data_dir",
}
"""The predecessor's variable -> our setting, where value and unit are the same.

NODE_HOST with NODE_PORT (``listen``) and NODE_TYPE (``roles``) are translated in code.
"""

LEGACY_WITHOUT_EFFECT: Mapping[str, str] = {
    "MAX_RETRIES": "clients retry until their own timeout",
    "METRICS_PORT": "metrics are served at /metrics of the API address (SYNAXIS_LISTEN)",
    "MIN_QUORUM": "a quorum is always the majority of the voters",
    "REQUEST_TIMEOUT": "every client call carries its own timeout",
}
"""The predecessor's variables that are accepted and change nothing, each with the reason."""

_LEGACY_ROLES = {"lock_manager": "locks", "queue_node": "queues", "cache_node": "caches"}


def _legacy_listen(variables: Mapping[str, str | None]) -> str | None:
    host, port = variables.get("node_host"), variables.get("node_port")
    if not host and not port:
        return None
    return f"{host or '127.0.0.1'}:{port or '7400'}"


def translate(
    variables: Mapping[str, str | None], prefix: str, secrets: list[str]
) -> dict[str, str | None]:
    """Return ``variables`` (lower-case keys) with old names and secret files made plain.

    A name of ours that is set wins over an old one in the same source.

    Raises:
        ConfigError: a secret's file cannot be read.
    """
    found = dict(variables)
    for old, new in LEGACY_NAMES.items():
        if value := variables.get(old.lower()):
            found.setdefault(prefix + new, value)
    if listen := _legacy_listen(variables):
        found.setdefault(prefix + "listen", listen)
    if role := variables.get("node_type"):
        found.setdefault(prefix + "roles", _LEGACY_ROLES.get(role, role))
    for name in secrets:
        if path := variables.get(f"{prefix}{name}_file"):
            found.setdefault(prefix + name, _read_secret(name, Path(path)))
    return found


def _read_secret(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        variable = f"SYNAXIS_{name.upper()}_FILE"
        msg = f"{variable}: cannot read {path}: {error}"
        raise ConfigError(msg, settings=[name]) from error


def _secret_names(settings_cls: type[BaseSettings]) -> list[str]:
    return [
        name for name, field in settings_cls.model_fields.items() if field.annotation is SecretStr
    ]


class EnvironmentSource(EnvSettingsSource):
    """The process environment."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = translate(
            self.env_vars, self.env_prefix.lower(), _secret_names(settings_cls)
        )


class DotEnvSource(DotEnvSettingsSource):
    """A ``.env`` file in the working directory; names that are not ours are left alone."""

    def __init__(
        self, settings_cls: type[BaseSettings], template: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls, env_file=getattr(template, "env_file", None))
        self.env_vars = translate(
            self.env_vars, self.env_prefix.lower(), _secret_names(settings_cls)
        )


class TomlSource(PydanticBaseSettingsSource):
    """The file that an earlier source named as ``config``; every key must be a setting."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return nothing: the file is read as a whole by ``__call__``."""
        raise NotImplementedError(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return what the file says.

        Raises:
            ConfigError: it cannot be read, is not TOML, or names another file.
        """
        path = self.current_state.get("config")
        if path is None:
            return {}
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"config: cannot read {path}: {error}"
            raise ConfigError(msg, settings=["config"]) from error
        if "config" in content:
            msg = f"config: {path} may not name another file"
            raise ConfigError(msg, settings=["config"])
        return content
