"""Request bodies of OpenAI's API: what is done is read, what is not done is refused by name, nothing is ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator, model_validator

MOST_STOPS = 16
MOST_LOGPROBS = 20
_LEAST_TEMPERATURE = 1e-5
"""What is asked for below it is none: clients that must not say 0 say 1e-8."""
Text = Annotated[str, Field(max_length=4 << 20)]
_T = TypeVar("_T")
_Stop = Annotated[str, Field(max_length=1000)]
_Count = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
# Of untrusted lists the first fault is told: to collect all of them takes seconds.
_List = Field(max_length=1000, fail_fast=True)
_DEPTH = 4
"""Of lists and objects that may hold nothing: clients send `{"refusal": null}` and the like."""


def asks_for_nothing(value: Any, depth: int = _DEPTH) -> bool:
    """Whether it is null, empty, or an object or a list that holds nothing else."""
    if isinstance(value, dict | list) and depth > 0:
        return all(asks_for_nothing(one, depth - 1) for one in (value.values() if isinstance(value, dict) else value))
    return value is None or value in ([], {})


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_what_asks_for_nothing(cls, value: Any) -> Any:
        """An answer that is sent back has `annotations`, `audio` and more, which hold nothing. One that asks for
        something is enough to refuse them all."""
        if not isinstance(value, dict):
            return value
        given = {name: one for name, one in value.items() if one is not None}
        unknown = (name for name, one in given.items() if name not in cls.model_fields and not asks_for_nothing(one))
        names = {*cls.model_fields, *islice(unknown, 1)}
        return {name: one for name, one in given.items() if name in names}


class CacheHint(BaseModel):
    """For how long a provider is to keep a prompt: what is kept here needs no telling."""

    model_config = ConfigDict(extra="allow")


class _Hinted(_Closed):
    cache_control: CacheHint | None = None
    prompt_cache_breakpoint: CacheHint | None = None


class ImageAddress(_Closed):
    """`detail` is accepted and means nothing: a model reads images in the one way that it has. So is `format`, since
    the bytes themselves tell it."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None
    format: Annotated[str, Field(max_length=100)] | None = None


class TextPart(_Hinted):
    """Words."""

    type: Literal["text", "input_text", "refusal"]
    text: Text | None = None
    refusal: Text | None = None

    @model_validator(mode="after")
    def _has_words(self) -> TextPart:
        if self.text is None and self.refusal is None:
            raise ValueError("a text part has no text")
        return self


def is_web(address: str) -> bool:
    """Of an image: it is to be fetched, if that is allowed."""
    return address.lstrip()[:4].lower() == "http"


