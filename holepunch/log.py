"""One logger per part of the program; an event in the past tense, and fields.

    log = get_logger("puncher")
    log.info("path validated", remote=remote, rtt=0.021)

A library configures no handlers: the command line does (holepunch.cli).  Keys, tokens, secrets
and offer bodies are never fields.
"""

import logging
from collections.abc import MutableMapping
from typing import Any


class _FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """Appends keyword arguments to the message as `name=value`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        known = {key: kwargs.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in kwargs}
        fields = " ".join(f"{name}={value}" for name, value in kwargs.items())
        # A percent sign in a field is not a format: %-formatting happens only with arguments.
        return (f"{msg} {fields}" if fields else msg), known


def get_logger(name: str) -> _FieldLogger:
    """Returns the logger `holepunch.<name>`."""
    return _FieldLogger(logging.getLogger(f"holepunch.{name}"), {})
