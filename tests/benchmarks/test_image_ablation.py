"""The page on the image ablation says what its record says."""

from benchmarks.studies.image_ablation import documents


def test_efficiency_by_task_and_by_what_is_shown():
    rows = [
        {"shown": shown, "task": task, "num_steps": 10, "num_emitted": emitted}
        for shown, task, emitted in (("its image", "caption", 42), ("a blank one", "caption", 21))
    ]
    source = {"command": ["python", "image_ablation.py"], "commit": "abc", "hardware": {"cpu": "a CPU"}}
    page = documents({"rows": rows, "provenance": source, "count": 5})["results/pictures.md"]
    assert "| its image   |    4.20 |" in page
    assert "| a blank one |    2.10 |" in page
