"""What users call: load a model with a drafter, generate or stream answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seeahead.checked import shown_value
from seeahead.decode import run
from seeahead.detokenize import Detokenizer
from seeahead.drafters import bind, check_is_drafter, folders_for, spec_of
from seeahead.drafters.pace import Pace
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import Drafter
from seeahead.errors import FaultError, InputError, ModelError, SeeaheadError
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.families.choice import as_converted, choose, choose_for, put_executor
from seeahead.families.loading import load_model
from seeahead.generation_config import Prepared, check_settings, prepare
from seeahead.images import ImageSources
from seeahead.prompt import PromptLike, make_prompt
from seeahead.proven import Prover
from seeahead.reply import Answer, Piece, Reply
from seeahead.request import Request
from seeahead.stopping import StopRule, check_is_shown, check_stop_texts, holds_text
from seeahead.target import Target

DEFAULT_MAX_NEW_TOKENS = 256
DEFAULT_NUM_AT_ONCE = 8


class Engine:
    """A target with a drafter. Answers are those of the target alone; only the time to them changes."""

    def __init__(
        self,
        family: Family,
        drafter: Drafter,
        own_drafters: Mapping[str, Path] | None = None,
        prover: Prover | None = None,
    ) -> None:
        """`drafter` is bound to the family's executor; `own_drafters`: folders of drafters made for it, by kind."""
        self.family = family
        self.target = Target.of(family)
        self.drafter = drafter
        self.own_drafters = own_drafters or {}
        self.prover = prover or Prover(family)
        self._pace = Pace(self.target.executor, [drafter])

    def with_drafter(self, drafter: str | Path | DrafterSpec | Drafter) -> Engine:
        """The same target with another drafter; the target is not loaded again.

        Raises DrafterError for a drafter that is none, or is made for another target."""
        return Engine(self.family, bind(drafter, self.target, self.own_drafters), self.own_drafters, self.prover)

    def generate(self, prompt: PromptLike, images: ImageSources = None, **settings: Any) -> Reply:
        """The whole answer. Settings are those of `stream`."""
        *_, last = self.stream(prompt, images, **settings)
        assert last.reply is not None, "the last piece carries the reply"
        return last.reply

    def stream(
        self,
        prompt: PromptLike,
        images: ImageSources = None,
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

        `prompt` is a text or chat messages; `images` are paths, bytes, open files, PIL images, arrays of uint8 [height,
        width, 3] or data: URLs (http(s) only with `allow_urls`). Settings left out are those of the model's own
        generation config; `options` are further fields of it (docs/options.md says what becomes of each). Without a
        seed answers differ from call to call; the reply says which it had. A stop text ends the answer and is not part
        of its text. `captions`, one per image, are for drafters that are shown words in its place; the target never
        reads them. `special_tokens` shows them in the text. Raises InputError before the first token for wrong input,
        ModelError for a model that was changed and cannot be exact, DrafterError where the drafter cannot start.
        """
        options |= {"top_k": top_k, "top_p": top_p, "min_p": min_p, "temperature": temperature}
        options |= {"repetition_penalty": repetition_penalty, "max_new_tokens": max_new_tokens, "seed": seed}
        options |= {"stop": stop, "captions": captions, "allow_urls": allow_urls, "special_tokens": special_tokens}
        return self._pieces(self.answer({"prompt": prompt, "images": images, **options}))

    def generate_batch(
        self, requests: Iterable[Mapping[str, Any]], *, num_at_once: int = DEFAULT_NUM_AT_ONCE
    ) -> list[Reply]:
        """The answers to many requests, in their order, `num_at_once` at a time through one pass of the target.

        A request is a mapping with `prompt`, and `images`, `drafter` and settings of `stream` where wanted. Each answer
        is what the request alone would get. One that fails has its `error` in its reply, as have all that share a pass
        of the target that fails; the others go on.
        """
        pieces = self.stream_batch(requests, num_at_once=num_at_once)
        replies = {number: piece.reply for number, piece in pieces if piece.reply is not None}
        return [replies[number] for number in sorted(replies)]

    def stream_batch(
        self, requests: Iterable[Mapping[str, Any]], *, num_at_once: int = DEFAULT_NUM_AT_ONCE
    ) -> Iterator[tuple[int, Piece]]:
        """As `generate_batch`, in pieces with the number of their request. As one answer ends, the next request joins.

        A request is read when it joins: `requests` may be a generator."""
        if isinstance(num_at_once, bool) or not isinstance(num_at_once, int) or num_at_once < 1:
            raise InputError(f"num_at_once is {shown_value(num_at_once)}; it must be a whole number of at least 1")
        is_list = hasattr(requests, "__iter__") or hasattr(requests, "__getitem__")
        if not is_list or isinstance(requests, str | Mapping):
            raise InputError(f"requests are {shown_value(requests)}; give a list of mappings with a prompt each")
        return self._batch(requests, num_at_once)

    def _batch(self, requests: Iterable[Mapping[str, Any]], num_at_once: int) -> Iterator[tuple[int, Piece]]:
        answers: dict[Request, tuple[int, Answer]] = {}
        failed: list[tuple[int, Piece]] = []
        if num_at_once > 1:
            self.prover.before_batch()
        engines: dict[Any, tuple[Any, Engine]] = {}  # so that requests with the same drafter share its passes

        def joining() -> Iterator[Request]:
            for number, asked in enumerate(requests):
                try:
                    answer = self._joined(asked, engines)
                except Exception as error:  # noqa: BLE001 - the others go on, whatever it is
                    fault = error if isinstance(error, SeeaheadError) else FaultError(error)
                    failed.append((number, Piece("", reply=Reply("", None, error=fault))))
                    continue
                answers[answer.request] = number, answer
                yield answer.request

        for request, step in run(joining(), num_at_once, self._pace if num_at_once > 1 else None):
            while failed:
                yield failed.pop(0)
            number, answer = answers[request]
            for piece in answer.pieces(step):
                yield number, piece
            if request.finish_reason is not None:
                del answers[request]
        yield from failed

    def _joined(self, asked: Mapping[str, Any], engines: dict[Any, tuple[Any, Engine]]) -> Answer:
        """A request of a batch, as `stream` would have it."""
        if not isinstance(asked, Mapping) or "prompt" not in asked:
            raise InputError(f"a request is {shown_value(asked)}; give a mapping with a prompt")
        drafter = self.drafter if asked.get("drafter") is None else asked["drafter"]
        key = drafter if isinstance(drafter, str | Path) else id(drafter)
        if key not in engines:
            # The drafter itself is kept as well: an id is given again once what had it is gone.
            engines[key] = drafter, self if drafter is self.drafter else self.with_drafter(drafter)
        return engines[key][1].answer({name: value for name, value in asked.items() if name != "drafter"})

    def answer(self, asked: Mapping[str, Any]) -> Answer:
        """The answer to what `stream` takes, by name, before its first token; None is a setting left out.

        For whoever runs requests themselves (`decode.Batch`). The prompt may be model inputs as well."""
        settings = {name: value for name, value in asked.items() if value is not None}
        max_new_tokens, seed, stop = (settings.pop(name, None) for name in ("max_new_tokens", "seed", "stop"))
        given, images, captions = (settings.pop(name, None) for name in ("prompt", "images", "captions"))
        allow_urls, prompt = settings.pop("allow_urls", False), None
        if not isinstance(given, ModelInputs):
            prompt = make_prompt(given, images, captions, allow_urls=allow_urls)
        shows_special = settings.pop("special_tokens", False)
        check_settings(self.family.model.generation_config, settings, max_new_tokens, seed)
        stop_texts = check_stop_texts(stop)
        inputs = given if prompt is None else self.family.encode(prompt)
        self.prover.before(inputs)
        prepared = self._prepare(inputs, settings, max_new_tokens)
        to_text = partial(self.family.tokenizer.decode, skip_special_tokens=not shows_special)
        rule = self._stop_rule(prepared, stop_texts, to_text, shows_special)
        if seed is None:
            seed = secrets.randbits(63) if prepared.config.do_sample else 0
        request = Request(self.target.executor, self.drafter, prepared.sampler(seed), rule, self.target.image_token_ids)
        # Where the model's own stop texts end an answer is transformers' to say; they are cut off like the caller's.
        detokenizer = Detokenizer(to_text, (*stop_texts, *prepared.stop_texts))
        return Answer(request.ask(inputs, prompt), detokenizer)

    @staticmethod
    def _pieces(answer: Answer) -> Iterator[Piece]:
        for request, step in run(iter([answer.request]), 1):
            request.check()
            yield from answer.pieces(step)

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
        # Whole numbers and numpy's are numbers here; transformers takes its own floats alone.
        settings |= {name: float(settings[name]) for name in ("temperature", "repetition_penalty") if name in settings}
        settings |= {"top_k": int(settings["top_k"])} if "top_k" in settings else {}
        read = prepare if self.prover.follows else self.prover.known.prepare
        return read(self.family.model, inputs.token_ids, self.family.tokenizer, settings)

    def _stop_rule(
        self, prepared: Prepared, stop: tuple[str, ...], to_text: Callable[[Sequence[int]], str], shows_special: bool
    ) -> StopRule:
        rule = prepared.stop_rule(self.family.longest_after(prepared.prompt_ids.shape[1]))
        if not stop:
            return rule
        # A special token is not part of the text that stop texts are looked for in.
        special = self.family.tokenizer.get_added_vocab()
        if not shows_special:
            names = [one for one in self.family.tokenizer.all_special_tokens if one in special]
            check_is_shown(stop, names, [one for one in names if special[one] in rule.end_tokens])
        ends = rule.end_tokens | {special[text] for text in stop if text in special}
        return replace(rule, end_tokens=ends, is_over=(*rule.is_over, holds_text(stop, to_text)))


def _with_drafters(
    target: str | Path | tuple[Any, Any], progress: Callable[[str, float], None] | None
) -> tuple[Mapping[str, Path], str | Path | tuple[Any, Any]]:
    """Folders of the drafters that are there for a target, by kind; and the target, the demo as its folder."""
    if target != "demo":
        return folders_for(target[0] if isinstance(target, tuple) else target), target
    from seeahead.demo.build import ensure

    paths = ensure(progress=progress)
    return paths.drafters, paths.target


def load(
    target: str | Path | tuple[Any, Any],
    drafter: str | Path | DrafterSpec | Drafter | None = None,
    *,
    dtype: str | torch.dtype = "auto",
    device: str = "auto",
    executor: str = "auto",
    chat_template: str | None = None,
    self_check: bool = True,
    progress: Callable[[str, float], None] | None = None,
) -> Engine:
    """An engine for a target: "demo" (built on first use), a hub id, a local folder, or a (model, processor) pair.

    `drafter`: a kind (`drafters.KINDS`), a folder or hub id (a smaller VLM of the target's tokenizer will do),
    module:Class, or an object; by default auto: lookup and those made for the target, in one tree: the demo's, those
    trained here, and published ones that were fetched before (docs/choosing-a-drafter.md). `executor` runs the model:
    transformers, openvino (on a CPU; `dtype` may be int8 or int4), graphs, kernels, exact (16-bit answers are plain
    decoding's too), or auto, the fastest of the others here (docs/executors.md). `chat_template` replaces the
    checkpoint's own. `self_check`: a model that has not passed it here is proven on itself, in a few passes, before any
    answer (docs/losslessness.md). `progress` is told (what is done, share). Raises ModelError or DrafterError.
    """
    # What is cheap comes first, so that a wrong name is told before weights are read.
    is_given = isinstance(target, tuple)
    if len(target) != 2 if isinstance(target, tuple) else not isinstance(target, str | Path):
        raise ModelError("the target is neither a name nor a pair; give a hub id, a folder, or (model, processor)")
    if isinstance(target, tuple):
        choice = choose_for(target[0], executor, dtype, str(device))
    else:
        choice = choose(executor, dtype, str(device), is_given=False)
    drafter = "auto" if drafter is None else drafter
    check_is_drafter(drafter)
    own, target = _with_drafters(target, progress)
    if isinstance(drafter, str | Path):
        drafter = spec_of(drafter, own)
    model, processor = target if isinstance(target, tuple) else load_model(target, choice.dtype, str(device))
    model = model if is_given else as_converted(model, choice)
    family = family_for(model, processor)
    family.chat_template = chat_template
    put_executor(family, choice, is_given=is_given, report=progress)
    prover = Prover(family, is_on=self_check)
    prover.at_load(progress)
    return Engine(family, bind(drafter, Target.of(family), own), own, prover)
