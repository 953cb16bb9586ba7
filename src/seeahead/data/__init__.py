"""The demo model's data: packages, pictures, made scenes, questions with answers, and the held-out side of each."""

from seeahead.data.held_out import held_out_prompts

__all__ = ["held_out_prompts"]
