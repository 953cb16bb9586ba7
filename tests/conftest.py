"""What every test stands on: few threads, no network, no model hub.

Set here and not in fixtures, because torch and transformers read the environment when they are imported.
"""

import os
import socket
from collections.abc import Iterator

import pytest

from tests.sizes import over_soft_limits

# Two test processes share the machine when pytest-xdist runs; more threads than cores slow every torch call.
# A worker inherits what its parent set for itself, so it must not look at what is there.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ[_name] = "1"
    else:
        os.environ.setdefault(_name, "2")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

_LOCAL = ("127.", "::1", "localhost")


@pytest.fixture
def openvino_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded weights too are computed with in 32 bits: some processors would in 16, which depends on the rows."""
    import torch  # not above: it reads the numbers of threads when it is imported

    for module in ("compiled", "openvino"):
        monkeypatch.setattr(f"seeahead.executors.{module}.arithmetic", lambda precision: torch.float32)


@pytest.fixture(autouse=True, scope="session")
def _proofs_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test run proves, it proves anew, and leaves nothing in anybody's home."""
    folder = tmp_path_factory.getbasetemp() / "proofs"
    # Workers share what they convert.
    shared = folder.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seeahead.proven.proofs_folder", lambda: folder)
        patch.setattr("seeahead.executors.converted.default_cache", lambda: shared)
        patch.setattr("seeahead.drafters.at_hand.default_cache", lambda: folder)
        # What is measured on a busy machine is another thing each time.
        from seeahead.executors.row_steps import RowSteps

        known = RowSteps(8, long_rows=0)
        patch.setattr("seeahead.executors.openvino.row_steps", lambda *given, **settings: known)
        # Tests that want OpenVINO name it: the first use of a model converts it, which takes a while.
        patch.setattr("seeahead.families.choice.is_installed", lambda: False)
        yield


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the internet fails at once instead of passing on machines that have it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOCAL):
            raise AssertionError(f"a test tried to connect to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    long = over_soft_limits()
    if long:
        terminalreporter.section("longer than they should be")
        for line in long:
            terminalreporter.line(line)
