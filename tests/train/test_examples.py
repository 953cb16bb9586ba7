"""Lines, their batches, and the order in which they are drawn."""

import pytest
import torch

from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError
from seeahead.train.examples import SLOT, Example, in_rounds, packed
from seeahead.train.gathered import GatheredExamples

VOCABULARY = DraftVocabulary(torch.tensor([0, 1, 2, 7, 9]), unknown_draft_id=0)


def batch_of(lines):
    return GatheredExamples(lines, VOCABULARY.table(50), VOCABULARY.unknown, "cpu").batch(lines)


def test_labels_skip_the_prompt_and_unknown_tokens():
    top = tuple((first, second, *[9] * 6) for first, second in ((7, 8), (8, 9), (2, 9)))
    shares = tuple((first, second, *[0.0] * 6) for first, second in ((0.6, 0.4), (0.9, 0.1), (1.0, 0.0)))
    batch = batch_of([Example((1, 9, 7, 8, 2), 2, top, shares)])
    assert batch.ids.tolist() == [[1, 4, 3, 0, 2]]
    assert batch.labels.tolist() == [[-100, 3, -100, 2, -100]]
    assert batch.shares[0, 1, :2].tolist() == pytest.approx([0.6, 0.0])
    assert batch.shares[0, 2, :2].tolist() == pytest.approx([0.0, 0.1])
    assert batch.soft_ids[0, 2, 1] == 4
    assert batch.visual is None


def test_slots_hold_the_lines_visual_embeddings_in_order():
    first, second = torch.full((2, 3), 1.0), torch.full((1, 3), 2.0)
    lines = [Example((1, SLOT, SLOT, 9, 7, 2), 4, visual=first), Example((SLOT, 9, 2), 2, visual=second)]
    batch = batch_of(lines)
    assert batch.is_slot.nonzero().tolist() == [[0, 1], [0, 2], [1, 0]]
    torch.testing.assert_close(batch.visual, torch.cat((first, second)))
    assert batch.labels[0].tolist() == [-100, -100, -100, 3, 2, -100]


def test_every_line_is_drawn_once_a_round_and_any_batch_can_be_drawn_again():
    lines = [Example(tuple(range(2 + number % 5))) for number in range(23)]
    supply = in_rounds(lines, 4, seed=1)
    first, second = [[supply(number) for number in numbers] for numbers in (range(6), range(6, 12))]
    for drawn in (first, second):
        assert sorted(id(line) for batch in drawn for line in batch) == sorted(map(id, lines))
    assert first != second
    assert in_rounds(lines, 4, seed=1)(8) == second[2]
    assert [in_rounds(lines, 4, seed=2)(number) for number in range(6)] != first


def test_nothing_to_learn_from_is_said():
    with pytest.raises(InputError, match="nothing to learn from"):
        in_rounds([], 4, 0)


def test_texts_are_packed_with_ends_between():
    lines = packed([[5, 6, 7], [8], [9, 9]], 4, end=2)
    assert [line.ids for line in lines] == [(5, 6, 7, 2), (8, 2, 9, 9)]
    assert packed([[5, 6]], 10, end=2)[0].ids == (5, 6, 2)


def test_the_likeliest_tokens_are_known_and_the_special_ones_always():
    from collections import Counter

    counts = Counter({9: 5, 7: 4, 40: 3, 8: 1})
    vocabulary = DraftVocabulary.most_frequent(counts, 6, [0, 1, 2], 50)
    assert vocabulary.target_ids.tolist() == [0, 1, 2, 7, 9, 40]
    assert vocabulary.unknown == 0
    assert (torch.arange(6) + vocabulary.offsets()).tolist() == vocabulary.target_ids.tolist()
    assert vocabulary.table(50)[torch.tensor([9, 8, 40])].tolist() == [4, -1, 5]
    assert DraftVocabulary.most_frequent(counts, 0, [3], 50).target_ids.tolist() == list(range(50))
    assert DraftVocabulary.most_frequent(Counter(), 3, [49], 50).target_ids.tolist() == [0, 1, 49]
