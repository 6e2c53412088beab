"""Sourced figures: a value with its unit, where it was found, and how far that source was checked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Status = Literal["V", "V2", "D", "M", "assumed", "unpublished"]
STATUS_MEANING: dict[str, str] = {
    "V": "read in a primary source",
    "V2": "read in a secondary source that quotes the primary one",
    "D": "arithmetic on published figures",
    "M": "from memory of the named source, unchecked",
    "assumed": "our assumption; the note says why",
    "unpublished": "no published figure",
}

UnitT = TypeVar("UnitT", bound=str)


class Section(BaseModel):
    """Base of every part of a chip description: immutable, and no key goes unread."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Figure(Section):
    """What every figure carries besides its value: where it is from, how well that was checked, and a remark."""

    source: Annotated[str, Field(min_length=1, description="a key of the file's `sources` table")]
    status: Annotated[Status, Field(description="how far the source was checked")]
    note: str = ""

    @model_validator(mode="after")
    def _status_fits(self) -> Figure:
        if self.status == "assumed" and not self.note.strip():
            raise PydanticCustomError("status", "an assumed figure needs a `note` that says why")
        missing = getattr(self, "value", 0) is None
        if missing != (self.status == "unpublished"):
            raise PydanticCustomError("status", "`value: null` and `status: unpublished` go together")
        return self


class Count(Figure, Generic[UnitT]):
    """A whole number >= 1 of something named by ``unit``."""

    value: Annotated[int, Field(ge=1, le=2**40, strict=True)]
    unit: UnitT


class Bits(Figure):
    """A field width in bits; 0 = the field is absent."""

    value: Annotated[int, Field(ge=0, le=4096, strict=True)]
    unit: Literal["bits"]


class Widths(Figure):
    """The widths a field may take, in bits, ascending."""

    value: Annotated[tuple[Annotated[int, Field(ge=1, le=64, strict=True)], ...], Field(min_length=1)]
    unit: Literal["bits"]


class ExponentRange(Figure):
    """Lowest and highest power of two of a shared exponent."""

    value: tuple[Annotated[int, Field(strict=True)], Annotated[int, Field(strict=True)]]
    unit: Literal["powers of two"]


class Places(Figure):
    """Router positions on one chip, each ``[column, row]``."""

    value: Annotated[
        tuple[tuple[Annotated[int, Field(ge=0, strict=True)], Annotated[int, Field(ge=0, strict=True)]], ...],
        Field(min_length=1),
    ]
    unit: Literal["routers"]


class Measure(Figure):
    """A physical quantity >= 0, or ``None`` where nothing is published; ``base`` converts to the class's base unit."""

    scale: ClassVar[dict[str, float]] = {}
    value: Annotated[float, Field(ge=0, le=1e12, strict=True, allow_inf_nan=False)] | None

    @property
    def base(self) -> float | None:
        """The value in the first-named unit of the class docstring; ``None`` = not published."""
        return None if self.value is None else self.value * self.scale[getattr(self, "unit")]  # noqa: B009


class Energy(Measure):
    """Energy; base unit pJ."""

    scale: ClassVar[dict[str, float]] = {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6}
    unit: Literal["fJ", "pJ", "nJ", "uJ"]


class Time(Measure):
    """Time; base unit ns."""

    scale: ClassVar[dict[str, float]] = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6}
    unit: Literal["ps", "ns", "us", "ms"]


class Power(Measure):
    """Power; base unit mW."""

    scale: ClassVar[dict[str, float]] = {"uW": 1e-3, "mW": 1.0, "W": 1e3}
    unit: Literal["uW", "mW", "W"]


class Frequency(Measure):
    """Clock frequency; base unit MHz."""

    scale: ClassVar[dict[str, float]] = {"kHz": 1e-3, "MHz": 1.0, "GHz": 1e3}
    unit: Literal["kHz", "MHz", "GHz"]
