"""Which models have passed the proof: asked before every answer, remembered on disk, so that a second load is free."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from seeahead import proof
from seeahead.cache_folder import default_cache
from seeahead.checked import is_file
from seeahead.compat import attention_of
from seeahead.errors import InputError, ModelError, SeeaheadError
from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.families.inspection import is_customised
from seeahead.generation_config import Known
from seeahead.provenance import version_of, write_json

_SMALL = 20_000_000
"""Weights."""

_NOT_OF_THE_MODEL = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
_PACKAGES = ("transformers", "openvino", "nncf", "triton")
_OURS = ("compat.py", "executor.py", "session.py", "proof.py", "families/*.py", "executors/*.py")


def proofs_folder() -> Path:
    """Where passed proofs are remembered."""
    return default_cache() / "proofs"


class Prover:
    """Proves a model, each kind of prompt (text, image) once, as long as it stays as it is; `is_on` False trusts it."""

    def __init__(self, family: Family, *, is_on: bool = True) -> None:
        self.family, self._is_on = family, is_on
        self.follows = True
        """Whether to look before every answer if somebody has changed the model; off where nobody else has it."""
        self.known = Known()
        """Settings that were prepared while nobody else had it."""
        self._held = set[tuple[str, Any]]()
        self._lock = Lock()

    def alone(self, is_alone: bool) -> None:
        """Say whether nobody else has the model from now on."""
        self.follows, self.known = not is_alone, Known()

    def at_load(self, progress: Callable[[str, float], None] | None = None) -> None:
        """Prove text, and images where the processor makes a prompt of one. Raises ModelError."""
        size = sum(parameter.numel() for parameter in self.family.model.parameters())
        # A small model is proven before anybody could read a line about it.
        self._require("text", progress=progress if size > _SMALL else None)
        inputs = proof.image_prompt(self.family)
        if inputs is not None:
            with suppress(InputError):  # wrong settings of its processor: who sends an image is told of them
                self._require("image", inputs)

    def before(self, inputs: ModelInputs) -> None:
        """Before an answer to `inputs`: what changed about the model is followed and proven. Raises ModelError."""
        if self.follows and self.family.follow():
            # Whether passes and prompts may be shared and cut is the executor's to know, which has begun anew.
            with self._lock:
                self._held = {key for key in self._held if key[0] != "batch"}
        self._require("text")
        # Which tokens stand for images is asked last: it takes longer than all else here.
        if not self._is_held("image") and inputs.has_any(self.family.image_token_ids) and inputs.shows_images:
            self._require("image", inputs)

    def before_batch(self) -> None:
        """Before several requests share passes: a model that says something else then runs them one by one, and one
        that says something else to a prompt in parts reads it whole."""
        self.before(self.family.text_inputs(torch.zeros(1, 0, dtype=torch.int64)))
        key = ("batch", self.family.seen)
        if self._is_held("batch"):
            return
        with self._lock:
            executor, bound, error = self.family.executor, proof.bound_of(self.family), proof.packed_error(self.family)
            if error > bound and not executor.separate():
                raise ModelError(
                    f"self-check failed: two requests in one pass differ from each alone by {error:.2g} of the logits' "
                    f"spread, the bound is {bound:g}; answer them one by one with generate"
                )
            # Where words see each other both ways, a part does not see what comes after it.
            self.family.can_cut = proof.parts_error(self.family) <= bound
            self._held.add(key)

    def _is_held(self, kind: str) -> bool:
        """Whether there is nothing to prove."""
        return not self._is_on or (kind, self.family.seen) in self._held

    def _require(
        self, kind: str, inputs: ModelInputs | None = None, progress: Callable[[str, float], None] | None = None
    ) -> None:
        key = (kind, self.family.seen)
        if self._is_held(kind):
            return
        with self._lock:
            path = _path(self.family, kind)
            if path is None or not is_file(path):
                if progress is not None:
                    progress("checking the model on itself", 0.0)
                prompts = proof.prompts_for(self.family) if inputs is None else [(proof.IMAGE, inputs)]
                findings = proof.require(proof.prove(self.family, prompts))
                if not findings:  # nothing of it could be proven on this prompt: the next may do
                    return
                with suppress(OSError):  # else it is proven again next time
                    if path is not None:
                        write_json(path, {finding.part: finding.error for finding in findings})
            self._held.add(key)


def _path(family: Family, kind: str) -> Path | None:
    """The file that a passed proof leaves; None where no folder can be had, or for code that has no name to go by."""
    if is_customised(family.model):
        return None
    try:
        return proofs_folder() / f"{hashlib.sha256(repr(_identity(family, kind)).encode()).hexdigest()[:32]}.json"
    except SeeaheadError:
        return None


def _identity(family: Family, kind: str) -> tuple[Any, ...]:
    """Everything that the outcome of a proof depends on, the weights' values apart."""
    model, device = family.model, family.device.type
    config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_OF_THE_MODEL}
    kinds = Counter(str(type(one)) for one in (family, *model.modules()))
    versions = torch.__version__, _own_code(), *map(version_of, _PACKAGES)
    machine = torch.cuda.get_device_name(family.device) if device == "cuda" else platform.machine()
    limits = family.executor.limits
    types = family.dtype, limits.dtype, limits.long_rows  # of its weights, in which it computes, and what else
    is_training = any(module.training for module in model.modules())  # where passes may be random
    place = str(types), device, machine, attention_of(family.text_config), family.executor.name, is_training
    return kind, json.dumps(config, sort_keys=True, default=str), sorted(kinds.items()), versions, place


@cache
def _own_code() -> str:
    """A hash of what runs a model here: other code is another proof."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _OURS for path in folder.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
