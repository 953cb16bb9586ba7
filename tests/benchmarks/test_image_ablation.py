"""The image ablation: what is shown in an image's place, and the page of what was stored."""

import torch

from benchmarks.studies.image_ablation import PreviousImage, documents


def test_efficiency_by_task_and_by_what_is_shown():
    rows = [
        {"shown": shown, "task": task, "num_steps": 10, "num_emitted": emitted}
        for shown, task, emitted in (("its image", "caption", 42), ("a blank one", "caption", 21))
    ]
    source = {"command": ["python", "image_ablation.py"], "commit": "abc", "hardware": {"cpu": "a CPU"}}
    page = documents({"rows": rows, "provenance": source, "count": 5})["results/pictures.md"]
    assert "| its image   |    4.20 |" in page
    assert "| a blank one |    2.10 |" in page


def test_the_image_before_fills_as_many_places_as_there_are():
    shown = PreviousImage()
    first, second = torch.ones(2, 3), torch.full((5, 3), 2.0)
    assert torch.equal(shown(first), torch.zeros(2, 3))
    assert torch.equal(shown(second), torch.ones(5, 3))
    assert torch.equal(shown(first), second[:2])
