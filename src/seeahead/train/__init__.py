"""Trains drafters by recipe; each stage resumes from its last checkpoint."""
