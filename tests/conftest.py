"""What several test modules use."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module")
def one_thread():
    """Two threads beside a busy neighbour are many times slower than one, at these sizes."""
    with threadpool_limits(1):
        yield
