"""What every test shares: nothing is skipped in CI, and hypothesis is reproducible there."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "") not in {"", "0", "false"}

# The same examples each time in CI; new ones on a developer's machine.  Shared cores make
# hypothesis's per-example deadline a coin toss.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if IN_CI else "here")


# A shell starts what it puts into the background with Ctrl-C ignored, and children would inherit that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The settings of whoever runs the tests are not the tests'; nor is the home, which nobody may touch, or the internet.
for variable in [name for name in os.environ if name.startswith("HOLEPUNCH_")]:
    del os.environ[variable]
os.environ["HOLEPUNCH_HOME"] = "/nonexistent/home-of-no-test"
os.environ["HOLEPUNCH_STUN"] = ""


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Undoes what a command line that a test ran did to the log."""
    logger = logging.getLogger("holepunch")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.propagate = handlers, True
    logger.setLevel(level)


def can_make_namespaces() -> bool:
    """Returns whether tests/lab can run: root on Linux."""
    return sys.platform == "linux" and os.geteuid() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks whole worlds, servers and attackers as slow, and skips what this machine cannot run.

    In CI the hook below makes such a skip a failure.
    """
    for item in items:
        if item.path.parent.name in {"hub", "security", "sim"}:
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("lab") and not can_make_namespaces():
            item.add_marker(pytest.mark.skip(reason="needs root on Linux"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns every skip into a failure when CI is set: a test that did not run proved nothing."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself while it is imported."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
