"""The page in a real browser: what a reader sees, and can do with keys, a mouse and a phone."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from seeahead.families.tiny import FIRST_WORD
from seeahead.testing import SelfDrafter
from seeahead.tree import Draft, TokenTree
from tests.serve.conftest import serving

HOW = "pip install playwright; then a Chromium of the system, or: playwright install chromium"
playwright = pytest.importorskip("playwright.sync_api", reason=HOW)

NAMES = ("chromium", "chromium-browser", "google-chrome")
CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"
SHOWN = f"[...document.querySelectorAll({CONTROLS!r})].filter(one => one.checkVisibility() && !one.disabled)"
# Without the signs of what was refused.
SAID = "answer => [...answer.childNodes].filter(n => n.className !== 'refused').map(n => n.textContent).join('')"
COLOUR = "element => getComputedStyle(element).backgroundColor"
DESK = {"viewport": {"width": 1100, "height": 800}, "reduced_motion": "reduce"}
WIDTH = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as running:
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip(f"no Chromium: {HOW}")
        # Containers seldom have the rights that its sandbox asks for; the page is our own.
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Hasty(SelfDrafter):
    """The target as its own drafter, and then a word that is wrong."""

    def start(self, context):
        run = super().start(context)
        propose = run.propose

        def hasty(budget):
            *right, last = propose(budget).tree.tokens or [None]
            wrong = FIRST_WORD if last != FIRST_WORD else FIRST_WORD + 1
            return Draft(TokenTree.chain(right if last is None else [*right, wrong]))

        run.propose = hasty
        return run


@pytest.fixture(scope="module")
def here():
    with serving(
        more=lambda executor: Hasty(executor, depth=3, name="hasty"), max_new_tokens=200, max_images=8
    ) as found:
        found.owner.pace.set = lambda requests, **_: None  # drafts are made also where they do not pay
        yield found


@pytest.fixture
def opened(browser, here):
    """Opens the page; afterwards nothing may have been complained of, or asked of anybody else."""
    contexts, complaints, addresses = [], [], []

    def a_page(**how):
        contexts.append(browser.new_context(**{**DESK, **how}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(here.url)
        page.wait_for_selector("#drafter:enabled")
        return page

    yield a_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [one for one in addresses if not one.startswith((f"{here.url}/", "data:"))] == []


@pytest.fixture
def page(opened):
    return opened()


@pytest.fixture
def slow(here, monkeypatch):
    step = here.owner._batch.step
    monkeypatch.setattr(here.owner._batch, "step", lambda **given: (time.sleep(0.05), step(**given))[1])


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "slope.png"
    Image.linear_gradient("L").resize((40, 30)).save(path)
    return path


def ask(page, text="Say it again and again and again.", *, tokens=24):
    """The request; `ended` waits for its answer."""
    page.evaluate("tokens => document.getElementById('most').value = tokens", tokens)
    page.fill("#question", text)
    with page.expect_request("**/v1/chat/completions") as sent:
        page.press("#question", "Enter")
    return sent.value


def ended(page):
    """What the newest turn says, answer by answer."""
    page.wait_for_selector(".turn:last-child .again")
    return page.locator(".turn").last.locator(".text").evaluate_all(f"all => all.map({SAID})")


def replied(page, *pieces):
    """Let the server say this: texts, each with its source and what was refused after it."""
    events = []
    for text, source, refused in pieces:
        own = {"tokens": [{"text": text, "source": source, "num_tokens": 1}], "refused": refused, "step": 1}
        events.append({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "seeahead": own})
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))


def test_an_answer_streams_in(page, slow):
    ask(page)
    page.wait_for_selector(".busy .text:not(:empty)")
    early = page.locator(".text").evaluate(SAID)
    assert page.is_visible("#stop")
    (whole,) = ended(page)
    assert whole.startswith(early)
    assert len(whole) > len(early)
    assert "24 tokens" in page.inner_text(".figures")


def test_escape_stops_an_answer(page, slow):
    ask(page, tokens=200)
    page.wait_for_selector(".busy .text:not(:empty)")
    page.keyboard.press("Escape")
    ended(page)
    assert page.inner_text(".state") == "Stopped."


def test_an_image_is_chosen_shown_and_sent(page, picture):
    with page.expect_file_chooser() as chooser:
        page.click("#choose")
    chooser.value.set_files(picture)
    assert page.get_attribute("#images img", "alt") == "Image slope.png"
    image, text = ask(page, "What is it?", tokens=8).post_data_json["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"] == "What is it?"
    assert page.locator("#images li").count() == 0
    assert ended(page)[0]
    assert page.eval_on_selector(".asked img", "shown => shown.naturalWidth") == 40


def test_an_image_can_be_taken_back_by_keys(page, picture):
    page.set_input_files("#files", [picture, picture])
    page.wait_for_selector("#images li:nth-child(2)")
    for left in (1, 0):
        page.focus("#images button")
        page.keyboard.press("Enter")
        assert page.locator("#images li").count() == left
    assert page.evaluate("document.activeElement.id") == "question"


def test_a_conversation_goes_on_in_its_session_and_a_new_one_has_another(page):
    first, (said,) = ask(page, "One", tokens=4), ended(page)
    second, _ = ask(page, "Two", tokens=4), ended(page)
    assert [one["role"] for one in second.post_data_json["messages"]] == ["user", "assistant", "user"]
    assert second.post_data_json["messages"][1]["content"] == said
    page.click("#anew")
    assert page.locator(".turn").count() == 0
    other, _ = ask(page, "Anew", tokens=4), ended(page)
    assert len(other.post_data_json["messages"]) == 1
    sessions = [one.headers["x-session-id"] for one in (first, second, other)]
    assert sessions[0] == sessions[1] != sessions[2]


def test_words_have_the_colour_of_their_source(page):
    page.select_option("#drafter", "hasty")
    ask(page)
    (whole,) = ended(page)
    marks = page.locator(".text mark")
    assert {mark.get_attribute("data-source") for mark in marks.all()} == {"hasty"}
    assert 0 < len("".join(marks.all_text_contents())) < len(whole), "some words are the model's own"
    replied(page, ("A cat ", "lookup", []), ("is ", "hasty", []), ("lying", "target", []))
    ask(page)
    assert ended(page) == ["A cat is lying"]
    lookup, hasty, *legend = (mark.evaluate(COLOUR) for mark in page.locator(".turn").last.locator("mark").all())
    assert legend == [lookup, hasty]
    assert marks.first.evaluate(COLOUR) == hasty, "a drafter keeps its colour"
    assert len({lookup, hasty, page.eval_on_selector("body", COLOUR), "rgba(0, 0, 0, 0)"}) == 4
    line = "all => all.map(one => getComputedStyle(one).borderBottomStyle)"
    assert len(set(page.locator(".turn").last.locator(".legend mark").evaluate_all(line))) == 2, (
        "also for who sees none"
    )


def test_what_was_refused_shows_on_hover_and_focus(page):
    page.select_option("#drafter", "hasty")
    ask(page)
    ended(page)
    sign = page.locator(".refused").first
    words = sign.get_attribute("aria-label")
    assert re.fullmatch("refused: “.+”; the model said “.+”", words)
    leave = (lambda: page.mouse.move(1, 1)), (lambda: page.keyboard.press("Escape"))
    for show, hide in zip((sign.hover, sign.focus), leave):
        assert page.locator(".tip").count() == 0
        show()
        assert page.inner_text(".tip") == words
        hide()
        page.wait_for_selector(".tip", state="detached")


def test_a_pointer_may_come_to_what_it_was_told(page):
    """Who magnifies the page sees a part of it, and follows (WCAG 1.4.13)."""
    replied(page, ("A cat ", "lookup", ["sitting"]), ("lying", "target", []))
    ask(page)
    ended(page)
    page.locator(".refused").hover()
    page.locator(".tip").hover()
    page.wait_for_timeout(400)
    assert page.locator(".tip").count() == 1


def test_arrows_go_from_one_refused_draft_to_the_next(page):
    """Each as a stop of its own, dozens would lie before what may be done with the answer."""
    replied(page, *[("A cat ", "lookup", ["sitting"]), ("lying", "target", [])] * 3)
    ask(page)
    ended(page)
    signs = page.locator(".refused")
    assert signs.evaluate_all("all => all.map(one => one.tabIndex)") == [0, -1, -1]
    signs.first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("[...document.querySelectorAll('.refused')].indexOf(document.activeElement)") == 1
    assert signs.evaluate_all("all => all.map(one => one.tabIndex)") == [-1, 0, -1]


def test_the_drafter_is_switched_and_says_the_same(page):
    names, told, texts = page.locator("#drafter option").all_inner_texts(), [], []
    for name in names:
        page.click("#anew")
        page.select_option("#drafter", name)
        told.append(ask(page).post_data_json["speculative"]["drafter"])
        texts += ended(page)
    assert told == names == ["lookup", "hasty", "none"]
    assert len(set(texts)) == 1
    assert page.locator(".text mark").count() == 0
    assert page.is_disabled("#both")


@pytest.mark.parametrize("order", ["turn", "together"])
def test_both_are_asked_side_by_side_and_say_the_same(page, order):
    page.select_option("#drafter", "hasty")
    page.check("#both")
    page.select_option("#order", order)
    ask(page)
    page.wait_for_selector(".verdict")
    drafted, plain = ended(page)
    assert drafted == plain
    assert page.locator(".answer h2").all_inner_texts() == ["Drafted by hasty", "The model alone"]
    left, right = (one.bounding_box() for one in page.locator(".answer").all())
    assert (left["y"], left["width"]) == (right["y"], right["width"])
    assert left["x"] + left["width"] <= right["x"]
    assert page.inner_text(".verdict").startswith("Both texts are the same.")


def test_a_phone_scrolls_down_only(opened, picture):
    page = opened(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    seen = [page.evaluate(WIDTH)]
    page.set_input_files("#files", [picture] * 6)
    page.wait_for_selector("#images li:nth-child(6)")
    page.check("#both")
    ask(page, "One-very-long-word-" * 20)
    page.wait_for_selector(".verdict")
    seen.append(page.evaluate(WIDTH))
    upper, lower = (one.bounding_box() for one in page.locator(".answer").all())
    assert upper["y"] + upper["height"] <= lower["y"], "one below the other"
    page.tap("#settings summary")
    panel = page.locator(".panel").bounding_box()
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 390
    assert [*seen, page.evaluate(WIDTH)] == [390] * 3


def test_dark_is_dark(opened):
    def lightness(scheme):
        colour = opened(color_scheme=scheme).eval_on_selector("body", COLOUR)
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    assert lightness("light") > 700
    assert lightness("dark") < 100


def test_tab_reaches_every_control(page, picture):
    replied(page, ("A cat ", "lookup", ["sitting"]), ("lying", "target", []))
    page.check("#both")
    ask(page)
    page.wait_for_selector(".verdict")
    page.set_input_files("#files", picture)
    page.wait_for_selector("#images li")
    page.click("#settings summary")
    number = page.evaluate(f"(window.shown = {SHOWN}).length")
    reached = []
    for _ in range(number + 1):  # once round; between the last one and the first lies the browser's own frame
        page.keyboard.press("Tab")
        reached.append(page.evaluate("shown.indexOf(document.activeElement)"))
    assert sorted(reached) == [-1, *range(number)]
    assert number > 20
    name = "one.ariaLabel || one.labels?.[0]?.textContent || one.textContent"
    assert page.evaluate(f"shown.filter(one => !({name}).trim()).length") == 0


def test_html_is_text(page):
    code = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script><b>&amp;"
    replied(page, (code, "target", []), (code, "lookup", [code]), (code, "target", []))
    ask(page, code)
    assert ended(page) == [code * 3]
    assert page.locator(".turn img, .turn script, .turn b:not(.figure b)").count() == 0
    page.locator(".refused").hover()
    assert code in page.inner_text(".tip")
    assert page.title() == "seeahead"
