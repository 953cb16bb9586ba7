"""`python -m recipes.demo_model`: every verb makes what it says, and what is wrong is one line."""

from recipes.demo_model import __main__ as program
from recipes.demo_model import conversations
from recipes.demo_model.examples import ExampleSource
from recipes.demo_model.smoke import smoke_sources
from seeahead.data.conversations import Conversation
from seeahead.testing import tiny_model, tiny_processor
from tests.sizes import ROOT

RECIPE = ROOT / "recipes" / "drafters" / "demo-smoke.toml"


def test_the_page_shows_the_shipped_card(tmp_path):
    assert program.main(["card", "-o", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "demo-model.md").read_text()


def test_the_demo_model_is_trained_until_a_step(tmp_path, capsys):
    words = ["train", "--recipe", str(ROOT / "recipes" / "demo-smoke.toml"), "-o", str(tmp_path / "out")]
    assert program.main([*words, "--until", "vision"]) == 0
    assert "soft-words: held out:" in (tmp_path / "out" / "train.log").read_text()
    assert program.main([*words, "--until", "supper"]) == 2
    assert "unknown step supper; allowed: vision, writing" in capsys.readouterr().err


def test_a_drafter_learns_from_what_the_demo_model_is_asked(tmp_path, monkeypatch, capsys):
    target = tmp_path / "target"
    tiny_model("llava", max_position_embeddings=1024).save_pretrained(target)
    tiny_processor("llava").save_pretrained(target)
    given = []

    def made(cache, count, seed, progress):
        given.append((cache, count, seed))
        talk = (("user", "Is it red?"), ("assistant", "Yes."))
        return [Conversation(talk) for _ in range(count + 3)]

    monkeypatch.setattr(conversations, "demo_conversations", made)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text(RECIPE.read_text().replace("vocabulary = 300", "vocabulary = 0"))
    words = ["drafter", "--recipe", str(recipe), "-m", str(target), "--data", "demo", "--count", "8", "-o", str(out)]
    assert program.main([*words, "--cache-dir", str(tmp_path)]) == 0
    assert given == [(tmp_path / "packages", 8, 7)]
    assert capsys.readouterr().out.strip() == str(out / "drafter")
    assert program.main(words[:-2]) == 2
    assert "no folder given for the results" in capsys.readouterr().err
    assert len(given) == 1, "nothing is fetched for a command that cannot run"


def test_the_demos_conversations_are_the_same_every_time(tmp_path):
    sources = smoke_sources(tmp_path, 7)

    def asked():
        source = ExampleSource(sources.bank, sources.easy, {}, False, 107, {})
        return conversations.conversations_of(source, ["owl", "oak"], 40, 7)

    found = asked()
    assert len(found) == 40
    assert [talk.messages for talk in found] == [talk.messages for talk in asked()]
    assert {len(talk.images) for talk in found} >= {0, 1}
    for talk in found:
        assert sum(content.count("<image>") for _, content in talk.messages) == len(talk.images)