class ImagePart(_Hinted):
    """An image: a data: URI, or an address that this server allows."""

    type: Literal["image_url"]
    image_url: ImageAddress | str

    @property
    def url(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(_Hinted):
    """One turn. An assistant's may call tools and say nothing; a tool's names the call that it answers."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    type: Literal["message", "text"] | None = None
    content: Text | Annotated[list[Part], _List] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=100)] | None = None
    tool_call_id: Annotated[str, Field(max_length=200)] | None = None
    refusal: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a {self.role} message has no content")
        return self


class Speculative(_Closed):
    """How this answer is drafted: never what it says, only how soon."""

    drafter: Annotated[str, Field(max_length=200)] | None = None
    num_nodes: Annotated[StrictInt, Field(ge=0, le=10_000)] | None = None
    details: StrictBool = False


class StreamOptions(_Closed):
    """What a stream tells beside the text."""

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False
    continuous_usage_stats: StrictBool = False


class RequestBody(BaseModel):
    """What both kinds of requests have."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    # Fields of OpenAI's that change nothing here, and those that would and are not done, unless they say what is done.
    harmless: ClassVar[frozenset[str]] = frozenset(
        (
            *("user", "metadata", "service_tier", "safety_identifier", "parallel_tool_calls"),
            *("cache_control", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        )
    )
    as_done: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "frequency_penalty": (0, 0.0),
        "presence_penalty": (0, 0.0),
        "store": (False,),
        "logit_bias": ({},),
        "best_of": (1,),
        "echo": (False,),
        # vLLM's, at what they are where nobody gives them
        "min_tokens": (0,),
        "spaces_between_special_tokens": (True,),
        "length_penalty": (1, 1.0),
        "use_beam_search": (False,),
        "include_stop_str_in_output": (False,),
    }

    model: Annotated[str, Field(max_length=500)]
    max_tokens: _Count | None = None
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[StrictFloat, Field(gt=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=10_000_000)] | None = None
    min_p: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[StrictFloat, Field(gt=0, le=100)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MOST_STOPS, fail_fast=True)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    ignore_eos: StrictBool | None = None
    skip_special_tokens: StrictBool | None = None
    n: _Count | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    speculative: Speculative | None = None

    @field_validator("speculative", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"drafter": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _streams_what_it_asks_for(self) -> RequestBody:
        if self.stream_options not in (None, StreamOptions()) and not self.stream:
            raise ValueError("stream_options is given and stream is not true; leave it out or stream")
        return self

    def refused(self) -> Iterator[str]:
        """Names of further fields that ask for something."""
        for name, value in (self.model_extra or {}).items():
            done = [repr(one) for one in (None, *self.as_done.get(name, ()))]  # by their texts: False is no 0
            is_nothing = repr(value) in done or (name not in self.as_done and asks_for_nothing(value))
            if name not in self.harmless and not is_nothing:
                yield name

    @property
    def drafting(self) -> Speculative:
        return self.speculative or Speculative()

    @property
    def most_tokens(self) -> tuple[str, int | None]:
        """What the answer may have, after the name of the field that says it."""
        name = "max_completion_tokens" if getattr(self, "max_completion_tokens", None) else "max_tokens"
        return name, getattr(self, name)

    @property
    def num_choices(self) -> int:
        return self.n or 1

    def settings(self) -> dict[str, Any]:
        """Of an answer, by the names of `Engine.stream`."""
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if given.get("top_k") == -1:  # vLLM's way to say: all
            given["top_k"] = 0
        if given.get("temperature", 1.0) < _LEAST_TEMPERATURE:
            given["temperature"] = 0.0
        if self.ignore_eos:
            given["eos_token_id"] = -1  # no answer has it
        if self.skip_special_tokens is False:
            given["special_tokens"] = True
        return given


class ChatBody(RequestBody):
    """Of POST /v1/chat/completions."""

    as_done: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **RequestBody.as_done,
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "tools": ([],),
        "functions": ([],),
        "tool_choice": ("none", "auto"),
        "function_call": ("none", "auto"),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1), _List]
    max_completion_tokens: _Count | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=MOST_LOGPROBS)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatBody:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs is given and logprobs is not true; give both or none")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        return self

    @property
    def _images(self) -> list[str]:
        parts = [part for message in self.messages if isinstance(message.content, list) for part in message.content]
        return [part.url for part in parts if isinstance(part, ImagePart)]

    @property
    def num_images(self) -> int:
        return len(self._images)

    @property
    def is_far(self) -> bool:
        """Whether something is to be fetched."""
        return any(map(is_web, self._images))

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


_Token = Annotated[StrictInt, Field(ge=0, lt=2**31)]
_Tokens = Annotated[list[_Token], Field(min_length=1, max_length=100_000, fail_fast=True)]
_One = Annotated[list[_T], Field(min_length=1, max_length=1)]


class TextBody(RequestBody):
    """Of POST /v1/completions: one text or its tokens, which the model continues."""

    as_done: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **RequestBody.as_done,
        "add_special_tokens": (True,),
        "suffix": ("",),
    }

    num_images: ClassVar[int] = 0
    is_far: ClassVar[bool] = False
    prompt: Text | _One[Text] | _Tokens | _One[_Tokens]
    logprobs: Annotated[StrictInt, Field(ge=0, le=MOST_LOGPROBS)] | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_one(cls, value: object) -> object:
        if isinstance(value, list) and len(value) > 1 and all(isinstance(one, str | list) for one in value):
            raise ValueError(f"{len(value)} prompts are given; send a request for each")
        return value

    @property
    def given(self) -> str | list[int]:
        """A text or its tokens."""
        return self.prompt[0] if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int) else self.prompt

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs
