"""What every section of an IRC network's settings has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=86400)]


class Section(BaseModel):
    """Unknown keys are refused; errors do not repeat the value, which may be a secret."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, allow_inf_nan=False
    )


def one_line(value: str) -> str:
    """The value again. Raises ValueError where it holds control characters."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("holds control characters")
    return value
