"""How the demo model, its drafters, its card and the packaged suites are made: `python -m recipes.demo_model`."""
