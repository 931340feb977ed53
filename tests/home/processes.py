"""Real processes that begin at the same moment."""

import subprocess
import sys
from collections.abc import Sequence

_FRAME = """
import sys
{setup}
print("ready", flush=True)
sys.stdin.readline()
{action}
"""


def run_together(count: int, setup: str, action: str, arguments: Sequence[object]) -> list[str]:
    """Runs `action` in `count` processes at once and returns what each printed; sys.argv[1] is its number."""
    script = _FRAME.format(setup=setup, action=action)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(number), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate() for process in processes]
    assert [(process.returncode, error) for process, (_, error) in zip(processes, results, strict=True)] == [
        (0, "")
    ] * count
    return [out for out, _ in results]
