"""The network under training: a Llama of transformers over the draft vocabulary, with an image adapter or without."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from seeahead.drafters.folder import IMAGE_ADAPTER, KEY, Folder, fingerprint_of
from seeahead.drafters.language import shape_of
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, load_adapter, save_adapter
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY_FILE
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import ModelError, escaped
from seeahead.executors.checkpoint import read_language
from seeahead.target import Target
from seeahead.train.lines import Batch
from seeahead.train.losses import Taught

HEAD_DIM = 64


class DrafterNetwork(nn.Module):
    """`language` reads draft ids; `adapter` makes slots of the target's visual embeddings."""

    def __init__(
        self, language: LlamaForCausalLM, vocabulary: DraftVocabulary, adapter: ImageAdapter | None = None
    ) -> None:
        super().__init__()
        self.language, self.vocabulary, self.adapter = language, vocabulary, adapter

    @property
    def device(self) -> torch.device:
        return self.language.device

    def trained(self, adapter_only: bool = False) -> dict[str, Tensor]:
        """Parameters by name; a tied head is its embedding."""
        names = dict(self.named_parameters())
        return {name: value for name, value in names.items() if not adapter_only or name.startswith("adapter.")}

    def taught(self, batch: Batch) -> Taught:
        """Log-probabilities at the labelled places; the head runs on those alone."""
        chosen = batch.labels != -100
        with torch.autocast(self.device.type, torch.bfloat16):
            embeddings = self.language.get_input_embeddings()(batch.ids)
            if self.adapter is not None and batch.visual is not None:
                shown = self.adapter(batch.visual.to(embeddings.dtype)).to(embeddings.dtype)
                embeddings = embeddings.index_put(batch.slots, shown)
            hidden = self.language.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state[chosen]
            logits = self.language.lm_head(hidden)
        return Taught(
            logits.float().log_softmax(-1), batch.labels[chosen], batch.soft_ids[chosen], batch.shares[chosen]
        )

    def save(self, folder: Path, target: Target) -> None:
        """A drafter folder: a Hugging Face Llama checkpoint in bfloat16, the vocabulary's map, the adapter."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self.language.config
        config.target_vocab_size, config.unknown_draft_id = target.vocab_size, self.vocabulary.unknown
        kind = "language" if self.adapter is None else "vision"
        setattr(config, KEY, {"kind": kind, "target": fingerprint_of(target)})
        vars(config).pop(IMAGE_ADAPTER, None)  # what it was started from may have had one
        if self.adapter is not None:
            setattr(config, IMAGE_ADAPTER, self.adapter.config.to_json())
            save_adapter(self.adapter.to(torch.bfloat16), folder)
        self.language.bfloat16().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        save_file({"d2t": self.vocabulary.offsets()}, folder / VOCABULARY_FILE)
        self.float()


def head_width(width: int) -> int:
    """Of a drafter of this width; rotary positions need an even one."""
    return width // _num_heads(width)


def _num_heads(width: int) -> int:
    return max(1, width // HEAD_DIM)


def new_network(
    vocabulary: DraftVocabulary, width: int, layers: int, ends: tuple[int, int], adapter: AdapterConfig | None
) -> DrafterNetwork:
    """An untrained drafter; `ends` are the target's ids of begin and end."""
    heads = _num_heads(width)
    begin, end = (vocabulary.known([token]) or [vocabulary.unknown] for token in ends)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=width * 14 // 5,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=head_width(width),
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=begin[0],
        eos_token_id=end[0],
        pad_token_id=vocabulary.unknown,
    )
    return DrafterNetwork(LlamaForCausalLM(config), vocabulary, ImageAdapter(adapter) if adapter else None)


def load_network(folder: Path, adapter: AdapterConfig | None, vocab_size: int) -> DrafterNetwork:
    """A drafter to go on training from, for a target of `vocab_size` tokens.

    `adapter`: one to put on it where the folder has none. Raises ModelError for a folder that is no drafter's, or that
    of a drafter for another target."""
    if not (folder / VOCABULARY_FILE).is_file():
        raise ModelError(f"'{folder}' is no drafter to start from: it lacks {VOCABULARY_FILE}; train one first")
    found = Folder.read(folder)
    vocabulary = found.vocabulary()
    if vocabulary.highest >= vocab_size:
        raise ModelError(
            f"'{folder}' drafts token {vocabulary.highest}, the target has {vocab_size}; "
            "start from a drafter for a target with the same tokenizer, or from scratch"
        )
    read_language(folder, shape_of(found, vocabulary))  # transformers would not say what is damaged
    try:
        language = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(f"'{folder}' cannot be started from: {escaped(str(error))}; train one first") from None
    made = ImageAdapter(adapter) if adapter else None
    if adapter and found.values.get(IMAGE_ADAPTER) == adapter.to_json():
        made = load_adapter(folder, adapter, torch.float32, torch.device("cpu"))
    return DrafterNetwork(language, vocabulary, made)


def held_out_agreement(network: DrafterNetwork, batches: list[Batch], num_tokens: int) -> float:
    """Share of `num_tokens` target tokens that the drafter ranks first; tokens it does not know count as misses."""
    right = 0
    with torch.inference_mode():
        for batch in batches:
            taught = network.taught(batch.to(network.device))
            right += int((taught.logs.argmax(-1) == taught.wanted).sum())
    return round(right / max(1, num_tokens), 4)
