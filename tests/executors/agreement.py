"""Whether a family's executor says what transformers says."""

from seeahead.decode import run
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.testing import ScriptedDrafter, answer, assert_same_answer
from tests.lossless.cases import NUM_TOKENS, image_counts, plain, prompt
from tests.scripts import sometimes_right


def assert_family_agrees(family, model_type):
    """With each number of images: plain, drafted, and all of them in a batch."""
    requests = []
    for num_images in image_counts(model_type):
        inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)
        drafter = ScriptedDrafter("sometimes right", sometimes_right(truth.token_ids))
        assert_same_answer(answer(family, inputs, max_new_tokens=NUM_TOKENS), truth)
        assert_same_answer(answer(family, inputs, drafter, max_new_tokens=NUM_TOKENS), truth)
        sampler, rule = Sampler(SamplingParams(), inputs.token_ids[0].tolist()), StopRule(NUM_TOKENS)
        request = Request(family.executor, drafter, sampler, rule, family.image_token_ids).ask(inputs)
        requests.append((request, truth))
    for _ in run(iter([request for request, _ in requests]), 8):
        pass
    for request, truth in requests:
        assert tuple(request.answer) == truth.token_ids
