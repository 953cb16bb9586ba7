"""The one place where logits become probabilities and where the target's tokens are drawn.

A target's logits are shaped by transformers' own processors where its settings come from a generation config. The
filters here (repetition penalty, temperature, top-k, top-p, min-p: their order and meaning are those of `generate`) are
for drafters and for targets that are no transformers models. Greedy decoding is the one-hot distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from seeahead.checked import shown_value
from seeahead.errors import InputError, ModelError, SeeaheadError
from seeahead.history import TokenHistory

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
        for name, (kind, is_valid, allowed) in _CHECKS.items():
            value = getattr(self, name)
            # numpy's numbers are fine; True and False are numbers to Python, but nobody means them as such.
            if isinstance(value, bool) or not isinstance(value, kind) or not is_valid(value):
                raise InputError(f"{name} is {shown_value(value)}; allowed is {allowed}")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0


NO_TOKEN = -1
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 1e-6, 1e6
"""Beyond these, logits divided by the temperature leave what float32 can tell apart."""

_MOST = 1e30
"""Well within float32."""

_CHECKS: dict[str, tuple[type, Callable[[Any], bool], str]] = {
    "temperature": (
        Real,
        lambda value: value == 0 or _LEAST_TEMPERATURE <= value <= _MOST_TEMPERATURE,
        f"0 (greedy) or a number from {_LEAST_TEMPERATURE:g} to {_MOST_TEMPERATURE:g}",
    ),
    "top_k": (Integral, lambda value: value >= 0, "0 (off) or a whole number of tokens"),
    "top_p": (Real, lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "min_p": (Real, lambda value: 0 <= value < 1, "a number from 0 (off) to below 1"),
    "repetition_penalty": (Real, lambda value: 0 < value <= _MOST, "a number above 0, at most 1e+30 (1 is off)"),
    "seed": (Integral, lambda value: 0 <= value < 2**64, "a whole number from 0 to 2**64 - 1"),
}


class Sampler:
    """Turns the target's logits into its next-token distribution, and draws from it.

    Randomness belongs to positions, not to calls: the numbers used for answer position t depend on the seed and t
    alone. So nothing a drafter does can shift what the target draws, and with a fixed draft the answer is, token by
    token, the one the target would have sampled without any draft.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        filters: LogitsFilter | None = None,
        *,
        looks_back: bool = True,
        is_distinct: bool = False,
    ) -> None:
        """`prompt`: ids that a repetition penalty or `filters` look back on.

        `filters`, where given, shape the logits in the place of the filters of `params`, which then only say whether
        tokens are drawn, and with which seed. `looks_back`: whether they read the tokens so far; `is_distinct`: only
        which ones there were, not where or how often.
        """
        if filters is None:
            looks_back = is_distinct = params.repetition_penalty != 1
            filters = partial(_filtered, params) if looks_back or not params.is_greedy else None
        self.params = params
        self._filters = filters
        self._looks_back = looks_back
        self._history = TokenHistory(prompt if looks_back else (), is_distinct=is_distinct)

    def extend(self, tokens: Sequence[int]) -> None:
        """Tokens were committed: later distributions look back on them."""
        if self._looks_back:
            self._history.extend(tokens)

    def greedy_choices(self, logits: torch.Tensor) -> list[int] | None:
        """As `greedy_tokens`, in one copy from the device."""
        best = self.greedy_tokens(logits)
        return None if best is None else best.tolist()

    def greedy_tokens(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Greedy token of each row of `logits` [nodes, vocabulary]; NO_TOKEN where the best is no number or nothing is
        left. None if rows look back on tokens."""
        if not self.params.is_greedy or self._looks_back:
            return None
        if self._filters is not None:
            logits = self._filters(_NO_HISTORY.to(logits.device).expand(len(logits), 1), logits.float())
        if logits.device.type == "cpu" and logits.dtype == torch.float32:
            # In one thread: torch's others, once awake, spin and take the processor from an OpenVINO pass that follows.
            rows = logits.numpy()
            chosen = rows.argmax(-1)
            best_of_rows = np.take_along_axis(rows, chosen[:, None], 1)[:, 0]
            return torch.from_numpy(np.where(best_of_rows > -np.inf, chosen, NO_TOKEN))
        # On a CPU in bfloat16, `max` takes a third of argmax's time; of several alike both take the first.
        best = logits.max(-1)
        return torch.where(best.values > -torch.inf, best.indices, NO_TOKEN)

    def distribution(self, logits: torch.Tensor, path_tokens: Sequence[int] = ()) -> torch.Tensor:
        """Probabilities [vocabulary] in float32 of the token after history + `path_tokens`, from its `logits`."""
        shaped = logits.float()
        if self._filters is not None:
            history = self._history.followed_by(path_tokens, logits.device) if self._looks_back else _NO_HISTORY
            shaped = self._filters(history.to(logits.device)[None], shaped[None])[0]
        best = shaped.max(-1)
        if not best.values > -torch.inf or (not self.params.is_greedy and best.values.isinf()):
            raise no_token(logits)
        if self.params.is_greedy:
            return torch.zeros_like(shaped).index_fill_(0, best.indices[None], 1.0)
        return shaped.softmax(-1)

    def stream(self, position: int) -> np.random.Generator:
        """The random numbers of answer position `position`: the first draws its token, later ones accept or refuse."""
        return np.random.Generator(np.random.Philox(key=np.array([self.params.seed, position], dtype=np.uint64)))


_NO_HISTORY = torch.zeros(1, dtype=torch.int64)


def no_token(logits: torch.Tensor) -> SeeaheadError:
    if bool(logits.isnan().any()) or bool(logits.isposinf().any()):
        return ModelError(
            f"the model's logits are not finite numbers in {str(logits.dtype).removeprefix('torch.')}; load it with "
            "dtype 'bfloat16' or 'float32', or check its weights"
        )
    return InputError("the settings leave no token to choose: all are suppressed; allow at least one")


def probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Softmax of `logits` [..., vocabulary] after temperature, top-k, top-p and min-p. Temperature must be above 0."""
    return _filtered(params, None, logits.float()).softmax(-1)


def _filtered(params: SamplingParams, history: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor:
    """`logits` [..., vocabulary] in float32 after the filters of `params`; a penalty looks back on `history` [1, n]."""
    if params.repetition_penalty != 1 and history is not None:
        seen = history[0][history[0] < logits.shape[-1]]
        scores = logits[..., seen]
        penalised = torch.where(scores < 0, scores * params.repetition_penalty, scores / params.repetition_penalty)
        logits = logits.index_copy(-1, seen, penalised)  # what stands there twice is written twice, alike
    if params.is_greedy:
        return logits
    logits = logits / params.temperature
    if 0 < params.top_k < logits.shape[-1]:
        lowest_kept = logits.topk(params.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < lowest_kept, -torch.inf)
    if params.top_p < 1:
        # Tokens from the least likely up whose mass together stays within 1 - top_p are removed, the best one never.
        ascending, order = logits.sort(dim=-1)
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - params.top_p
        removed[..., -1] = False
        logits = logits.masked_fill(removed.scatter(-1, order, removed), -torch.inf)
    if params.min_p > 0:
        result = logits.softmax(-1)
        logits = logits.masked_fill(result < params.min_p * result.max(-1, keepdim=True).values, -torch.inf)
    return logits


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Log softmax of `logits` [..., vocabulary] in float32, no filter applied."""
    return logits.float().log_softmax(-1)


def probabilities_of(logits: torch.Tensor) -> torch.Tensor:
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
