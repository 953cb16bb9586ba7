"""The door for users: pieces add up to the answer, settings hold, wrong input is refused before the first token."""

from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import seeahead
from seeahead.api import Engine, Piece
from seeahead.drafters.auto import AutoDrafter
from seeahead.errors import DrafterError, InputError, ModelError
from seeahead.families.tiny import END, VOCAB_SIZE
from seeahead.testing import tiny_model


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A tiny Llama whose token i reads as the letter pair number i."""
    words = {f"{chr(97 + i // 26)}{chr(97 + i % 26)}": i for i in range(VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="aa"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    end = next(word for word, token in words.items() if token == END)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, unk_token="aa")
    return seeahead.load((tiny_model("llama", max_position_embeddings=96), fast))


PROMPT = "ba bb bc bd ba bb bc"


def _text(pieces: Iterator[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_all_that_there_is_drafts_for_a_model_of_ones_own(engine: Engine) -> None:
    assert isinstance(engine.drafter, AutoDrafter)
    assert list(engine.drafter.members) == ["lookup"]


def test_pieces_add_up_to_the_reply(engine: Engine) -> None:
    pieces = list(engine.stream(PROMPT, max_new_tokens=30))
    reply = pieces[-1].reply
    assert reply is not None
    assert "".join(piece.text for piece in pieces) == reply.text
    assert tuple(token for piece in pieces for token in piece.token_ids) == reply.token_ids
    assert tuple(origin for piece in pieces for origin in piece.origins) == reply.generation.origins
    assert len(reply.token_ids) == 30
    assert reply.generation.finish_reason == "length"


def test_drafters_change_the_steps_and_not_the_answer(engine: Engine) -> None:
    plain = engine.with_drafter("none").generate(PROMPT, max_new_tokens=60)
    drafted = engine.generate(PROMPT, max_new_tokens=60)
    assert drafted.token_ids == plain.token_ids
    assert plain.metrics["block_efficiency"] == 1.0


def test_sampled_answers_depend_on_the_seed_and_not_on_a_fixed_draft(engine: Engine) -> None:
    def sample(drafter: str, seed: int) -> tuple[int, ...]:
        return engine.with_drafter(drafter).generate(PROMPT, max_new_tokens=40, temperature=1.0, seed=seed).token_ids

    assert sample("none", 1) == sample("lookup", 1) == sample("none", 1)
    assert sample("none", 1) != sample("none", 2)


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine: Engine) -> None:
    whole = engine.generate(PROMPT, max_new_tokens=30).text
    stop = whole[21:24]
    pieces = list(engine.stream(PROMPT, max_new_tokens=30, stop=[stop]))
    reply = pieces[-1].reply
    assert reply is not None
    assert reply.text == whole[: whole.index(stop)]
    assert "".join(piece.text for piece in pieces) == reply.text
    assert reply.generation.finish_reason == "stop"


def test_the_context_ends_an_answer_without_harm(engine: Engine) -> None:
    reply = engine.generate(PROMPT, max_new_tokens=1000)
    assert len(reply.token_ids) == 96 - 7
    assert reply.generation.finish_reason == "context"


def test_a_prompt_longer_than_the_context_names_both_numbers(engine: Engine) -> None:
    with pytest.raises(InputError, match=r"100 tokens.*96"):
        engine.generate("ba " * 100)


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"temperature": -1}, "temperature"), ({"max_new_tokens": 0}, "max_new_tokens"), ({"stop": [""]}, "stop string")],
)
def test_wrong_settings_are_refused_at_the_call(engine: Engine, settings: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        engine.stream(PROMPT, **settings)


def test_pictures_for_a_text_model_are_refused(engine: Engine) -> None:
    from PIL import Image

    with pytest.raises(InputError, match="reads text only"):
        engine.generate(PROMPT, [Image.new("RGB", (8, 8))])


def test_an_unknown_drafter_is_told_the_nearest(engine: Engine) -> None:
    with pytest.raises(DrafterError, match="did you mean 'lookup'"):
        engine.with_drafter("lokup")
    with pytest.raises(DrafterError, match="needs a model"):
        engine.with_drafter("language")


def test_a_target_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        seeahead.load("no-such-folder")


def test_two_answers_can_be_under_way_at_once(engine: Engine) -> None:
    whole = engine.generate(PROMPT, max_new_tokens=20).text
    first, second = engine.stream(PROMPT, max_new_tokens=20), engine.stream(PROMPT, max_new_tokens=20)
    texts = ["", ""]
    for one, other in zip(first, second, strict=True):
        texts[0] += one.text
        texts[1] += other.text
    assert texts == [whole, whole]
