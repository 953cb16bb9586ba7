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
from seeahead.errors import InputError
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.families.loading import load_model
from seeahead.generation_config import Prepared, check_settings, prepare
from seeahead.pictures import PictureSources
from seeahead.prompt import Prompt, PromptLike, make_prompt
from seeahead.proven import Prover
from seeahead.records import Generation, Origin, Step
from seeahead.sampling import Sampler, new_seed
from seeahead.stopping import StopRule, check_stop_texts

DEFAULT_MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class Reply:
    """One answer: its text, and the record of how it came about."""

    text: str
    generation: Generation
    seed: int = 0
    """The seed that was given, or drawn where none was: with it the same answer can be had again."""

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

    def __init__(
        self,
        family: Family,
        drafter: Drafter,
        own_drafters: Mapping[str, Path] | None = None,
        prover: Prover | None = None,
    ) -> None:
        self.family = family
        self.drafter = drafter
        self.own_drafters = own_drafters or {}
        self.prover = prover or Prover(family)

    def with_drafter(self, drafter: str | Path | Drafter) -> Engine:
        """The same target with another drafter; the target is not loaded again."""
        made = make_drafter(drafter, device=self.family.device, dtype=self.family.dtype, own=self.own_drafters)
        bound = with_prices(made.bound_to(self.family), self.family)
        return Engine(self.family, bound, self.own_drafters, self.prover)

    def generate(self, prompt: PromptLike, images: PictureSources = None, **settings: Any) -> Reply:
        """The whole answer. Settings are those of `stream`."""
        reply = None
        for piece in self.stream(prompt, images, **settings):
            reply = piece.reply
        assert reply is not None, "the last piece carries the reply"
        return reply

    def stream(
        self,
        prompt: PromptLike,
        images: PictureSources = None,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = (),
        captions: str | Iterable[str] | None = None,
        allow_urls: bool = False,
        special_tokens: bool = False,
        **options: Any,
    ) -> Iterator[Piece]:
        """The answer in pieces, as the target confirms them.

        `prompt` is a text or chat messages; `images` are paths, bytes, PIL images or data: URLs (http(s) only with
        `allow_urls`). Settings left out are those of the model's own generation config; `options` are further fields
        of it (docs/options.md says what becomes of each). Without a seed answers differ from call to call; the reply
        says which it had. A stop text ends the answer and is not part of its text. `captions`, one per picture, are for
        drafters that are shown words in its place; the target never reads them. `special_tokens` shows them in the
        text. Raises InputError before the first token for wrong input.
        """
        options |= {"top_k": top_k, "top_p": top_p, "min_p": min_p, "temperature": temperature}
        options |= {"repetition_penalty": repetition_penalty}
        settings = {name: value for name, value in options.items() if value is not None}
        check_settings(self.family.model.generation_config, settings, max_new_tokens, seed)
        stop_texts = check_stop_texts(stop)
        asked = make_prompt(prompt, images, captions, allow_urls=allow_urls)
        inputs = self.family.encode(asked)
        self.prover.before(inputs)
        prepared = self._prepare(inputs, settings, max_new_tokens)
        rule = self._stop_rule(prepared, stop_texts, special_tokens)
        # Where the model's own stop texts end an answer is transformers' to say; they are cut off like the caller's.
        teller = _Teller(rule, (*stop_texts, *prepared.stop_texts))
        return self._answer(asked, inputs, prepared.sampler(self._seed(seed, prepared)), rule, teller)

    @staticmethod
    def _seed(given: int | None, prepared: Prepared) -> int:
        if given is not None:
            return given
        return new_seed() if prepared.config.do_sample else 0

    def _answer(
        self, prompt: Prompt, inputs: ModelInputs, sampler: Sampler, rule: StopRule, teller: _Teller
    ) -> Iterator[Piece]:
        decoder = Decoder(self.family, self.drafter, sampler, rule, self.family.image_token_ids)
        progress = decoder.start(inputs, prompt)
        yield from teller.tell(progress.answer, ("target",), progress.finish_reason is not None)
        for step in decoder.steps(progress):
            yield from teller.tell(step.emitted, step.origins, progress.finish_reason is not None)
        generation = progress.generation(rule.num_prompt_tokens, self.drafter.name)
        yield Piece("", reply=Reply(teller.text, generation, sampler.params.seed))

    def _prepare(self, inputs: ModelInputs, settings: dict[str, Any], max_new_tokens: int | None) -> Prepared:
        own = self.family.model.generation_config
        limits = (max_new_tokens, settings.get("max_length"), own.max_new_tokens, own.max_length)
        if max_new_tokens is not None or all(limit is None for limit in limits):
            settings["max_new_tokens"] = max_new_tokens or DEFAULT_MAX_NEW_TOKENS
        if "temperature" in settings:
            draws = settings.setdefault("do_sample", settings["temperature"] > 0)
            if settings["temperature"] == 0:
                if draws:
                    raise InputError("do_sample is on and temperature is 0, which is greedy; leave out one of them")
                del settings["temperature"]
        return prepare(self.family.model, inputs.token_ids, self.family.tokenizer, settings)

    def _stop_rule(self, prepared: Prepared, stop: tuple[str, ...], special_tokens: bool) -> StopRule:
        tokenizer = self.family.tokenizer

        def to_text(tokens: Sequence[int]) -> str:
            text: str = tokenizer.decode(list(tokens), skip_special_tokens=not special_tokens)
            return text

        rule = prepared.stop_rule(
            stop_strings=stop, to_text=to_text, max_length=self.family.longest_after(len(prepared.prompt))
        )
        # A special token is not part of the text that stop texts are looked for in.
        special = tokenizer.get_added_vocab()
        return replace(rule, end_tokens=rule.end_tokens | {special[text] for text in stop if text in special})


