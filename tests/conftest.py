"""Options of the test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` rewrites what golden tests expect; read the difference before committing it."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected half of tests/golden/*.txt")
