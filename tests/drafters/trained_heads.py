"""Tiny heads trained for a moment on a tiny target's own answers, in a dialect, so that the dialect matters."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from seeahead.drafters.features import FeatureDrafter, Slots, shifted
from seeahead.drafters.head_networks import Dialect, spoken
from seeahead.drafters.heads import facts_of
from seeahead.drafters.probe import Sample
from seeahead.drafters.published import Published, read_published
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import ModelInputs, Want
from seeahead.executors.attention import NoMemory
from seeahead.families.tiny import FIRST_WORD, IMAGE, IMAGE_END, IMAGE_START, VOCAB_SIZE
from seeahead.sampling import SamplingParams
from seeahead.session import Session
from seeahead.target import Target
from seeahead.testing import tiny_family, tiny_inputs
from seeahead.testing.models import TINY_MODELS

LAYERS, ANSWER = 8, 24
ALL_LAYERS = (*range(1, LAYERS), -1)


@cache
def target(model_type: str) -> Target:
    family = tiny_family(model_type, num_hidden_layers=LAYERS)
    with torch.no_grad():  # branches a little quieter than random ones, as trained models have them
        for layer in family.model.get_decoder().layers:
            layer.self_attn.o_proj.weight.mul_(0.6)
            layer.mlp.down_proj.weight.mul_(0.2)
    return Target.of(family)


GRID = (8, 12)
"""Patches of an image on Qwen's targets: larger than the tiny ones, on which three axes hardly differ from one."""


def asked(model_type: str, num_images: int, num_words: int, seed: int) -> ModelInputs:
    """A prompt of words, after some images."""
    if not num_images or "qwen" not in model_type:
        return tiny_inputs(model_type, num_images, num_words, seed)
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(FIRST_WORD, VOCAB_SIZE, (num_words,), generator=generator).tolist()
    height, width = GRID
    image = [IMAGE_START, *[IMAGE] * (height * width // 4), IMAGE_END]
    tokens = torch.tensor([words[:2] + image * num_images + words[2:]])
    pixels = torch.randn(num_images * height * width, 3 * 2 * 4 * 4, generator=generator)
    grids = torch.tensor([[1, height, width]] * num_images)
    extras = {"pixel_values": pixels, "image_grid_thw": grids, **TINY_MODELS[model_type].type_ids(tokens)}
    return ModelInputs(tokens, extras)


@cache
def samples(model_type: str, num_images: int, first: int, number: int) -> list[Sample]:
    """Texts of one shape, which differ in words and pixels: what the target expects after each of their last words.

    One pass makes each, where an answer of the target's own would take as many as it has tokens."""
    own, found = target(model_type), []
    head = own.executor.head_rows(torch.arange(own.vocab_size))  # type: ignore[attr-defined]
    for seed in range(first, first + number):
        inputs = asked(model_type, num_images, 10 + ANSWER, seed)
        length, tokens = inputs.length - ANSWER, tuple(inputs.token_ids[0].tolist())
        scores = Session(own.executor, inputs.length).prefill(inputs, Want(ALL_LAYERS, embeddings=True))
        before = {layer: states[:length].clone() for layer, states in scores.features.items()}
        after = {layer: states[length:-1].clone() for layer, states in scores.features.items()}
        logits = (scores.features[-1][length:] @ head.T).clone()
        prompt = inputs.part(0, length)
        assert scores.embeddings is not None
        context = DraftContext(
            prompt,
            tokens[length],
            own.image_token_ids,
            own.vocab_size,
            SamplingParams(),
            ANSWER,
            before,
            scores.embeddings[:length].clone(),
        )
        found.append(Sample(context, tokens[length:], logits, Feedback(tokens[length + 1 :], logits[:-1], after)))
    return found


def read(folder: Any, values: dict[str, Any], model_type: str) -> Published:
    own = target(model_type)
    return read_published(folder, values, facts_of(own), own.executor.limits.width)


def taught_slots(drafter: FeatureDrafter, sample: Sample) -> tuple[Slots, dict[int, Tensor]]:
    """What a drafter reads of a whole sample, but features: these come of the states beside them."""
    seen, is_visual = drafter.seen(sample.context)
    new = drafter.embed(torch.tensor(sample.tokens))
    embeddings, visual = shifted(seen, is_visual, new)
    positions = drafter.positions(sample.context.inputs, len(sample.tokens))
    states = {
        layer: torch.cat((sample.context.features[layer], sample.feedback.features[layer])).clone()
        for layer in drafter.network.layers
    }
    return Slots(embeddings.clone(), embeddings, visual, positions), states


def train(found: Published, dialect: Dialect, model_type: str, head: Tensor, steps: int, seed: int = 0) -> float:
    """Trains the network of `found` in `dialect`; `head` [draft ids, width] stays. Returns the last loss."""
    network, own = spoken(found.network, dialect), target(model_type)
    ids = torch.arange(own.vocab_size) if found.target_ids is None else found.target_ids
    drafter = FeatureDrafter(network, None, own, network.decoder, name="taught")  # type: ignore[arg-type]
    groups = [samples(model_type, number, 1000, 96) for number in (0, 2, 2)]
    read_once = [[(*taught_slots(drafter, one), one.logits[:, ids].softmax(-1)) for one in group] for group in groups]
    parameters = [value for value in network.parameters() if value.numel() > 1]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    generator, loss = torch.Generator().manual_seed(seed), torch.zeros(())
    with torch.enable_grad():
        for step in range(steps):
            group = read_once[step % 3]
            chosen = torch.randint(len(group), (8,), generator=generator).tolist()
            begun, wanted = [], []
            for number in chosen:
                slots, states, shares = group[number]
                begun.append(network.begin(Slots(slots.embeddings, network.features(states), *_rest(slots))))
                wanted.append(shares)
            x, places = torch.stack([one.x for one in begun]), begun[0].positions
            places = torch.arange(x.shape[1])[None] if places is None else places
            out = network.decoder.run(x, places, NoMemory())[:, -ANSWER:]
            logits = network.decoder.for_head(torch.nn.Identity())(out) @ head.T  # type: ignore[operator]
            loss = -(torch.stack(wanted) * logits.log_softmax(-1)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return float(loss.detach())


def _rest(slots: Slots) -> tuple[Tensor, Tensor | None]:
    return slots.is_visual, slots.positions
