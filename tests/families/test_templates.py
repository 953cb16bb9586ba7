"""The chat template that counts, the form of messages it takes, and what it may be without."""

from pathlib import Path

import pytest
import torch
from tokenizers import processors

from seeahead.errors import InputError
from seeahead.families.templates import roles_in_parts
from seeahead.prompt import make_prompt
from seeahead.testing import TEXT_FAMILIES, VISION_FAMILIES
from tests.families.processors import SQUARE, WIDE, family_with, prefill, words

WRITTEN_OUT = {
    "llava": "<image>",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "\n\n<start_of_image><image_soft_token><end_of_image>\n\n",
    "internvl": "<img><IMG_CONTEXT></img>",
}
HISTORY = [("user", "One?"), ("assistant", "two"), ("user", "Three?")]


def chat(history=HISTORY):
    return [{"role": role, "content": text} for role, text in history]


def read(family, prompt, images=()):
    return words(family, make_prompt(prompt, images))


# ---- the form of messages

LOOP = "{% for m in messages %}<u>CONTENT{% endfor %}"
STRINGS = {
    "joined": LOOP.replace("CONTENT", "{{ '' + m['content'] }}"),
    "printed": LOOP.replace("CONTENT", "{{ m['content'] }}"),
    "dumped": LOOP.replace("CONTENT", "{{ m['content'] if m['content'] is string else m['content'] | tojson }}"),
    "looked into": LOOP.replace("CONTENT", "{{ m['content'].split('~') | last }}"),
}


@pytest.mark.parametrize("form", STRINGS)
@pytest.mark.parametrize("model_type", WRITTEN_OUT)
def test_a_template_that_wants_strings_gets_strings(model_type, form):
    family = family_with(model_type, chat_template=STRINGS[form])
    assert read(family, chat()) == "<u>One?<u>two<u>Three?"
    image = WRITTEN_OUT[model_type]
    parts = [{"type": "image"}, {"type": "text", "text": "One?"}, {"type": "image"}]
    assert read(family, [{"role": "user", "content": parts}], [SQUARE, WIDE]) == f"<u>{image}\nOne?{image}"


@pytest.mark.parametrize("template", ["my_template.jinja", "{{ bos_token }}", 3, Path("my.jinja")])
@pytest.mark.parametrize("model_type", ["llama", "llava"])
def test_a_template_that_writes_no_question_is_refused(model_type, template):
    """A file's name is a template too, which writes its name whatever is asked."""
    with pytest.raises(InputError, match="the chat template writes no question; give another as chat_template"):
        read(family_with(model_type, chat_template=template), chat())


@pytest.mark.parametrize("question", ["", "{{ messages[0]['content'] }}"])
@pytest.mark.parametrize("model_type", ["llama", "llava"])
def test_a_template_that_wants_more_memory_than_there_is_is_refused(model_type, question):
    """Also one that does so only for long chats, which its first trial does not show."""
    whole = "{{ 'a' * 1000000000000000000 }}"
    for template in (question + whole, "{% if messages | length > 2 %}" + whole + "{% endif %}" + STRINGS["joined"]):
        with pytest.raises(InputError, match="the model's processor refuses this prompt: MemoryError"):
            read(family_with(model_type, chat_template=template), chat())


def test_a_template_in_capitals_gets_its_form():
    family = family_with("qwen2_vl", chat_template=LOOP.replace("CONTENT", "{{ m['content'].upper() }}"))
    assert read(family, chat()) == "<u>ONE?<u>TWO<u>THREE?"


@pytest.mark.parametrize("model_type", ["llava", "gemma3"])
def test_text_models_and_models_that_see_may_share_a_template_of_either_form(model_type):
    parts = "{% for m in messages %}{% for p in m['content'] %}[{{ p['text'] }}]{% endfor %}{% endfor %}"
    assert read(family_with(model_type, chat_template=parts), chat()) == "[One?][two][Three?]"
    assert read(family_with("llama", chat_template=parts), chat()) == "[One?][two][Three?]"
    assert read(family_with("llama", chat_template=STRINGS["joined"]), chat()) == "<u>One?<u>two<u>Three?"


def test_a_template_of_parts_that_knows_no_images_is_asked_for_strings():
    def of(content):
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def render(messages):
        return of(messages[0]["content"])

    assert "user" in roles_in_parts(render, None, is_usual=True)
    assert "user" not in roles_in_parts(render, "<image>", is_usual=True)
    assert "user" not in roles_in_parts(render, None, is_usual=False)


def test_a_template_that_writes_no_image_is_one_line():
    family = family_with("llava", chat_template="{% for m in messages %}{{ m['content'][0]['text'] }}{% endfor %}")
    with pytest.raises(InputError) as told:
        family.encode(make_prompt("One?", [SQUARE]))
    assert "\n" not in str(told.value)


# ---- which template counts

OWN = "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}"
OWN += "{% endif %}{% endfor %}!{% endfor %}"


@pytest.mark.parametrize("model_type", WRITTEN_OUT)
def test_a_tokenizers_template_stands_in_for_the_processors(model_type):
    with_own = family_with(model_type)
    without = family_with(model_type, chat_template=None)
    for images in ([], [SQUARE]):
        assert read(without, chat(), images) == read(with_own, chat(), images)


