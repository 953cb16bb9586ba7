"""What a drafting is given in tests: an answer under way, what the target says to a draft, models of drawn weights."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import Executor, ModelInputs
from seeahead.sampling import SamplingParams
from seeahead.target import Target

NUM_TOKENS = 40


def context(
    tokens: Sequence[int],
    first: int = 8,
    images: frozenset[int] = frozenset(),
    temperature: float = 0.0,
    num_tokens: int = NUM_TOKENS,
    max_new_tokens: int = 30,
    **more: Any,
) -> DraftContext:
    """An answer to the prompt `tokens`, of which the `first` token is known."""
    inputs, params = ModelInputs(torch.tensor([list(tokens)])), SamplingParams(temperature)
    return DraftContext(inputs, first, images, num_tokens, params, max_new_tokens, **more)


def feedback(*tokens: int, num_tokens: int = NUM_TOKENS) -> Feedback:
    """`tokens` as the target's answer, with logits that say nothing."""
    return Feedback(tokens, torch.zeros(len(tokens), num_tokens))


def with_words(executor: Executor, tokenizer: Any) -> Target:
    """A target whose tokenizer is known, and nothing else of a family."""
    family: Any = SimpleNamespace(
        processor=tokenizer, tokenizer=tokenizer, image_token_ids=frozenset(), end_token_ids=(), executor=executor
    )
    return Target(executor, family)


def drawn(module: Any, seed: int, std: float = 0.6) -> Any:
    """`module` with weights drawn by `seed`, ready to draft."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return module.eval()
