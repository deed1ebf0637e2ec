"""How one setting is declared."""

from typing import Any

from pydantic import Field

__all__ = ["setting"]


# Any, as pydantic.Field: the annotation of the setting is what counts.
def setting(group: str, default: object, description: str, **bounds: Any) -> Any:  # noqa: ANN401
    """Return the field of a setting that the documentation lists under ``group``."""
    return Field(default, description=description, json_schema_extra={"group": group}, **bounds)
