"""The one place where logits become probabilities and where the target's tokens are drawn.

Order of the filters, and their meaning, are those of transformers' `generate`: repetition penalty, temperature, top-k,
top-p, min-p. Greedy decoding is the one-hot distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from seeahead.errors import InputError

LogitsFilter = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(token ids [1, length], logits [1, vocabulary]) -> logits [1, vocabulary], as transformers' logits processors."""


@dataclass(frozen=True)
class SamplingParams:
    """How the target's next token is chosen. `temperature` 0 is greedy; `top_k` 0 means no limit."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature >= 0, "0 (greedy) or above"),
            ("top_k", self.top_k >= 0, "0 (off) or a number of tokens"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p < 1, "from 0 (off) to below 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0 (1 is off)"),
            ("seed", self.seed >= 0, "0 or above"),
        )
        for name, is_valid, allowed in checks:
            if not is_valid:
                raise InputError(f"{name} is {getattr(self, name)}; allowed is {allowed}")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    @classmethod
    def from_generation_config(cls, config: object, **overrides: Any) -> SamplingParams:
        """The model's own defaults, with every override that is not None. A config with do_sample off is greedy."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = getattr(config, field.name, None)
            if value is not None and field.name != "seed":
                values[field.name] = value
        if not getattr(config, "do_sample", False):
            values = {"repetition_penalty": values.get("repetition_penalty", 1.0)}
        elif "temperature" not in values:
            values["temperature"] = 1.0
        return replace(cls(**values), **{name: value for name, value in overrides.items() if value is not None})


class Sampler:
    """Turns the target's logits into its next-token distribution, and draws from it.

    Randomness belongs to positions, not to calls: the numbers used for answer position t depend on the seed and t
    alone. So nothing a drafter does can shift what the target draws, and with a fixed draft the answer is, token by
    token, the one the target would have sampled without any draft.
    """

    def __init__(self, params: SamplingParams, prompt: Sequence[int], filters: LogitsFilter | None = None) -> None:
        """`prompt`: ids that a repetition penalty or `filters` look back on; `filters` runs before our own filters."""
        self.params = params
        self.filters = filters
        self._history = list(prompt)

    @property
    def needs_history(self) -> bool:
        return self.filters is not None or self.params.repetition_penalty != 1

    def extend(self, tokens: Sequence[int]) -> None:
        """Tokens were committed: later distributions look back on them."""
        self._history.extend(tokens)

    def greedy_choices(self, logits: torch.Tensor) -> list[int] | None:
        """Greedy token of each row of `logits` [nodes, vocabulary] in one copy; None if rows look back on tokens."""
        if not self.params.is_greedy or self.needs_history:
            return None
        choices: list[int] = likeliest(logits).tolist()
        return choices

    def distribution(self, logits: torch.Tensor, path_tokens: Sequence[int] = ()) -> torch.Tensor:
        """Probabilities [vocabulary] in float32 of the token after history + `path_tokens`, from its `logits`."""
        logits = logits.float()
        if self.needs_history:
            logits = self._look_back(logits, path_tokens)
        if self.params.is_greedy:
            return torch.zeros_like(logits).index_fill_(0, logits.argmax(-1, keepdim=True), 1.0)
        return probabilities(logits, self.params)

    def _look_back(self, logits: torch.Tensor, path_tokens: Sequence[int]) -> torch.Tensor:
        history = torch.tensor([*self._history, *path_tokens], device=logits.device)
        if self.params.repetition_penalty != 1:
            seen = torch.unique(history)
            seen = seen[seen < logits.shape[-1]]
            scores = logits[seen]
            penalty = self.params.repetition_penalty
            logits = logits.index_copy(0, seen, torch.where(scores < 0, scores * penalty, scores / penalty))
        if self.filters is not None:
            logits = self.filters(history[None], logits[None])[0]
        return logits

    def stream(self, position: int) -> np.random.Generator:
        """The random numbers of answer position `position`: the first draws its token, later ones accept or refuse."""
        return np.random.Generator(np.random.Philox(key=np.array([self.params.seed, position], dtype=np.uint64)))


def probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Softmax of `logits` [..., vocabulary] after temperature, top-k, top-p and min-p. Temperature must be above 0."""
    logits = logits.float() / params.temperature
    if 0 < params.top_k < logits.shape[-1]:
        lowest_kept = logits.topk(params.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < lowest_kept, -torch.inf)
    if params.top_p < 1:
        # Tokens from the least likely up whose mass together stays within 1 - top_p are removed, the best one never.
        ascending, order = logits.sort(dim=-1)
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - params.top_p
        removed[..., -1] = False
        logits = logits.masked_fill(removed.scatter(-1, order, removed), -torch.inf)
    result = logits.softmax(-1)
    if params.min_p > 0:
        kept = result >= params.min_p * result.max(-1, keepdim=True).values
        result = logits.masked_fill(~kept, -torch.inf).softmax(-1)
    return result


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """What a model itself believes: log softmax of `logits` [..., vocabulary] in float32, no filter applied."""
    return logits.float().log_softmax(-1)


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """argmax of `logits` [..., vocabulary] over the last side; of several alike the first, as argmax has it.

    On a CPU in bfloat16, `max` with its indices takes a third of argmax's time, milliseconds over a whole tree."""
    return logits.max(-1).indices


def beliefs(logits: torch.Tensor) -> torch.Tensor:
    """Softmax of `logits` [..., vocabulary] in float32, no filter applied; zeros where every logit is -inf."""
    return logits.float().softmax(-1).nan_to_num(0.0)


def mixture(distributions: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Logits of the mixture of `distributions` [members, ..., vocabulary] by `weights` [members].

    A member without a say (zeros) leaves its weight to the others; where none has one, all tokens are alike."""
    mixed: torch.Tensor = torch.tensordot(weights, distributions, 1)
    return mixed.clamp_min(_LEAST).log()


_LEAST = 1e-30
"""Less than any probability that float32 softmax tells from zero in a mixture that matters."""


def draw(distribution: torch.Tensor, uniform: float) -> int:
    """The token at quantile `uniform` (in [0, 1)) of `distribution` [vocabulary], which need not be normalised."""
    cumulative = distribution.double().cumsum(-1)
    token = torch.searchsorted(cumulative, cumulative[-1] * uniform, right=True)
    # Rounding can put the quantile at the very end: the last token that can be drawn is the first to reach the total.
    return int(torch.minimum(token, torch.searchsorted(cumulative, cumulative[-1])))


def residual(target: torch.Tensor, proposal: torch.Tensor) -> torch.Tensor:
    """What a refused proposal leaves of the target: max(p - q, 0), normalised (Leviathan et al. 2023)."""
    rest = (target - proposal).clamp_min(0)
    total = rest.sum()
    # No rest means p = q up to rounding; a refusal then has probability zero, and p is the right limit.
    return rest / total if total > 0 else target
