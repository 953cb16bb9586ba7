"""Images on the page that the server refuses, and images of many turns: a conversation goes on."""

import json

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="see test_browser.py")

from tests.serve.test_browser import ask, browser, ended, here, opened, page, picture  # noqa: E402, F401


def test_what_is_refused_goes_back_to_where_it_was_typed(page, picture):  # noqa: F811
    """With the next question it would be refused again, and so would be every one after it."""
    error = {"message": "the image is damaged", "type": "invalid_request_error", "param": "messages", "code": None}
    # In a stream: browsers write every status of 400 on the console, on which nothing else may stand.
    told = {"body": f"data: {json.dumps({'error': error})}\n\n", "content_type": "text/event-stream"}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(**told), times=1)
    page.set_input_files("#files", picture)
    page.wait_for_selector("#images li")
    ask(page, "What is it?", tokens=4)
    page.wait_for_selector("#images li")
    assert page.input_value("#question") == "What is it?"
    assert page.inner_text("#problem") == "The image is damaged."
    assert page.locator(".turn").count() == 0, "it stands where it was typed"
    page.click("#images button")
    messages = ask(page, "And now?", tokens=4).post_data_json["messages"]
    assert [[part["type"] for part in one["content"]] for one in messages] == [["text"]]
    assert ended(page)[0]


def test_images_of_all_turns_count(page, picture):  # noqa: F811
    """A question sends them all: the server would refuse it, and every one after it."""
    page.set_input_files("#files", [picture] * 5)
    page.wait_for_selector("#images li:nth-child(5)")
    ask(page, "What is it?", tokens=4)
    ended(page)
    page.set_input_files("#files", [picture] * 5)
    page.wait_for_selector("#problem:not(:empty)")
    assert page.inner_text("#problem") == "A conversation can have at most 8 images."
    assert page.locator("#images li").count() == 3


def test_a_question_takes_the_images_that_are_still_read_along(page, picture):  # noqa: F811
    """Decoding takes a while, and a reader does not wait for it."""
    page.evaluate("""() => {
      const decode = createImageBitmap;
      window.createImageBitmap = async (file) => {
        await new Promise((done) => setTimeout(done, 200));
        return decode(file);
      };
    }""")
    page.set_input_files("#files", [picture] * 3)
    (content,) = [one["content"] for one in ask(page, "What is it?", tokens=4).post_data_json["messages"]]
    assert [part["type"] for part in content] == ["image_url"] * 3 + ["text"]
    assert ended(page)[0]
