"""Reads a page as a browser would, and insists that it is well formed."""

from html.parser import HTMLParser

EMPTY = {"meta", "img", "link", "br"}


class Reader(HTMLParser):
    """Tags with their attributes, words outside of styles and scripts; every tag that needs it must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]
