"""Every setting of a node: its name, type, bounds, default, and why the default is what it is."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from synaxis.config.addresses import Address, parse_address, parse_members, parse_node_id
from synaxis.config.sources import DotEnvSource, EnvironmentSource, TomlSource
from synaxis.ids import NodeId

__all__ = ["ENV_PREFIX", "Settings"]

ENV_PREFIX = "SYNAXIS_"
ROLES = ("locks",)
DEFAULT_PEER_ADDRESS = Address("127.0.0.1", 7401)


def _in(group: str) -> dict[str, Any]:
    return {"group": group}


IDENTITY = _in("Identity")
NETWORK = _in("Network")
CLUSTER = _in("Cluster")
RAFT = _in("Raft")
SESSIONS = _in("Sessions and locks")
STORAGE = _in("Storage")
LIMITS = _in("Limits")
SECURITY = _in("Security")
OPERATION = _in("Operation")


class Settings(BaseSettings):
    """The effective settings of one node, validated one by one.

    What several settings must agree on is checked by ``checks.problems``; build instances with
    ``load_settings``, which does both.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    config: Path | None = Field(
        None, description="TOML file with settings.", json_schema_extra=OPERATION
    )

    node_id: str = Field(
        "",
        description=(
            "Name of this node, for ever: never the host name, never used again after the node "
            "was removed or its disk was lost. Required with `cluster` or `join`, else `n1`."
        ),
        json_schema_extra=IDENTITY,
    )
    cluster_name: str = Field(
        "synaxis",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="Name of the cluster; nodes of another name are refused.",
        json_schema_extra=IDENTITY,
    )
    data_dir: Path = Field(
        Path("data"),
        description="Directory of the log and the snapshots; belongs to one node only.",
        json_schema_extra=IDENTITY,
    )
    roles: str = Field(
        "all",
        description="Services that this node takes part in, comma-separated: all, locks.",
        json_schema_extra=IDENTITY,
    )

    listen: str = Field(
        "127.0.0.1:7400",
        description="Where clients connect (API, metrics, health); port 0 picks a free one.",
        json_schema_extra=NETWORK,
    )
    peer_listen: str = Field(
        "",
        description=(
            "Where other nodes connect. Default: this node's address in `cluster`, "
            "else 127.0.0.1:7401."
        ),
        json_schema_extra=NETWORK,
    )
    advertise: str = Field(
        "",
        description="URL or host:port told to clients. Default: `listen`.",
        json_schema_extra=NETWORK,
    )
    peer_advertise: str = Field(
        "",
        description=(
            "host:port told to other nodes. Default: this node's address in `cluster`, "
            "else `peer_listen`."
        ),
        json_schema_extra=NETWORK,
    )

    cluster: str = Field(
        "",
        description=(
            "The first members with their peer addresses, n1=host:port,n2=host:port; the same "
            "on every node. Read once, when the data directory is new. Empty: one node alone."
        ),
        json_schema_extra=CLUSTER,
    )
    join: str = Field(
        "",
        description="URL of a member of a running cluster to join, instead of `cluster`.",
        json_schema_extra=CLUSTER,
    )
    join_api_key: SecretStr = Field(
        SecretStr(""),
        description="API key for `join`, when the cluster asks for one.",
        json_schema_extra=CLUSTER,
    )
    consensus_type: Literal["raft"] = Field(
        "raft",
        description="How the members agree. pbft is not available yet.",
        json_schema_extra=CLUSTER,
    )
    lock_groups: int = Field(
        1,
        ge=1,
        le=64,
        description="Groups that share the lock names; fixed when the cluster is created.",
        json_schema_extra=CLUSTER,
    )
    replication_factor: int = Field(
        3,
        ge=1,
        le=9,
        description=(
            "Voters wanted per group. 3 survive the loss of 1 node, 5 of 2; each more costs a "
            "write. Fixed when the cluster is created."
        ),
        json_schema_extra=CLUSTER,
    )

    election_timeout_ms_min: int = Field(
        300,
        ge=20,
        le=60_000,
        description=(
            "A follower that hears nothing for a random time between min and max stands for "
            "election. Shorter fails over sooner, but a slow disk or a busy machine then costs "
            "needless elections."
        ),
        json_schema_extra=RAFT,
    )
    election_timeout_ms_max: int = Field(
        600,
        ge=20,
        le=120_000,
        description="See `election_timeout_ms_min`; at least 1.3 times as long.",
        json_schema_extra=RAFT,
    )
    heartbeat_interval_ms: int = Field(
        60,
        ge=5,
        le=20_000,
        description="Pause between a leader's heartbeats; at most a third of the timeout's min.",
        json_schema_extra=RAFT,
    )

    session_ttl_ms_min: int = Field(
        1_000,
        ge=100,
        le=3_600_000,
        description="Shortest session TTL that a client may ask for.",
        json_schema_extra=SESSIONS,
    )
    session_ttl_ms_max: int = Field(
        300_000,
        ge=100,
        le=86_400_000,
        description="Longest session TTL: a vanished client blocks others for at most this long.",
        json_schema_extra=SESSIONS,
    )
    sessions_max: int = Field(
        100_000,
        ge=1,
        description="Sessions per group; opening one more is refused with limit_exceeded.",
        json_schema_extra=SESSIONS,
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least important log line to write.", json_schema_extra=OPERATION
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="auto: console on a terminal, else one JSON object per line.",
        json_schema_extra=OPERATION,
    )
    shutdown_timeout_s: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="Time after SIGTERM to hand leadership over and finish answers.",
        json_schema_extra=OPERATION,
    )

    connections_max: int = Field(
        10_000,
        ge=1,
        description="Client connections per node; one more is answered 503.",
        json_schema_extra=LIMITS,
    )
    frame_bytes_max: int = Field(
        1 << 20,
        ge=4096,
        le=1 << 26,
        description="Largest frame that a client may send after it has said hello, in bytes.",
        json_schema_extra=LIMITS,
    )
    watchers_max: int = Field(
        1_000,
        ge=1,
        description="Open watches per node; one more is refused with limit_exceeded.",
        json_schema_extra=LIMITS,
    )

    tls_cert: Path | None = Field(
        None, description="PEM certificate chain of the API.", json_schema_extra=SECURITY
    )
    tls_key: Path | None = Field(
        None, description="PEM private key for `tls_cert`.", json_schema_extra=SECURITY
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys (hashes); when set, clients must present one.",
        json_schema_extra=SECURITY,
    )
    peer_ca: Path | None = Field(
        None,
        description="PEM certificate of the cluster's own CA; peers must present one of its.",
        json_schema_extra=SECURITY,
    )
    peer_cert: Path | None = Field(
        None,
        description="PEM certificate of this node for peers, carrying its node id.",
        json_schema_extra=SECURITY,
    )
    peer_key: Path | None = Field(
        None, description="PEM private key for `peer_cert`.", json_schema_extra=SECURITY
    )
    i_know_this_is_insecure: bool = Field(
        False,
        description=(
            "Allow addresses other than loopback without TLS and API keys. Everybody who can "
            "reach the ports can then take and break every lock."
        ),
        json_schema_extra=SECURITY,
    )

    @field_validator("listen", "peer_listen", "peer_advertise")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return str(parse_address(value)) if value else value

    @field_validator("node_id")
    @classmethod
    def _is_a_node_id(cls, value: str) -> str:
        return parse_node_id(value) if value else value

    @field_validator("cluster")
    @classmethod
    def _is_a_member_list(cls, value: str) -> str:
        parse_members(value)
        return value

    @field_validator("roles")
    @classmethod
    def _is_a_role_list(cls, value: str) -> str:
        unknown = sorted(set(value.split(",")) - {"all", *ROLES})
        if unknown:
            msg = f"unknown or not available yet: {', '.join(unknown)}"
            raise ValueError(msg)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _case_does_not_matter(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def members(self) -> dict[NodeId, Address]:
        """The first members by id, with their peer addresses; empty for one node alone."""
        return parse_members(self.cluster)

    @property
    def id(self) -> NodeId:
        """This node's name."""
        return NodeId(self.node_id or "n1")

    @property
    def listen_address(self) -> Address:
        """Where clients connect."""
        return parse_address(self.listen)

    @property
    def peer_listen_address(self) -> Address:
        """Where other nodes connect."""
        if self.peer_listen:
            return parse_address(self.peer_listen)
        return self.members.get(self.id, DEFAULT_PEER_ADDRESS)

    @property
    def peer_advertised(self) -> Address:
        """What other nodes dial."""
        if self.peer_advertise:
            return parse_address(self.peer_advertise)
        return self.members.get(self.id, self.peer_listen_address)

    @property
    def api_url(self) -> str:
        """The URL that clients are told, without a trailing slash."""
        if "://" in self.advertise:
            return self.advertise.rstrip("/")
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://{self.advertise or self.listen}"

    @property
    def role_names(self) -> frozenset[str]:
        """The services of this node, ``all`` spelled out."""
        given = frozenset(self.roles.split(","))
        return frozenset(ROLES) if "all" in given else given

    @classmethod
    def group_of(cls, name: str) -> str:
        """Return the heading under which people find the setting ``name``."""
        extra = cls.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        return str(extra["group"])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced by ours
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - *_FILE instead
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flag, environment, ``.env``, TOML file."""
        return (
            init_settings,
            EnvironmentSource(settings_cls),
            DotEnvSource(settings_cls, dotenv_settings),
            TomlSource(settings_cls),
        )
