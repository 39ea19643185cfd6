from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lab_testing.registry_double import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
