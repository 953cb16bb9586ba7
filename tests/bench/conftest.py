"""The model that whole runs are made on."""

from tests.cli.conftest import tiny  # noqa: F401  (a fixture)
