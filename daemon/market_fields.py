"""Fields of requests that name what the provider's market has: a region, a GPU, a price, a size."""

from __future__ import annotations

from typing import Annotated

import pycountry
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

MOST_GB = 100_000
_COUNTRIES = frozenset({country.alpha_2 for country in pycountry.countries} | {"XK"})
"""ISO 3166-1, and Kosovo, which has a code by custom only."""


def _country(code: str) -> str:
    if code not in _COUNTRIES:
        raise PydanticCustomError("country", "Input should be the exact code of a country, such as US, DE or PL")
    return code


Region = Annotated[
    str,
    AfterValidator(_country),
    Field(
        description="The exact code of a country, such as US, DE or PL.", json_schema_extra={"enum": sorted(_COUNTRIES)}
    ),
]
GpuName = Annotated[str, Field(min_length=1, max_length=64)]
Price = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
