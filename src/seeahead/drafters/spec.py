"""What a drafter is made of before it has a target: its kind, its checked settings, the folder of its weights.

A setting is one field: it is what the command line takes (`language:depth=5,width=1`), what a config holds, what the
error names and what the help prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from seeahead.drafters.base import ModelDrafter
from seeahead.drafters.costs import with_costs
from seeahead.drafters.folder import Folder
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafting import Drafter
from seeahead.errors import DrafterError, allowed, shown
from seeahead.records import TARGET
from seeahead.target import Target

Joined = BeforeValidator(lambda value: tuple(filter(None, value.split("+"))) if isinstance(value, str) else value)
"""Of a setting with several values, written with + between them: "0.5+0.5" is ("0.5", "0.5")."""


class DrafterSpec(BaseModel):
    """A drafter without a target. `bind` makes it ready for one: weights, fingerprint and costs, once."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)
    kind: ClassVar[str] = ""

    name: str = Field(default="", alias="as", description="what reports call it")
    own: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)
    """Folders of drafters made for the target, by kind: where a member's weights are looked for."""

    @field_validator("name")
    @classmethod
    def _is_its_own(cls, name: str) -> str:
        if name == TARGET:  # of whose tokens records say so
            raise ValueError(f"any name but {TARGET}")
        return name

    @property
    def title(self) -> str:
        return self.name or self.kind

    def bind(self, target: Target) -> Drafter:
        """The drafter, ready for `target`: itself, where it needs nothing of a target. Raises DrafterError, naming the
        way out, if it cannot serve it."""
        itself: Any = self
        return itself  # type: ignore[no-any-return]

    @classmethod
    def settings(cls) -> list[str]:
        """Names of the settings, as they are written."""
        fields = cls.model_fields.items()
        return [field.alias or name for name, field in fields if not field.exclude and name != "source"]

    @classmethod
    def made(cls, values: Mapping[str, Any], text: str) -> DrafterSpec:
        """From settings by name; `text` is what the user wrote. Raises DrafterError for one that it does not have, and
        for a value that is not allowed."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0]) if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            known = ", ".join(cls.settings())
            raise DrafterError(f"drafter {shown(text)} has no setting {shown(name)}; it has {known}")
        given = shown(str(fault["input"]))
        raise DrafterError(f"setting {name} of drafter {shown(text)} is {given}; allowed: {allowed(fault['msg'])}")


class TreeSpec(DrafterSpec):
    """Settings of drafters that grow trees; `chain=N` is a chain of N tokens, however unlikely they are."""

    depth: Annotated[int, Field(ge=1, le=1000, description="levels of a tree")] = 7
    width: Annotated[int, Field(ge=1, le=1000, description="nodes expanded per level")] = 2
    num_nodes: Annotated[int, Field(ge=1, le=10_000, description="nodes of a tree at most")] = 12
    min_probability: Annotated[float, Field(ge=0, le=1, description="paths of a lower one are left out")] = 0.1
    fixed: Annotated[bool, Field(description="every tree of the same shape")] = False
    tuned: Annotated[bool, Field(description="only levels and nodes that pay on this machine")] = False
    draws: Annotated[bool, Field(description="at temperature above 0, draw a chain")] = False
    chain: Annotated[int | None, Field(ge=1, le=1000, description="a chain of so many tokens")] = None

    def limits(self) -> TreeLimits:
        if self.chain is not None:
            return TreeLimits(self.chain, 1, self.chain, 0.0, self.fixed)
        return TreeLimits(self.depth, self.width, self.num_nodes, self.min_probability, self.fixed)

    @property
    def drafting(self) -> dict[str, Any]:
        """How its drafter drafts, whatever its model is."""
        return {"limits": self.limits(), "draws": self.draws, "name": self.title}

    def bind(self, target: Target) -> Drafter:
        drafter = self.made_for(target)
        return with_costs(drafter, target) if self.tuned else drafter

    def made_for(self, target: Target) -> ModelDrafter:
        """As `bind`, before costs are measured."""
        raise NotImplementedError


class FolderSpec(TreeSpec):
    """Of a drafter whose weights are in a folder, here or on the hub."""

    source: str | Path
    key: ClassVar[str] = ""
    """What its config.json must have; without one any model will do."""

    def made_for(self, target: Target) -> ModelDrafter:
        folder = Folder.find(self.source)
        if self.key and (folder is None or self.key not in folder.values):
            raise DrafterError(
                f"{shown(str(self.source))} is not a {self.kind} drafter's folder; give one whose config.json has "
                f"{self.key}"
            )
        if folder is not None:
            folder.check_target(target)
        return self.read(folder, target)

    def read(self, folder: Folder | None, target: Target) -> ModelDrafter:
        """The drafter in a folder that was made for `target`; None: whatever model `source` is."""
        raise NotImplementedError
