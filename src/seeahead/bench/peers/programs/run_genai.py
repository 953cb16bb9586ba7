"""OpenVINO GenAI: its vision-language pipeline, and its conversion of models; see answer.py."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

_IMAGES = "preprocessor_config.json"
DRAFT_TOKENS, NGRAM = 5, 3
"""Of prompt lookup: the values of GenAI's own example."""


class Engine:
    """A loaded model."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import openvino
        import openvino_genai

        self._genai, self._tensor = openvino_genai, openvino.Tensor
        self._folder, self._uses_lookup = Path(settings["model"]), settings["uses_lookup"]
        properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": settings["num_threads"]}
        if self._uses_lookup:
            properties["prompt_lookup"] = True
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = sys.maxsize  # as its own default for single requests
        scheduler.enable_prefix_caching = False  # other methods read each question anew
        self._pipeline = openvino_genai.VLMPipeline(str(self._folder), "CPU", scheduler_config=scheduler, **properties)
        self._tokenizer = self._pipeline.get_tokenizer()
        told = self._folder / _IMAGES
        self._images = json.loads(told.read_text()) if told.is_file() else {}
        self.versions = {
            "openvino_genai": openvino_genai.__version__.partition("-")[0],
            "openvino": openvino.__version__.partition("-")[0],
        }

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds count from the call, with images still in their files, as ours do."""
        ids: list[int] = []
        arrivals: list[float] = []
        running = self._genai.StreamingStatus.RUNNING

        class Clock(self._genai.StreamerBase):  # type: ignore[name-defined]
            def write(self, tokens: Any) -> Any:
                arrivals.append(perf_counter())
                ids.extend([tokens] if isinstance(tokens, int) else tokens)
                return running

            def end(self) -> None:
                return

        config = self._config(asked)
        started = perf_counter()
        images: list[Any] = []
        messages = []
        for message in asked["messages"]:
            tags = ""
            for path in message["images"]:
                tags += f"<ov_genai_image_{len(images)}>"
                images.append(self._read(path))
            messages.append({"role": message["role"], "content": tags + message["text"]})
        # A history of its own would show images with the last message; ours stand in the first one.
        prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        shown = {"images": images} if images else {}
        result = self._pipeline.generate(prompt, generation_config=config, streamer=Clock(), **shown)
        total = perf_counter() - started
        first = arrivals[0] - started if arrivals else total
        return {"token_ids": ids, "text": result.texts[0], "seconds_first": first, "seconds_total": total}

    def _read(self, path: str) -> Any:
        """An image, in the size that the model's own processor gives it where GenAI would not."""
        import numpy as np
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        if size := self._images.get("resized_to"):
            image = image.resize(tuple(size), self._images.get("resample", Image.Resampling.BICUBIC))
        return self._tensor(np.array(image)[None])

    def _config(self, asked: Mapping[str, Any]) -> Any:
        """The model's own settings, as far as the question says nothing else."""
        own = self._folder / "generation_config.json"
        config = self._genai.GenerationConfig(*([str(own)] if own.is_file() else []))
        config.apply_chat_template = False
        config.max_new_tokens = asked["max_new_tokens"]
        config.do_sample = asked["temperature"] > 0
        if config.do_sample:
            config.temperature, config.rng_seed = asked["temperature"], asked["seed"]
            config.top_k, config.top_p = sys.maxsize, 1.0
        if self._uses_lookup:
            config.num_assistant_tokens, config.max_ngram_size = DRAFT_TOKENS, NGRAM
        return config


def convert(target: str, folder: str, weights: str) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import older_names
    from optimum.commands.optimum_cli import main as tool

    with TemporaryDirectory(dir=Path(folder).parent) as workspace:
        named = str(Path(workspace) / "named")
        older_names.write(target, named)
        _check_names(named)
        sys.argv[1:] = ["export", "openvino", "-m", named, "--task", "image-text-to-text", "--weight-format", weights]
        sys.argv.append(folder)
        tool()
    # GenAI reads a file that transformers 5 no longer writes, and resizes images to another size without it.
    processor = Path(target) / "processor_config.json"
    images = Path(folder) / _IMAGES
    if not images.exists() and processor.is_file():
        settings = json.loads(processor.read_text())["image_processor"]
        size = settings.get("size", {})
        if size.keys() == {"height", "width"}:  # which it does not read: it would cut a piece out of a larger image
            settings |= {"size": {"shortest_edge": min(size.values())}, "resized_to": [size["width"], size["height"]]}
        images.write_text(json.dumps(settings))


def _check_names(folder: str) -> None:
    """Raises ValueError for weights that this release of transformers does not find: it would draw them at random."""
    from transformers import AutoModelForImageTextToText

    loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    if missing := sorted(loaded[1]["missing_keys"]):
        raise ValueError(f"the converter does not find {missing[0]} and {len(missing) - 1} other weights of the model")
