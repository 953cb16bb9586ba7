"""Several answers to one prompt share what is made of it."""

import pytest
from PIL import Image

from seeahead.serve.owner import OwnerLimits
from tests.serve.conftest import chat, data_uri, serving
from tests.serve.test_refusals import sent

OTHER = data_uri(Image.radial_gradient("L").resize((30, 30)).convert("RGB"))


@pytest.mark.parametrize(
    ("executor", "num_at_once"), [("fused", 2), ("graphs", 2), ("graphs", 8), ("openvino", 1), ("openvino", 8)]
)
@pytest.mark.usefixtures("openvino_in_32_bits")
def test_images_are_encoded_once_for_all_answers(executor, num_at_once):
    if executor == "openvino":
        pytest.importorskip("openvino")
    encoded, seen = [], []
    limits = OwnerLimits(num_at_once=num_at_once, num_kept=0)  # a kept slot would spare images as well
    with serving(limits, executor="auto" if executor == "fused" else executor) as served, served.client() as client:
        family, eyes = served.owner.engine.family, served.owner._seeing_family
        assert executor != "fused" or family.fuse()
        encode = eyes.encode
        eyes.encode = lambda prompt: (encoded.append(prompt), encode(prompt))[1]
        family.model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
        asked = chat(OTHER, "What is this, and that?", temperature=1.0)
        several = client.chat.completions.create(**asked, seed=7, n=4)
        assert (len(encoded), len(seen)) == (1, 1)
        single = [client.chat.completions.create(**asked, seed=7 + number) for number in range(4)]
    assert (len(encoded), len(seen)) == (5, 5)
    said = [one.message.content for one in several.choices]
    assert said == [one.choices[0].message.content for one in single]
    assert len(set(said)) > 1


def test_shared_images_count_once_where_memory_is_short(monkeypatch):
    with serving(OwnerLimits(num_at_once=1, image_bytes=1 << 20), max_new_tokens=400) as served:
        large = data_uri(Image.new("RGB", (500, 400)))
        counted, admit = [], served.owner._admit
        monkeypatch.setattr(served.owner, "_admit", lambda: (counted.append(served.owner._image_bytes()), admit()))
        assert sent(served, chat(large, "x", n=3, max_tokens=1))[0] == 200
        assert 4 * 500 * 400 <= max(counted) < 2 * 4 * 500 * 400