@pytest.mark.parametrize("model_type", WRITTEN_OUT)
def test_base_checkpoints_without_any_template_read_texts_with_images_in_place(model_type):
    family = family_with(model_type, chat_template=None)
    family.tokenizer.chat_template = None
    assert read(family, chat()) == "One?\ntwo\nThree?"
    between = [{"type": "text", "text": "this "}, {"type": "image"}, {"type": "text", "text": " shows"}]
    prompt = [{"role": "user", "content": between}]
    assert read(family, prompt, [SQUARE]) == f"this {WRITTEN_OUT[model_type]} shows"
    prefill(family, make_prompt(prompt, [SQUARE]))


def test_a_conversation_without_template_is_its_text():
    assert read(family_with("llama", chat_template=None), "Hello you.") == "Hello you."


def test_the_template_given_counts_before_all_others():
    family = family_with("llava")
    family.chat_template = "{% for m in messages %}({{ m['content'] }}){% endfor %}"
    assert read(family, chat()) == "(One?)(two)(Three?)"
    assert read(family, "One?", [SQUARE]) == "(<image>\nOne?)"
    text_model = family_with("llama")
    text_model.chat_template = family.chat_template
    assert read(text_model, chat()) == "(One?)(two)(Three?)"


def test_of_several_templates_the_default_counts():
    several = {"default": OWN.replace("IMAGE", "<image>"), "other": "no"}
    assert read(family_with("llava", chat_template=several), "One?", [SQUARE]) == "<image>One?!"
    del several["default"]
    with pytest.raises(InputError, match="of the chat templates other none is named 'default'; pass chat_template"):
        family_with("llava", chat_template=several).encode(make_prompt("One?"))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('roles must\\nalternate') }}", "roles must$"),
        ("{{ 1 + 'a' }}", "TypeError: unsupported operand"),
        ("{{ messages[0].nothing.more }}", "'dict object' has no attribute 'nothing'"),
        ("{% for %}", "[Ee]xpected"),
    ],
)
def test_what_a_template_refuses_is_told_in_one_line(template, reason):
    family = family_with("llava", chat_template=template)
    for images in ([], [SQUARE]):
        with pytest.raises(InputError, match=f"the model's processor refuses this prompt: .*({reason})") as told:
            family.encode(make_prompt("What is this?", images))
        assert "\n" not in str(told.value)


# ---- the same ids as in transformers


def adding(family, *, beginning=True, end=True):
    """The same with a tokenizer that adds tokens around texts."""
    tokenizer = family.tokenizer
    around = f"{'<s> ' if beginning else ''}$A{' </s>' if end else ''}"
    tokens = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=tokens)
    return family


@pytest.mark.parametrize("model_type", TEXT_FAMILIES)
def test_text_models_read_the_ids_of_their_tokenizers_template(model_type):
    for family in (
        family_with(model_type),
        adding(family_with(model_type)),
        adding(family_with(model_type), end=False),
    ):
        expected = family.tokenizer.apply_chat_template(
            chat(), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )["input_ids"]
        assert family.encode(make_prompt(chat())).token_ids.equal(expected)
        quoting = family.encode(make_prompt("</s>")).token_ids[0].tolist()
        assert quoting.count(family.tokenizer.eos_token_id) == 0


def test_texts_without_template_begin_as_the_tokenizer_says_and_never_end():
    family = adding(family_with("llama", chat_template=None))
    ids = family.encode(make_prompt("Hello. </s>")).token_ids[0].tolist()
    assert ids[0] == family.tokenizer.bos_token_id
    assert family.tokenizer.decode(ids[1:]) == "Hello. </s>"
    assert family.tokenizer.eos_token_id not in ids


def test_the_beginning_token_comes_once():
    for model_type in ("gemma3_text", "gemma3"):
        family = adding(family_with(model_type), end=False)
        ids = family.encode(make_prompt("Hello.")).token_ids[0].tolist()
        assert ids.count(family.tokenizer.bos_token_id) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("model_type", VISION_FAMILIES)
def test_models_that_see_read_the_ids_of_their_processors_template(model_type):
    for family in (family_with(model_type), adding(family_with(model_type), end=False)):
        if family.processor.chat_template is None:
            continue
        for images in ([], [SQUARE], [WIDE, SQUARE]):
            content = [*({"type": "image", "image": one} for one in images), {"type": "text", "text": "What?"}]
            expected = family.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            inputs = family.encode(make_prompt("What?", images))
            assert inputs.token_ids.equal(expected["input_ids"])
            for name, value in inputs.extras.items():
                assert torch.equal(value, expected[name])


# ---- a form for each role

MIXED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{% for p in m['content'] %}[{{ p['text'] }}]{% endfor %}"
    "{% else %}OTHERS{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("others", ["{{ m['content'] }}", "{{ m['content'] + eos_token }}"])
def test_a_template_may_take_a_users_parts_and_strings_of_others(others):
    family = family_with("llava", chat_template=MIXED.replace("OTHERS", f"<{others}>"))
    end = family.tokenizer.eos_token if "eos" in others else ""
    history = [("system", "Be brief."), *HISTORY]
    assert read(family, chat(history)) == f"<Be brief.{end}>[One?]<two{end}>[Three?]"


def test_a_template_may_take_an_assistants_parts_and_strings_of_users():
    flipped = MIXED.replace("== 'user'", "== 'assistant'").replace("OTHERS", "<{{ '' + m['content'] }}>")
    assert read(family_with("llama", chat_template=flipped), chat()) == "<One?>[two]<Three?>"
