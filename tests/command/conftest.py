"""A session to run commands on, and the proof that none is left over."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from holepunch.command import process
from tests.standin import StandInSession


@pytest.fixture
async def session() -> AsyncIterator[StandInSession]:
    one = StandInSession()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _nobody_is_left_over() -> Iterator[None]:
    yield
    assert not process._running
    with pytest.raises(ChildProcessError):  # not even a zombie
        os.waitpid(-1, os.WNOHANG)
