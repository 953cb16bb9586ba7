"""What comes between in conversations: a question taken back, a reader who reads back, a server that is gone."""

import json

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from tests.serve.test_browser import ask, browser, ended, here, opened, page, picture, replied, slow  # noqa: E402, F401

ANSWERS = "**/v1/chat/completions"
# In place of a network: browsers write what fails there on the console, on which nothing else may stand.
ONCE = """({ status, body, type }) => {
  const real = fetch;
  window.fetch = async () => {
    window.fetch = real;
    return new Response(body, { status, headers: { "Content-Type": type } });
  };
}"""


def typed(page):  # noqa: F811
    return page.input_value("#question"), page.locator("#images li").count(), page.locator(".turn").count()


def test_a_question_that_is_stopped_before_its_answer_comes_back(page, picture):  # noqa: F811
    """Else the next one would be asked together with it, unseen."""
    page.route(ANSWERS, lambda route: None, times=1)
    page.set_input_files("#files", picture)
    page.wait_for_selector("#images li")
    ask(page, "Waht is it?")
    page.keyboard.press("Escape")
    page.wait_for_selector("#images li")
    assert typed(page) == ("Waht is it?", 1, 0)
    assert page.is_visible("#empty")
    (message,) = ask(page, "What is it?", tokens=4).post_data_json["messages"]
    assert [part.get("text", "") for part in message["content"]] == ["", "What is it?"]
    assert ended(page)[0]


def test_the_last_question_can_be_edited(page):  # noqa: F811
    ask(page, "One", tokens=4)
    ended(page)
    ask(page, "Two", tokens=4)
    ended(page)
    assert page.get_by_text("Edit the question").count() == 2
    page.click(".turn:last-child >> text=Edit the question")
    assert typed(page) == ("Two", 0, 2)
    assert page.evaluate("document.activeElement.id") == "question"
    roles = [one["role"] for one in ask(page, "Three", tokens=4).post_data_json["messages"]]
    assert roles == ["user", "assistant", "user"]
    ended(page)


def test_what_a_proxy_refuses_is_not_asked_again_with_the_next_question(page):  # noqa: F811
    page.evaluate(ONCE, {"status": 413, "body": "<html>too large</html>", "type": "text/html"})
    page.fill("#question", "A large one")
    page.press("#question", "Enter")
    page.wait_for_selector("#problem:not(:empty)")
    assert "too large for the server, or for a proxy" in page.inner_text("#problem")
    assert typed(page) == ("A large one", 0, 0)


def test_a_server_that_was_started_anew_with_another_model_is_asked_for_that(page):  # noqa: F811
    error = {"message": "no such model", "type": "not_found_error", "code": "model_not_found", "param": "model"}
    page.evaluate(ONCE, {"status": 404, "body": json.dumps({"error": error}), "type": "application/json"})
    page.fill("#question", "Who is it?")
    with page.expect_response("**/v1/models"):
        page.press("#question", "Enter")
    page.wait_for_selector(".turn:last-child .again")
    assert "No such model." in page.locator(".turn").last.inner_text()
    with page.expect_request(ANSWERS):
        page.click("text=Try again")
    assert ended(page)[0]


def test_a_connection_that_is_lost_without_a_word_is_said_to_be(page):  # noqa: F811
    page.clock.install()
    page.evaluate("window.fetch = async () => new Response(new ReadableStream(), { status: 200 })")
    page.fill("#question", "Who is there?")
    page.press("#question", "Enter")
    page.wait_for_selector(".busy")
    page.clock.run_for(30_000)
    assert page.is_visible(".busy")
    page.clock.run_for(60_000)
    page.wait_for_selector(".state.failed")
    assert "Nothing has come from the server for a minute" in page.inner_text(".state")


def test_who_scrolls_up_a_little_is_left_there(page, slow):  # noqa: F811
    page.select_option("#drafter", "none")
    ask(page, "line\n" * 60, tokens=200)
    page.wait_for_selector(".busy .text:not(:empty)")
    page.mouse.move(500, 300)
    page.mouse.wheel(0, -40)
    page.wait_for_timeout(300)
    top, said = page.evaluate("scrollY"), page.locator(".text").inner_text()
    page.wait_for_function("said => document.querySelector('.text').innerText.length > said.length", arg=said)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == top
    page.mouse.wheel(0, 2000)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY") < 80
    page.keyboard.press("Escape")
    ended(page)


def test_the_end_of_an_answer_leaves_the_focus_where_somebody_reads(page, slow):  # noqa: F811
    page.select_option("#drafter", "none")
    ask(page, tokens=40)
    page.click(".busy h2")
    ended(page)
    assert page.evaluate("document.activeElement.tagName") == "BODY"


def test_typing_many_lines_leaves_the_page_where_it_is(page):  # noqa: F811
    ask(page, "line\n" * 60, tokens=4)
    ended(page)
    page.evaluate("scrollTo(0, 100)")
    page.focus("#question")
    for _ in range(8):
        page.keyboard.press("Shift+Enter")
    assert page.evaluate("scrollY") == 100


def test_paper_has_the_conversation_alone(page):  # noqa: F811
    replied(page, ("A cat ", "lookup", []), ("lying", "target", []))
    ask(page)
    ended(page)
    page.emulate_media(media="print")
    assert not any(page.locator(one).first.is_visible() for one in ("#form", "#anew", "#settings", ".actions"))
    assert page.is_visible(".text mark")
