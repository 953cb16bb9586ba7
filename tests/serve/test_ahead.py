"""While nobody asks, a conversation's next turn is begun; and images that are sent again are not made ready again."""

import gc
import weakref

import pytest
import torch
from PIL import Image

from seeahead.families import family_for
from seeahead.images import OpenedImage
from seeahead.prompt import Message, Prompt, make_prompt
from seeahead.serve.memory import turn_between
from seeahead.serve.owner import OwnerLimits
from seeahead.serve.recent import Recent, remember_images
from seeahead.testing import tiny_model, tiny_processor
from tests.serve.conftest import IMAGE, chat, data_uri, serving
from tests.serve.test_streams import eventually


@pytest.fixture
def served():
    with serving(max_new_tokens=200) as found:
        yield found


def test_the_next_turn_is_begun_while_nobody_asks(served, engine):
    first = chat(IMAGE, "What is here to be seen in the image?")
    with served.client() as client:
        said = client.chat.completions.create(**first).choices[0].message.content
        slots = served.owner._slots
        [entry] = eventually(lambda: [one for one in slots._entries if not one.expected])
        assert entry.kept.tokens[-len(slots.turn) :] == slots.turn
        assert entry.kept.session.length == len(entry.kept.tokens)
        messages = [*first["messages"], {"role": "assistant", "content": said}, {"role": "user", "content": "Why?"}]
        again = client.chat.completions.create(model="tiny", messages=messages, max_tokens=9)
    assert again.choices[0].message.content == engine.generate(make_prompt(messages), max_new_tokens=9).text


def test_a_conversation_that_cannot_be_begun_is_read_anew(served, monkeypatch, caplog):
    slots = served.owner._slots
    with served.client() as client:
        monkeypatch.setattr("seeahead.session.Kept.followed_by", lambda *_: 1 / 0)
        first = client.chat.completions.create(**chat("one")).choices[0].message.content
        eventually(lambda: "read ahead" in caplog.text)  # its slot is kept after its last token was told
        assert not slots._entries
        assert client.chat.completions.create(**chat("one")).choices[0].message.content == first


def test_exact_reads_every_prompt_whole():
    """Behind what another answer left a prompt would have other bits."""
    with serving(executor="exact") as served, served.client() as client:
        said = client.chat.completions.create(**chat("one two three")).choices[0].message.content
        assert served.owner._slots._entries == []
        messages = [
            *chat("one two three")["messages"],
            {"role": "assistant", "content": said},
            *chat("Why?")["messages"],
        ]
        again = client.chat.completions.create(model="tiny", messages=messages, max_tokens=9)
    assert again.usage.prompt_tokens_details.cached_tokens == 0


def test_a_text_that_is_continued_has_no_next_turn(served):
    with served.client() as client:
        client.completions.create(model="tiny", prompt="one two three", max_tokens=4)
    eventually(lambda: served.owner._slots._entries)
    [entry] = served.owner._slots._entries
    assert entry.expected == ()


@pytest.mark.parametrize("model", ["llava", "qwen2_vl", "gemma3", "idefics3", "llama"])
def test_what_stands_between_turns_is_what_every_conversation_has_there(model):
    family = family_for(tiny_model(model), tiny_processor(model))
    turn = turn_between(family)
    assert turn
    prompt = Prompt((Message("user", ("a cat",)), Message("assistant", ("xyz",)), Message("user", ("#why",))))
    text = family.tokenizer.decode(family.encode(prompt).token_ids[0].tolist())
    assert f"xyz{family.tokenizer.decode(list(turn))}#why" in text


def test_images_that_are_sent_again_are_made_ready_once():
    family = family_for(tiny_model("llava"), tiny_processor("llava")).apart()
    images, made = family.processor.image_processor, []
    preprocess = images.preprocess
    images.preprocess = lambda *given, **settings: (made.append(1), preprocess(*given, **settings))[1]
    remember_images(family.processor)
    one, other = Image.new("RGB", (30, 30), "red"), Image.new("RGB", (30, 30), "blue")

    def encoded(*seen):
        return family.encode(Prompt((Message("user", (*seen, "What?")),)))

    first, second, both, turned = encoded(one), encoded(other), encoded(one, other), encoded(other, one)
    assert len(made) == 4
    for old, seen in ((first, (one,)), (second, (other,)), (both, (one, other)), (turned, (other, one))):
        new = encoded(*seen)
        assert torch.equal(new.token_ids, old.token_ids)
        assert torch.equal(new.extras["pixel_values"], old.extras["pixel_values"])
    assert len(made) == 4
    assert not torch.equal(both.extras["pixel_values"], turned.extras["pixel_values"])


def test_images_count_with_what_is_made_of_them():
    """Of a large photo a model may see few pixels."""
    family = family_for(tiny_model("llava"), tiny_processor("llava")).apart()
    remember_images(family.processor)
    held = []
    for _ in range(5):
        image = Image.new("RGB", (3000, 2000))
        held.append(weakref.ref(image))
        family.encode(Prompt((Message("user", (image, "What?")),)))
        del image
    gc.collect()
    assert [one() is not None for one in held] == [False, False, False, True, True]


def test_only_what_was_used_last_is_kept_and_no_more_than_fits():
    recent, made = Recent(len, 10), []

    def get(text):
        return recent.get(text[0], lambda: (made.append(text), text)[1])

    assert [get(text) for text in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb")] == [
        "aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"
    ]  # fmt: skip
    assert made == ["aaaa", "bbbb", "cccc", "bbbb"]
    assert get("d" * 11) == get("d" * 11)
    assert made[4:] == ["d" * 11] * 2
    get("aaaa")
    assert len(made) == 6


def test_a_further_turn_decodes_no_image_again(served, monkeypatch):
    loaded, load = [], OpenedImage.load
    monkeypatch.setattr(OpenedImage, "load", lambda self: (loaded.append(1), load(self))[1])
    image = data_uri(Image.radial_gradient("L").resize((37, 29)).convert("RGB"))
    with served.client() as client:
        for _ in range(3):
            client.chat.completions.create(**chat(image, "What is this?"))
        assert len(loaded) == 1
        client.chat.completions.create(**chat(data_uri(Image.new("RGB", (37, 29), "red")), "What is this?"))
        assert len(loaded) == 2


def test_where_no_slots_are_kept_no_images_are(monkeypatch):
    """The time that an answer takes tells nobody what others have sent."""
    loaded, load, made = [], OpenedImage.load, []
    monkeypatch.setattr(OpenedImage, "load", lambda self: (loaded.append(1), load(self))[1])
    with serving(OwnerLimits(num_kept=0)) as served, served.client() as client:
        images = served.owner._seeing_family.processor.image_processor
        preprocess = images.preprocess
        images.preprocess = lambda *given, **settings: (made.append(1), preprocess(*given, **settings))[1]
        for _ in range(2):
            client.chat.completions.create(**chat(IMAGE, "What is this?"))
    assert (len(loaded), len(made)) == (2, 2)