class _Teller:
    """Turns growing token ids into text: a piece per run of tokens of one origin, never half a character."""

    def __init__(self, rule: StopRule, stop_texts: Sequence[str]) -> None:
        """`stop_texts`: what the answer's text ends before."""
        assert rule.to_text is not None
        self._to_text, self._stop_texts = rule.to_text, stop_texts
        self._tokens: list[int] = []
        self._held: list[tuple[int, Origin]] = []
        # Text is made of the tokens from `_context` on: those up to `_told` are told already, and only there so that
        # what follows is spelled as it is in the whole (a leading blank, a character of several tokens).
        self._context = self._told = 0
        self._whole = ""
        self.text = ""

    def tell(self, tokens: Sequence[int], origins: Sequence[Origin], is_last: bool) -> Iterator[Piece]:
        for index, (token, origin) in enumerate(zip(tokens, origins, strict=True)):
            self._tokens.append(token)
            self._held.append((token, origin))
            is_end = is_last and index == len(tokens) - 1
            if not is_end and index + 1 < len(origins) and origins[index + 1] == origin:
                continue
            if not self._read(is_end):
                continue
            whole = self._before_stop(self._whole) if is_end else self._without_begun_stop(self._whole)
            new, self.text = whole[len(self.text) :], whole
            held, self._held = self._held, []
            yield Piece(new, tuple(token for token, _ in held), tuple(origin for _, origin in held))

    def _read(self, is_end: bool) -> bool:
        """Add the text of the tokens not yet told; False where they end inside a character."""
        told = self._to_text(self._tokens[self._context : self._told])
        longer = self._to_text(self._tokens[self._context :])
        if longer.endswith("\ufffd") and not is_end:
            return False
        self._whole += longer[len(told) :]
        self._context, self._told = self._told, len(self._tokens)
        return True

    def _without_begun_stop(self, text: str) -> str:
        """`text` without an end that may yet become a stop string."""
        longest = max((len(stop) for stop in self._stop_texts), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop_texts):
                return text[:-length]
        return text

    def _before_stop(self, text: str) -> str:
        places = [place for stop in self._stop_texts if (place := text.find(stop)) >= 0]
        return text[: min(places)] if places else text


def load(
    target: str | Path | tuple[Any, Any],
    drafter: str | Path | Drafter | None = None,
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    chat_template: str | None = None,
    self_check: bool = True,
    progress: Callable[[str, float], None] | None = None,
) -> Engine:
    """An engine for a target: "demo" (built on first use), a hub id, a local folder, or a (model, processor) pair.

    `drafter`: a kind (none, lookup, language, vision, tabed, msd), a folder, a hub id, or an object; by default the
    demo's own msd for the demo, else lookup. `chat_template` takes the place of the checkpoint's own. `self_check`: a
    model that has not passed it here is proven on itself, in a few passes, before any answer (docs/losslessness.md).
    `progress` is told (what is being done, share done). Raises ModelError or DrafterError.
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
    family.chat_template = chat_template
    if not isinstance(target, tuple):
        family.fuse()  # a model that was given stays as it is: others may hold it too
    if drafter is None:
        drafter = next((kind for kind in FASTEST if kind in own), "lookup")
    prover = Prover(family, is_on=self_check)
    prover.at_load(progress)
    return Engine(family, _no_drafter(), own, prover).with_drafter(drafter)


def _no_drafter() -> Drafter:
    from seeahead.drafters.empty import EmptyDrafter

    return EmptyDrafter()
