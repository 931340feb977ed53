"""The variables HOLEPUNCH_* of a command.  The session's secret is here and nowhere else."""

from collections.abc import Mapping

from ..proto.address import format_address
from .needs import CertificateHome, CommandSession
from .words import Endpoints


def environment(
    session: CommandSession, endpoints: Endpoints, mode: str, home: CertificateHome | None, base: Mapping[str, str]
) -> dict[str, str]:
    """Returns the command's environment: `base` and what the session adds.

    Fingerprints are written as OpenVPN and OpenSSL do: `AB:CD:...`.
    """
    added = {
        "INNER": format_address(endpoints.inner),
        "OUTER": format_address(endpoints.outer),
        "PEER": format_address(endpoints.peer),
        "PEER_NAME": endpoints.peer_name,
        "ROLE": endpoints.role,
        "MODE": mode,
        "PATH": session.path,
        "SESSION": session.id,
        "SECRET": session.secret.hex(),
    }
    if home is not None:
        certificate = home.certificate()
        added |= {"CERT": str(certificate.cert_path), "KEY": str(certificate.key_path)}
        added["FINGERPRINT"] = certificate.fingerprint.hex(":").upper()
    if session.peer_fingerprint:
        added["PEER_FINGERPRINT"] = session.peer_fingerprint.hex(":").upper()
    # Of a holepunch around us nothing may be left over, a number of a socket least of all.
    ours = {f"HOLEPUNCH_{name}" for name in ("FD", "CERT", "KEY", "FINGERPRINT", "PEER_FINGERPRINT")}
    out = {name: value for name, value in base.items() if name not in ours}
    return out | {f"HOLEPUNCH_{name}": value for name, value in added.items()}
