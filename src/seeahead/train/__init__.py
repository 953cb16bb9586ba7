"""Trains the demo model: vision tower, soft words, answers, drafter; each stage resumes from its last checkpoint."""
