"""What examples in docstrings use without importing it."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def example_names(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]
) -> Iterator[None]:
    """Give the examples of tensor/ and nn/ the name they all need."""
    if isinstance(request.node, pytest.DoctestItem):
        from tinycore.tensor import Tensor

        doctest_namespace["Tensor"] = Tensor
    yield
