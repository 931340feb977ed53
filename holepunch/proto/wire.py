"""A bounds-checked cursor over bytes, big-endian, that raises nothing but WireError."""

import struct

from ..errors import WireError


class Reader:
    """Reads integers and byte strings from the front of `data`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        """Returns the next `length` bytes.

        Raises:
            WireError: fewer are left.
        """
        if length < 0 or length > self.remaining:
            raise WireError(f"wanted {length} bytes, {self.remaining} are left")
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        """Returns all that is left."""
        return self.take(self.remaining)

    def u8(self) -> int:
        """Returns the next byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Returns the next two bytes as an integer."""
        return int.from_bytes(self.take(2))

    def u32(self) -> int:
        """Returns the next four bytes as an integer."""
        return int.from_bytes(self.take(4))

    def u64(self) -> int:
        """Returns the next eight bytes as an integer."""
        return int.from_bytes(self.take(8))

    def block(self) -> bytes:
        """Returns a byte string that was written with its length in two bytes."""
        return self.take(self.u16())

    def text(self) -> str:
        """Returns a UTF-8 block.

        Raises:
            WireError: the block is short or not UTF-8.
        """
        try:
            return self.block().decode()
        except UnicodeDecodeError as error:
            raise WireError("a text field is not UTF-8") from error

    def end(self) -> None:
        """Asserts that nothing is left.

        Raises:
            WireError: something is.
        """
        if self.remaining:
            raise WireError(f"{self.remaining} bytes follow the end of the message")


class Writer:
    """Appends integers and byte strings; the mirror of Reader."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> "Writer":
        """Appends `data` as it is."""
        self._parts.append(data)
        return self

    def _pack(self, form: str, value: int) -> "Writer":
        return self.raw(struct.pack(form, value))

    def u8(self, value: int) -> "Writer":
        """Appends one byte."""
        return self._pack(">B", value)

    def u16(self, value: int) -> "Writer":
        """Appends two bytes."""
        return self._pack(">H", value)

    def u32(self, value: int) -> "Writer":
        """Appends four bytes."""
        return self._pack(">I", value)

    def u64(self, value: int) -> "Writer":
        """Appends eight bytes."""
        return self._pack(">Q", value)

    def block(self, data: bytes) -> "Writer":
        """Appends a byte string after its length in two bytes."""
        return self.u16(len(data)).raw(data)

    def text(self, value: str) -> "Writer":
        """Appends a string as a UTF-8 block."""
        return self.block(value.encode())

    def getvalue(self) -> bytes:
        """Returns all that was appended."""
        return b"".join(self._parts)
