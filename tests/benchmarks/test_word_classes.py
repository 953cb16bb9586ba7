"""Words by class: drafted only where every letter was, and the first piece is nobody's draft."""

from benchmarks.claims.word_classes import WordCounts, count_words


def test_a_word_counts_where_all_of_it_was_drafted():
    pieces = (
        ("The", "target"),
        (" cat is", "drafted"),
        (" pen", "drafted"),
        ("guin", "target"),
        ("-like, on the", "drafted"),
        (" sofa", "target"),
        (" and 12 red", "drafted"),
        (".", "target"),
    )
    # is, on, the, and; cat, penguin, like, sofa, red
    assert count_words(pieces) == WordCounts(4, 5, 4, 3)


def test_the_first_piece_is_left_out_with_a_word_it_begins():
    assert count_words((("Butter", "target"), ("fly", "drafted"), (" in", "target"))) == WordCounts(1, 0, 0, 0)
    assert count_words(()) == WordCounts()
