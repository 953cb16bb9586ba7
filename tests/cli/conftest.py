"""The model that whole commands run on."""

import pytest

from seeahead.testing import tiny_model
from seeahead.testing.processors import tiny_processor


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-llava")
    tiny_model("llava", max_position_embeddings=1024).save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return str(folder)
