"""The drafters, by the name a user gives. Implementations are imported when first needed."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seeahead.errors import DrafterError, ModelError

if TYPE_CHECKING:
    import torch

    from seeahead.drafting import Drafter

KINDS: dict[str, str] = {
    "none": "no drafts: plain decoding, the baseline",
    "lookup": "what followed the same words before, in prompt and answer; needs no model",
    "language": "a small language model that does not see the image (a folder or hub id, or the demo's own)",
}


def make_drafter(
    spec: str | Path | Drafter,
    *,
    device: torch.device,
    dtype: torch.dtype,
    own: Path | None = None,
) -> Drafter:
    """A drafter from a kind, a folder, a hub id, or as it is. `own`: folder of the drafter made for this target.

    Raises DrafterError or ModelError, in one line, if there is none.
    """
    if not isinstance(spec, str | Path):
        return spec
    if spec == "none":
        from seeahead.drafters.empty import EmptyDrafter

        return EmptyDrafter()
    if spec == "lookup":
        from seeahead.drafters.lookup import LookupDrafter

        return LookupDrafter()
    if spec == "language":
        if own is None:
            raise DrafterError(
                "the language drafter needs a model of the target's vocabulary; give its folder or hub id as drafter"
            )
        spec = own
    if Path(spec).is_dir() or str(spec).count("/") == 1:
        return _language(spec, device, dtype)
    near = difflib.get_close_matches(str(spec), KINDS, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise DrafterError(f"unknown drafter '{spec}'; {hint}allowed are {', '.join(KINDS)}, a folder or a hub id")


def _language(source: str | Path, device: torch.device, dtype: torch.dtype) -> Drafter:
    from seeahead.drafters.language import LanguageDrafter
    from seeahead.drafters.vocabulary import FILE_NAME, DraftVocabulary
    from seeahead.models.decoder import DecoderConfig, load_decoder

    folder = Path(source)
    if (folder / FILE_NAME).is_file():
        values = json.loads((folder / "config.json").read_text())
        vocabulary = DraftVocabulary.load(folder, values["unknown_draft_id"])
        decoder = load_decoder(folder, DecoderConfig.from_json(values), dtype, device)
        if len(vocabulary) != decoder.vocab_size:
            raise ModelError(
                f"'{folder}' maps {len(vocabulary)} draft tokens, its model has {decoder.vocab_size}; "
                "get the whole drafter folder again"
            )
        return LanguageDrafter(decoder, vocabulary)
    from seeahead.families import family_for
    from seeahead.families.loading import load_model

    model, tokenizer = load_model(source, dtype, str(device))
    return LanguageDrafter(family_for(model, tokenizer))
