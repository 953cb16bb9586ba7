"""An OpenAI-compatible server: one owner of the model answers many clients at once."""
