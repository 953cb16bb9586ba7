"""Language and vision drafters under training: a Llama over the draft vocabulary, and what it learns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from seeahead.checked import shown_value
from seeahead.drafters.folder import IMAGE_ADAPTER, KEY, Folder, fingerprint_of
from seeahead.drafters.language import shape_of
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, load_adapter, save_adapter
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY_FILE
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import ModelError, escaped
from seeahead.executors.checkpoint import read_language
from seeahead.executors.tensor_files import full_disk_told, write_tensors
from seeahead.families.base import Family
from seeahead.target import Target
from seeahead.train.data import Dataset, Kinds, Objective
from seeahead.train.examples import Batch, Example, Sampler, in_rounds
from seeahead.train.gathered import GatheredExamples, gathers
from seeahead.train.loop import Loss
from seeahead.train.losses import LOSSES, Labels
from seeahead.train.recipe import Network, StageRecipe


class DrafterNetwork(nn.Module):
    """`language` reads draft ids; `adapter` makes slots of the target's visual embeddings."""

    def __init__(
        self, language: LlamaForCausalLM, vocabulary: DraftVocabulary, adapter: ImageAdapter | None = None
    ) -> None:
        super().__init__()
        self.language, self.vocabulary, self.adapter = language, vocabulary, adapter

    def labels(self, batch: Batch) -> Labels:
        """Log-probabilities at the labelled places; the head runs on those alone."""
        chosen = batch.labels >= 0
        with torch.autocast(self.language.device.type, torch.bfloat16):
            embeddings = self.language.get_input_embeddings()(batch.ids)
            if self.adapter is not None and batch.visual is not None:
                shown = self.adapter(batch.visual.to(embeddings.dtype)).to(embeddings.dtype)
                embeddings = embeddings.index_put(batch.is_slot.nonzero(as_tuple=True), shown)
            hidden = self.language.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state[chosen]
            logits = self.language.lm_head(hidden)
        logs = logits.float().log_softmax(-1)
        return Labels(logs, batch.labels[chosen], batch.soft_ids[chosen], batch.shares[chosen])

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
        with full_disk_told(folder.name), TemporaryDirectory(dir=folder) as beside:
            self.language.bfloat16().save_pretrained(beside)
            for path in Path(beside).iterdir():
                if path.name != "generation_config.json":
                    path.replace(folder / path.name)
        write_tensors({folder / VOCABULARY_FILE: {"d2t": self.vocabulary.offsets()}})
        self.float()


def new_network(
    vocabulary: DraftVocabulary, sizes: Network, ends: tuple[int, int], adapter: AdapterConfig | None
) -> DrafterNetwork:
    """An untrained drafter; `ends` are the target's ids of begin and end."""
    begin, end = (vocabulary.known([token]) or [vocabulary.unknown] for token in ends)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=sizes.width,
        intermediate_size=sizes.width * 14 // 5,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        head_dim=sizes.width // sizes.heads,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=begin[0],
        eos_token_id=end[0],
        pad_token_id=vocabulary.unknown,
    )
    return DrafterNetwork(LlamaForCausalLM(config), vocabulary, ImageAdapter(adapter) if adapter else None)


def load_network(folder: Path, adapter: AdapterConfig | None, family: Family) -> DrafterNetwork:
    """A drafter to go on training from, for the target `family`.

    `adapter`: one to put on it where the folder has none. Raises ModelError for a folder that is no drafter's, or that
    of a drafter for another target."""
    found = Folder.read(folder)
    vocabulary = found.vocabulary()
    if vocabulary.highest >= family.vocab_size or found.is_of_other_words(family):
        raise ModelError(
            f"'{folder}' drafts {vocabulary.highest + 1} tokens or more of its target, this one has "
            f"{family.vocab_size}, or other words for them; start from a drafter for a target with the same tokenizer, "
            "or from scratch"
        )
    read_language(folder, shape_of(found, vocabulary))  # transformers would not say what is damaged
    try:
        language = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(f"'{folder}' cannot be started from: {escaped(str(error))}; train one first") from None
    made = ImageAdapter(adapter) if adapter else None
    if adapter and (theirs := found.values.get(IMAGE_ADAPTER)) is not None:
        if not isinstance(theirs, dict) or theirs | {"num_tokens": 0} != adapter.to_json() | {"num_tokens": 0}:
            raise ModelError(
                f"'{folder}' has an image adapter of {shown_value(theirs)}, the recipe wants {adapter.to_json()}; "
                "give the same sizes in its [network], or another --start"
            )
        made = load_adapter(folder, adapter, torch.float32, torch.device("cpu"))
    return DrafterNetwork(language, vocabulary, made)


