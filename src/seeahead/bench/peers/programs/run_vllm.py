"""vLLM on a CPU, in its own process alone; see answer.py."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

_MOST_TOKENS = 4096
"""Of prompt and answer: room for keys and values is set aside for all of them."""
_CACHE_GIB = "1"


def prepare(num_threads: int) -> None:
    """Before vLLM is imported: it starts processes, which inherit this."""
    os.environ |= {
        "PYTHONPATH": str(Path(__file__).parent),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": _CACHE_GIB,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": str(num_threads),
    }
    # For this process, which has started already, perhaps with another module of that name.
    spec = importlib.util.spec_from_file_location("declared_operators", Path(__file__).with_name("sitecustomize.py"))
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


class Engine:
    """A loaded model."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        prepare(settings["num_threads"])
        import vllm

        self._vllm, self._uses_lookup = vllm, settings["uses_lookup"]
        lookup = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 3}
        config = json.loads((Path(settings["model"]) / "config.json").read_text())
        longest = config.get("text_config", config).get("max_position_embeddings", _MOST_TOKENS)
        self._llm = vllm.LLM(
            settings["model"],
            dtype="float32",
            max_model_len=min(_MOST_TOKENS, longest),
            max_num_seqs=1,
            limit_mm_per_prompt={"image": 8},
            mm_processor_cache_gb=0,
            enable_prefix_caching=False,
            disable_log_stats=False,
            **({"speculative_config": lookup} if self._uses_lookup else {}),
        )
        self.versions = {"vllm": vllm.__version__}

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        from PIL import Image, ImageOps

        if self._uses_lookup and asked["temperature"] > 0:
            raise ValueError(f"vLLM {self._vllm.__version__} draws wrongly with drafts on a CPU (its issue 55005)")
        settings: dict[str, Any] = {"max_tokens": asked["max_new_tokens"], "temperature": asked["temperature"]}
        if asked["temperature"] > 0:
            settings |= {"top_p": 1.0, "top_k": 0, "seed": asked["seed"]}
        started = perf_counter()
        messages = []
        for message in asked["messages"]:
            images = [
                {"type": "image_pil", "image_pil": ImageOps.exif_transpose(Image.open(path)).convert("RGB")}
                for path in message["images"]
            ]
            messages.append({"role": message["role"], "content": [*images, {"type": "text", "text": message["text"]}]})
        given = self._vllm.SamplingParams(**settings)
        (found,) = self._llm.chat(messages, given, use_tqdm=False, chat_template_content_format="openai")
        total = perf_counter() - started
        times, answer = found.metrics, found.outputs[0]
        decoding = times.last_token_ts - times.first_token_ts
        told = {"token_ids": list(answer.token_ids), "text": answer.text}
        return {**told, "seconds_first": total - decoding, "seconds_total": total}


def convert(target: str, folder: str, weights: str) -> None:
    import older_names

    older_names.write(target, folder)
