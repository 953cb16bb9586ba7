"""The door for users: load a model with a drafter, generate or stream answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from seeahead import metrics
from seeahead.decode import Decoder
from seeahead.drafters import FASTEST, make_drafter
from seeahead.drafters.prices import with_prices
from seeahead.drafting import Drafter
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.families.loading import load_model
from seeahead.pictures import PictureSource
from seeahead.prompt import Prompt, make_prompt
from seeahead.records import Generation, Origin, Step
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule

DEFAULT_MAX_NEW_TOKENS = 256

PromptLike = str | Prompt | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Reply:
    """One answer: its text, and the record of how it came about."""

    text: str
    generation: Generation

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The answer's tokens, the end token included where there was one."""
        return self.generation.token_ids

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.generation.steps

    @property
    def metrics(self) -> dict[str, float]:
        """Block efficiency (tokens per target forward, bonus included), token rate (per second, prefill excluded), …"""
        own = [self.generation]
        return {
            "block_efficiency": metrics.block_efficiency(own),
            "token_rate": metrics.token_rate(own),
            "draft_share": metrics.draft_share(own),
            "host_share": metrics.host_share(own),
            "seconds_prefill": self.generation.seconds_prefill,
        }


@dataclass(frozen=True)
class Piece:
    """New text of an answer under way, with who said each of its tokens first. The last piece carries the reply."""

    text: str
    token_ids: tuple[int, ...] = ()
    origins: tuple[Origin, ...] = ()
    reply: Reply | None = None


class Engine:
    """A target with a drafter. Answers are those of the target alone; only the time to them changes."""

    def __init__(self, family: Family, drafter: Drafter, own_drafters: Mapping[str, Path] | None = None) -> None:
        self.family = family
        self.drafter = drafter
        self.own_drafters = own_drafters or {}

    def with_drafter(self, drafter: str | Path | Drafter) -> Engine:
        """The same target with another drafter; the target is not loaded again."""
        made = make_drafter(drafter, device=self.family.device, dtype=self.family.dtype, own=self.own_drafters)
        bound = with_prices(made.bound_to(self.family), self.family)
        return Engine(self.family, bound, self.own_drafters)

    def generate(self, prompt: PromptLike, images: Iterable[PictureSource] = (), **settings: Any) -> Reply:
        """The whole answer. Settings are those of `stream`."""
        reply = None
        for piece in self.stream(prompt, images, **settings):
            reply = piece.reply
        assert reply is not None, "the last piece carries the reply"
        return reply

    def stream(
        self,
        prompt: PromptLike,
        images: Iterable[PictureSource] = (),
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        captions: Sequence[str] = (),
        allow_urls: bool = False,
    ) -> Iterator[Piece]:
        """The answer in pieces, as the target confirms them.

        `prompt` is a text or chat messages; `images` are paths, bytes, PIL images or data: URLs (http(s) only with
        `allow_urls`). Settings left out are those of the model's own generation config. A stop string ends the answer
        and is not part of its text. `captions`, one per picture, are for drafters that are shown words in its place;
        the target never reads them. Raises InputError before the first token for wrong input.
        """
        params = SamplingParams.from_generation_config(
            self.family.model.generation_config,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        rule = self._stop_rule(max_new_tokens, (stop,) if isinstance(stop, str) else tuple(stop))
        asked = make_prompt(prompt, images, captions, allow_urls=allow_urls)
        inputs = self.family.encode(asked)
        rule = replace(rule, num_prompt_tokens=inputs.token_ids.shape[1], max_length=self.family.max_length)
        return self._answer(asked, inputs, params, rule)

    def _answer(self, prompt: Prompt, inputs: ModelInputs, params: SamplingParams, rule: StopRule) -> Iterator[Piece]:
        sampler = Sampler(params, inputs.token_ids[0].tolist())
        decoder = Decoder(self.family, self.drafter, sampler, rule, self.family.image_token_ids)
        progress = decoder.start(inputs, prompt)
        teller = _Teller(rule)
        yield from teller.tell(progress.answer, ("target",), progress.finish_reason is not None)
        for step in decoder.steps(progress):
            yield from teller.tell(step.emitted, step.origins, progress.finish_reason is not None)
        yield Piece("", reply=Reply(teller.text, progress.generation(rule.num_prompt_tokens, self.drafter.name)))

    def _stop_rule(self, max_new_tokens: int | None, stop: tuple[str, ...]) -> StopRule:
        if max_new_tokens is None:
            max_new_tokens = self.family.model.generation_config.max_new_tokens or DEFAULT_MAX_NEW_TOKENS
        return StopRule(max_new_tokens, frozenset(self.family.end_token_ids), stop, self._text)

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.family.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


class _Teller:
    """Turns growing token ids into text: a piece per run of tokens of one origin, never half a character."""

    def __init__(self, rule: StopRule) -> None:
        assert rule.to_text is not None
        self._to_text, self._rule = rule.to_text, rule
        self._tokens: list[int] = []
        self._held: list[tuple[int, Origin]] = []
        self.text = ""

    def tell(self, tokens: Sequence[int], origins: Sequence[Origin], is_last: bool) -> Iterator[Piece]:
        for index, (token, origin) in enumerate(zip(tokens, origins, strict=True)):
            self._tokens.append(token)
            self._held.append((token, origin))
            is_end = is_last and index == len(tokens) - 1
            if not is_end and index + 1 < len(origins) and origins[index + 1] == origin:
                continue
            whole = self._to_text(self._tokens)
            if is_end:
                whole = self._before_stop(whole)
            elif whole.endswith("\ufffd"):
                continue
            else:
                whole = whole[: len(whole) - self._begun_stop(whole)]
            new, self.text = whole[len(self.text) :], whole
            held, self._held = self._held, []
            yield Piece(new, tuple(token for token, _ in held), tuple(origin for _, origin in held))

    def _begun_stop(self, text: str) -> int:
        """Length of the end of `text` that may yet become a stop string, and so is not told."""
        longest = max((len(stop) for stop in self._rule.stop_strings), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._rule.stop_strings):
                return length
        return 0

    def _before_stop(self, text: str) -> str:
        places = [place for stop in self._rule.stop_strings if (place := text.find(stop)) >= 0]
        return text[: min(places)] if places else text


def load(
    target: str | Path | tuple[Any, Any],
    drafter: str | Path | Drafter | None = None,
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    progress: Callable[[str, float], None] | None = None,
) -> Engine:
    """An engine for a target: "demo" (built on first use), a hub id, a local folder, or a (model, processor) pair.

    `drafter`: a kind (none, lookup, language, vision, tabed, msd), a folder, a hub id, or an object; by default the
    demo's own msd for the demo, else lookup. `progress` is told (what is being done, share done). Raises ModelError or
    DrafterError.
    """
    own: Mapping[str, Path] = {}
    if isinstance(target, tuple):
        model, processor = target
    elif target == "demo":
        from seeahead.demo.build import ensure

        paths = ensure(progress=progress)
        own = paths.drafters
        model, processor = load_model(paths.target, dtype, device)
    else:
        model, processor = load_model(target, dtype, device)
    family = family_for(model, processor)
    if not isinstance(target, tuple):
        family.fuse()  # a model that was given stays as it is: others may hold it too
    if drafter is None:
        drafter = next((kind for kind in FASTEST if kind in own), "lookup")
    return Engine(family, _no_drafter(), own).with_drafter(drafter)


def _no_drafter() -> Drafter:
    from seeahead.drafters.empty import EmptyDrafter

    return EmptyDrafter()