class LanguageObjective(Objective):
    """The next token, by the losses of `train.losses`; a vision drafter's adapter learns with it or alone."""

    network: DrafterNetwork

    @classmethod
    def begin(cls, dataset: Dataset, start: Path | None) -> LanguageObjective:
        """`start`: a drafter to go on from; None: from scratch. Raises ModelError for one that does not fit."""
        data, family, sizes = dataset.gather(), dataset.family, dataset.recipe.network
        adapter = None
        if dataset.recipe.kind == "vision":
            width: int = family.text_config.hidden_size
            adapter = AdapterConfig(width, sizes.width, sizes.adapter_width, sizes.visual_tokens)
        if start is not None:
            network = load_network(start, adapter, family)
        else:
            vocabulary = dataset.vocabulary(data)
            torch.manual_seed(dataset.recipe.seed)
            network = new_network(vocabulary, sizes, (dataset.begin, dataset.end), adapter)
        if network.adapter is not None and not network.adapter.down.weight.any():
            # The adapter starts as the map between the two tables of word embeddings.
            models: tuple[Any, Any] = (family.model, network.language)
            theirs, ours = (model.get_input_embeddings().weight.detach().float() for model in models)
            network.adapter.start_from(theirs[network.vocabulary.target_ids.to(theirs.device)], ours)
        return cls(dataset, data, network, network.vocabulary)

    def parameters(self, stage: StageRecipe | None = None) -> dict[str, Tensor]:
        """By name, of all or of what a stage trains, the rest at rest; a tied head is its embedding."""
        prefix = "adapter." if stage is not None and stage.trained == "adapter" else ""
        for name, value in self.network.named_parameters():
            value.requires_grad_(name.startswith(prefix))
        return {name: value for name, value in self.network.named_parameters() if name.startswith(prefix)}

    @cached_property
    def gathered(self) -> GatheredExamples | None:
        """Every example on the GPU, where there is one."""
        if not gathers(self.family.device):
            return None
        every = [example for kind in self.data.values() for example in kind]
        with torch.inference_mode(False):  # asked for while measuring, it serves training too
            return GatheredExamples([*every, *self.watched], self.table, self.vocabulary.unknown, self.family.device)

    def sampler(self, stage: StageRecipe) -> Sampler:
        recipe = self.dataset.recipe
        examples = examples_for(stage, self.data, recipe.network.visual_tokens)
        return in_rounds(examples, stage.limits.batch_size, recipe.seed)

    def read(self, examples: Sequence[Example]) -> tuple[Batch, Labels]:
        held = self.gathered or GatheredExamples(examples, self.table, self.vocabulary.unknown, self.family.device)
        batch = held.batch(examples)
        return batch, self.network.labels(batch)

    def loss(self, examples: Sequence[Example], stage: StageRecipe, noise: torch.Generator) -> Loss:
        batch, labels = self.read(examples)
        loss = torch.stack([weight * LOSSES[name](labels) for name, weight in stage.loss.items()]).sum()
        return loss, {"agreement": float(labels.hits.float().mean()), "tokens": float(batch.ids.numel())}

    def hits(self, examples: Sequence[Example]) -> Tensor:
        """[taught tokens]: whether the drafter ranks them first; those it does not know are not among them."""
        return self.read(examples)[1].hits

    def save(self, folder: Path) -> None:
        self.network.save(folder, Target.of(self.family))


def examples_for(stage: StageRecipe, data: Kinds, visual_tokens: int) -> list[Example]:
    """What a stage learns from; `visual_tokens` of every image are in an example."""
    examples = [example for kind in stage.data for example in data[kind]]
    if stage.trained == "adapter":  # what shows no image has nothing to teach it
        examples = [example for example in examples if example.visual is not None]
    if stage.most_pictures:
        most = stage.most_pictures * visual_tokens
        examples = [example for example in examples if example.visual is None or len(example.visual) <= most]
    return examples
