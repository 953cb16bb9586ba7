"""Processors for the tests of this folder."""

import pytest

from seeahead.testing import tiny_processor


def processor_or_skip(model_type):
    """Up to transformers 5.17 the picture processors of Idefics3 and SmolVLM insist on torchvision."""
    try:
        return tiny_processor(model_type)
    except ImportError as error:
        pytest.skip(str(error).strip().partition("\n")[0])
