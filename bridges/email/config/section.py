"""What every section of an email network's settings has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=30 * 86400)]


class Section(BaseModel):
    """Unknown keys are refused; errors do not repeat the value, which may be a secret."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, allow_inf_nan=False
    )
