"""Options of the test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` rewrites what golden tests expect; read the difference before committing it.

    ``--no-skips`` is for runs in which everything that tests need is there.
    """
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected half of tests/golden/*.txt")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("\ntests were skipped, and --no-skips says that none may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
