"""`seeahead generate`: what it prints, and that wrong input is one line before any model is loaded."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from seeahead import api
from seeahead.api import Piece, Reply
from seeahead.cli import generate, main, streams, terminal
from seeahead.errors import ModelError
from seeahead.records import Generation, Step

STEP = Step((5, 6), ("drafted", "target"), 3, 2, 1, 0.01, 0.02, 0.04)
GENERATION = Generation(num_prompt_tokens=7, first_token=4, steps=(STEP,), finish_reason="end", drafter="lookup")
REPLY = Reply("A red cat.", GENERATION, seed=5)
PIECES = [
    Piece("A", (4,), ("target",)),
    Piece(" red", (5,), ("drafted",)),
    Piece(" cat.", (6,), ("target",)),
    Piece("", reply=REPLY),
]


class FakeEngine:
    def __init__(self, pieces):
        self.pieces, self.calls = pieces, []

    def stream(self, prompt, **settings):
        self.calls.append((prompt, settings))
        return iter(self.pieces)

    def generate(self, prompt, **settings):
        *_, last = self.stream(prompt, **settings)
        return last.reply


@pytest.fixture
def loaded(monkeypatch):
    """What `load` was asked for, and the engine it gave."""
    engine = FakeEngine(PIECES)
    asked = []

    def load(model, drafter, **settings):
        asked.append((model, drafter, settings))
        return engine

    monkeypatch.setattr(api, "load", load)
    engine.asked = asked
    return engine


@pytest.fixture
def piped(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "cat.png"
    Image.new("RGB", (8, 6), "red").save(path)
    return str(path)


def refused(words, capsys):
    assert main(["generate", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("seeahead: error: ")
    return line


def test_the_answer_is_on_stdout_and_nothing_else(loaded, picture, capsys):
    assert main(["generate", "-i", picture, "What is this?"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("A red cat.\n", "")
    ((prompt, settings),) = loaded.calls
    assert len(prompt.images) == 1
    assert prompt.messages[-1].text == "What is this?"
    assert settings == {"max_new_tokens": None, "stop": [], "special_tokens": False}
    assert loaded.asked[0][:2] == ("demo", None)


def test_every_setting_reaches_the_engine(loaded, tmp_path, capsys):
    words = "--max-new-tokens 9 --temperature 0.5 --top-k 4 --top-p 0.9 --min-p 0.1 --repetition-penalty 1.1 --seed 3"
    rest = ["--stop", "x", "--stop", "y", "-d", "lookup", "--dtype", "float32", "--device", "cpu", "hi"]
    rest += ["--special-tokens", "--option", "no_repeat_ngram_size=3", "--option", "stop_strings=end", "--no-check"]
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    rest += ["--chat-template", str(template)]
    assert main(["generate", *words.split(), *rest]) == 0
    settings = loaded.calls[0][1]
    assert settings == {
        "max_new_tokens": 9,
        "stop": ["x", "y"],
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "seed": 3,
        "special_tokens": True,
        "no_repeat_ngram_size": 3,
        "stop_strings": "end",
    }
    model, drafter, where = loaded.asked[0]
    assert (model, drafter, where["dtype"], where["device"]) == ("demo", "lookup", "float32", "cpu")
    assert (where["chat_template"], where["self_check"]) == ("{{ messages }}", False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--option", "top_k"], "--option top_k cannot be read; write NAME=VALUE"),
        (["--option", "top_k=4"], "write --top-k 4"),
        (["--option", "top_q=4"], "unknown setting 'top_q'; did you mean 'top_p'?"),
        (["--chat-template", "nowhere.jinja"], "'nowhere.jinja' in '.' is missing; give a file with a chat template"),
    ],
)
def test_options_that_cannot_be_are_told(words, told, loaded, capsys):
    assert main(["generate", *words, "hi"]) == 2
    assert told in capsys.readouterr().err
    assert not loaded.asked


@pytest.mark.parametrize("words", [[], ["-"]])
def test_the_prompt_comes_from_stdin(words, loaded, piped, capsys):
    piped(b"Why is the sky blue?\n")
    assert main(["generate", *words]) == 0
    assert loaded.calls[0][0].messages[-1].text == "Why is the sky blue?"


def test_json_is_one_line_with_everything(loaded, capsys):
    assert main(["generate", "hi", "--json", "--seed", "5"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    value = json.loads(line)
    assert value["text"] == "A red cat."
    assert value["token_ids"] == [4, 5, 6]
    assert value["metrics"]["block_efficiency"] == 2.0
    assert value["provenance"]["seed"] == 5
    assert value["steps"][0]["origins"] == ["drafted", "target"]
    assert value["finish_reason"] == "end"


def test_stats_say_whose_tokens_they_are():
    steps = (replace(STEP, origins=("msd", "lookup")), replace(STEP, origins=("msd", "target")))
    answer = replace(GENERATION, steps=steps, drafter="auto")
    assert "60% drafted by auto (msd 40%, lookup 20%)" in generate.stats(Reply("A", answer))
    answer = replace(GENERATION, steps=(steps[1],) * 2, drafter="msd")
    assert "40% drafted by msd ·" in generate.stats(Reply("A", answer))


def test_a_figure_that_does_not_exist_is_null():
    value = generate.as_json(Reply("A", Generation(num_prompt_tokens=1, first_token=4)))
    assert value["metrics"]["token_rate"] is None
    json.dumps(value, allow_nan=False)


def test_stats_go_to_stderr(loaded, capsys):
    assert main(["generate", "hi", "--stats"]) == 0
    shown = capsys.readouterr().err
    assert "3 tokens after a prompt of 7" in shown
    assert "2.00 tokens per pass of the model" in shown
    assert "33% drafted by lookup" in shown
    assert "ended by the model" in shown


def test_on_a_terminal_drafted_words_are_coloured(loaded, monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=20, _environ={"TERM": "xterm"})
    whole = terminal.console
    monkeypatch.setattr(terminal, "console", lambda stderr=False: whole(stderr=True) if stderr else console)
    assert main(["generate", "hi"]) == 0
    shown = stream.getvalue()
    assert "\x1b[1;32m red\x1b[0m" in shown
    assert "A\x1b[1;32m red\x1b[0m cat." in shown


@pytest.mark.parametrize(
    ("environment", "live"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_no_color_means_no_escape_codes(environment, live):
    assert terminal.is_live(Console(force_terminal=True, _environ=environment)) is live


def test_control_characters_never_reach_a_terminal():
    assert streams.printable("a\x1b[31mb\x07\n\tü€") == "a\ufffd[31mb\ufffd\n\tü€"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--temperature", "-0.1", "hi"], "temperature is -0.1; allowed is 0"),
        (["--top-p", "0", "hi"], "top_p is 0.0"),
        (["--top-k", "-1", "hi"], "top_k is -1"),
        (["--min-p", "1", "hi"], "min_p is 1.0"),
        (["--repetition-penalty", "0", "hi"], "repetition_penalty is 0.0"),
        (["--seed", "-1", "hi"], "seed is -1"),
        (["--max-new-tokens", "0", "hi"], "max_new_tokens is 0; it must be a whole number of at least 1"),
        (["--max-new-tokens", "-4", "hi"], "max_new_tokens is -4"),
        (["--max-new-tokens", "many", "hi"], "see seeahead generate --help"),
        (["--temperature", "warm", "hi"], "see seeahead generate --help"),
        (["--stop", "", "hi"], "a stop string is empty"),
        (["--option", "num_beams=4", "hi"], "num_beams=4 is not supported: beam search"),
        (["--caption", "a", "hi"], "1 caption for 0 images; give one per image"),
        ([""], "the prompt is empty"),
        (["  \n "], "the prompt is empty"),
        (["-i", "missing.jpg", "hi"], "'missing.jpg' does not exist"),
        (["-i", "https://example.org/cat.jpg", "hi"], "is a web address, which is not allowed here"),
        (["--colour", "hi"], "unknown option '--colour'; see seeahead generate --help"),
    ],
)
def test_wrong_settings_are_refused_before_a_model_is_loaded(words, says, loaded, capsys):
    assert says in refused(words, capsys)
    assert loaded.asked == []


def test_a_chat_template_that_is_none_is_refused_before_a_model_is_loaded(loaded, tmp_path, capsys):
    path = tmp_path / "template.jinja"
    for text, says in (("{% for %}", "line 1 is no chat template"), ("\n{{ messages", "line 2 is no chat template")):
        path.write_text(text)
        assert says in refused(["--chat-template", str(path), "hi"], capsys)
    assert loaded.asked == []
    path.write_text(
        "{% for message in messages %}{% generation %}{{ message }}{% endgeneration %}{% break %}{% endfor %}"
    )
    assert main(["generate", "--chat-template", str(path), "hi"]) == 0, "what transformers adds is let through"


def test_broken_pictures_are_refused_before_a_model_is_loaded(loaded, tmp_path, picture, capsys):
    whole = Path(picture).read_bytes()
    (tmp_path / "words.jpg").write_text("no picture at all")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) * 2 // 3])
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    for name, says in (("words.jpg", "not an image"), ("half.png", "truncated"), ("bomb.png", "the limit")):
        assert says in refused(["-i", str(tmp_path / name), "hi"], capsys)
    assert loaded.asked == []


def test_stdin_that_holds_no_text(loaded, piped, capsys):
    piped(b"")
    assert "the prompt is empty" in refused([], capsys)
    piped(b"caf\xe9")
    assert "not UTF-8 (byte 3)" in refused(["-"], capsys)


def test_an_image_may_come_from_stdin_and_only_one_thing_does(loaded, piped, picture, capsys):
    piped(Path(picture).read_bytes())
    assert main(["generate", "-i", "-", "-i", picture, "hi"]) == 0
    capsys.readouterr()
    [(prompt, _)] = loaded.calls
    assert [image.size for image in prompt.images] == [(8, 6), (8, 6)]
    piped(b"no image")
    assert "not an image" in refused(["-i", "-", "hi"], capsys)
    for words in (["-i", "-"], ["-i", "-", "-"], ["-i", "-", "-i", "-", "hi"]):
        assert "stdin can be read once" in refused(words, capsys)


def test_no_prompt_on_a_terminal(loaded, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "no prompt was given" in refused([], capsys)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dtype", "float8"], "allowed are auto, float32, bfloat16, float16"),
        (["--device", "tpu"], "device 'tpu' is not available here"),
        (["-d", "lokup"], "did you mean 'lookup'? allowed are none, lookup, language"),
    ],
)
def test_what_cannot_be_is_refused_before_weights_are_read(words, says, never_loaded, capsys):
    assert says in refused([*words, "hi"], capsys)


def test_the_language_drafter_needs_a_folder_for_another_model(never_loaded, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert "give its folder or hub id" in refused(["-m", str(tmp_path), "-d", "language", "hi"], capsys)


def test_an_unknown_model_type_lists_those_supported(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "lava"}')
    line = refused(["-m", str(tmp_path), "hi"], capsys)
    assert "did you mean 'llava'?" in line
    assert "qwen2_vl" in line


def test_an_error_of_the_model_is_one_line(monkeypatch, capsys):
    def load(*args, **settings):
        raise ModelError("checkpoint 'x' is incomplete: lm_head.weight; download it again")

    monkeypatch.setattr(api, "load", load)
    assert "is incomplete: lm_head.weight" in refused(["hi"], capsys)
