"""The values of STUN attributes: addresses, changes asked for, errors (RFC 8489 section 14, RFC 5780 section 7).

A message carries attributes as raw (type, value) pairs; the functions here give values a meaning.
Every decode function raises only WireError.
"""

import enum
import ipaddress

from ...errors import WireError
from ..machine import Address

MAGIC_COOKIE = bytes.fromhex("2112a442")  # RFC 8489, section 5
COMPREHENSION_OPTIONAL = 0x8000  # RFC 8489, section 14: an unknown type from here on may be ignored
_CHANGE_IP, _CHANGE_PORT = 0x04, 0x02  # RFC 5780, section 7.2
_VERSIONS = {1: 4, 2: 6}  # RFC 8489, section 14.1: family to IP version


class Attribute(enum.IntEnum):
    """Attribute types, by the names of their RFCs."""

    MAPPED_ADDRESS = 0x0001
    RESPONSE_ADDRESS = 0x0002
    """RFC 3489: an answer to somebody else; a reflector's tool, never obeyed."""
    CHANGE_REQUEST = 0x0003
    SOURCE_ADDRESS = 0x0004
    """RFC 3489; RESPONSE-ORIGIN since RFC 5780."""
    CHANGED_ADDRESS = 0x0005
    """RFC 3489; OTHER-ADDRESS since RFC 5780."""
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REALM = 0x0014
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    XOR_MAPPED_ADDRESS = 0x0020
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    OLD_XOR_MAPPED_ADDRESS = 0x8020
    """XOR-MAPPED-ADDRESS before RFC 5389 was published; some servers still send it."""
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


def encode_mapped_address(address: Address) -> bytes:
    """Returns a MAPPED-ADDRESS value (RFC 8489 section 14.1): 8 bytes for IPv4, 20 for IPv6."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    return bytes((0, 1 if ip.version == 4 else 2)) + address[1].to_bytes(2) + ip.packed


def decode_mapped_address(value: bytes) -> Address:
    """Reads a MAPPED-ADDRESS value (RFC 8489 section 14.1).

    Args:
        value: 8 bytes for IPv4, 20 for IPv6: zero, family, port, address; big-endian.

    Returns:
        (host, port), with host in canonical text form.

    Raises:
        WireError: the length is wrong, or the family is neither 1 (IPv4) nor 2 (IPv6).
    """
    version = _VERSIONS.get(value[1]) if len(value) >= 2 else None
    if version is None or len(value) != (8 if version == 4 else 20):
        raise WireError(f"an address has family {value[1:2].hex() or 'none'} and {len(value)} bytes")
    return str(ipaddress.ip_address(value[4:])), int.from_bytes(value[2:4])


def encode_xor_mapped_address(address: Address, mask: bytes) -> bytes:
    """Returns a XOR-MAPPED-ADDRESS value (RFC 8489 section 14.2).

    Args:
        address: what to say.
        mask: the 16 bytes of the message's magic cookie and transaction id.
    """
    return _xor(encode_mapped_address(address), mask)


def decode_xor_mapped_address(value: bytes, mask: bytes) -> Address:
    """Reads a XOR-MAPPED-ADDRESS value (RFC 8489 section 14.2).

    Args:
        value: 8 bytes for IPv4, 20 for IPv6.
        mask: the 16 bytes of the message's magic cookie and transaction id.

    Raises:
        WireError: as decode_mapped_address.
    """
    return decode_mapped_address(_xor(value, mask))


def _xor(value: bytes, mask: bytes) -> bytes:
    """XORs the port with the first two bytes of the mask, and the address with as many as it has."""
    stream = mask[:2] + mask
    return value[:2] + bytes(byte ^ key for byte, key in zip(value[2:20], stream, strict=False)) + value[20:]


def encode_change_request(*, change_ip: bool, change_port: bool) -> bytes:
    """Returns a CHANGE-REQUEST value (RFC 5780 section 7.2)."""
    return bytes((0, 0, 0, (_CHANGE_IP if change_ip else 0) | (_CHANGE_PORT if change_port else 0)))


def decode_change_request(value: bytes) -> tuple[bool, bool]:
    """Reads a CHANGE-REQUEST value: (change IP, change port).

    Raises:
        WireError: it has not 4 bytes.
    """
    if len(value) != 4:
        raise WireError(f"CHANGE-REQUEST has {len(value)} bytes, expected 4")
    return bool(value[3] & _CHANGE_IP), bool(value[3] & _CHANGE_PORT)


def encode_response_port(port: int) -> bytes:
    """Returns a RESPONSE-PORT value (RFC 5780 section 7.5)."""
    return port.to_bytes(2) + b"\0\0"


def decode_response_port(value: bytes) -> int:
    """Reads a RESPONSE-PORT value.

    Raises:
        WireError: it has not 4 bytes, or the port is 0.
    """
    if len(value) != 4:  # the RFC's figure has 4; its text says 2 and padding, which decodes to 2
        value = value.ljust(4, b"\0") if len(value) == 2 else b""
    if not (port := int.from_bytes(value[:2])):
        raise WireError("RESPONSE-PORT has no port")
    return port


def encode_error_code(code: int, reason: str) -> bytes:
    """Returns an ERROR-CODE value (RFC 8489 section 14.8); code is 300-699."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def decode_error_code(value: bytes) -> tuple[int, str]:
    """Reads an ERROR-CODE value: (code, reason).  The reason comes from a stranger: print it with care.

    Raises:
        WireError: it is shorter than 4 bytes, or the number is not 300-699.
    """
    if len(value) < 4:
        raise WireError(f"ERROR-CODE has {len(value)} bytes, expected at least 4")
    hundreds, rest = value[2] & 7, value[3]
    if not 3 <= hundreds <= 6 or rest > 99:
        raise WireError(f"ERROR-CODE has class {hundreds} and number {rest}")
    return hundreds * 100 + rest, value[4:].decode("utf-8", "replace")


def check_value(kind: int, value: bytes, mask: bytes) -> None:
    """Decodes the value of a known attribute only to see whether it can be.

    Raises:
        WireError: it cannot.
    """
    match kind:
        case Attribute.XOR_MAPPED_ADDRESS | Attribute.OLD_XOR_MAPPED_ADDRESS:
            decode_xor_mapped_address(value, mask)
        case (
            Attribute.MAPPED_ADDRESS
            | Attribute.SOURCE_ADDRESS
            | Attribute.CHANGED_ADDRESS
            | Attribute.RESPONSE_ORIGIN
            | Attribute.OTHER_ADDRESS
        ):
            decode_mapped_address(value)
        case Attribute.CHANGE_REQUEST:
            decode_change_request(value)
        case Attribute.RESPONSE_PORT:
            decode_response_port(value)
        case Attribute.ERROR_CODE:
            decode_error_code(value)
