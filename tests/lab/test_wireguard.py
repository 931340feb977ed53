"""WireGuard through two kernel NATs, by examples/wireguard.sh: keys from the session's secret."""

from pathlib import Path

import pytest

from tests.lab.linked import linked, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.mark.parametrize("flags", [[], ["--proxy"]], ids=["hand-over", "proxy"])
def test_wireguard_links_two_machines_behind_nats(tmp_path: Path, flags: list[str]) -> None:
    with linked(tmp_path, "wireguard.sh", *flags) as (_, local, remote):
        here, there = local.tunnel()
        assert remote.tunnel() == (there, here)
        until(lambda: remote.pings(here), "a ping back", 30)
