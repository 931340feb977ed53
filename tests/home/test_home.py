"""A home: one identity, private, and the same for several processes at once."""

import os
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from holepunch.errors import ConfigurationError, HolepunchError
from holepunch.home import Home
from tests.home.processes import run_together

OPEN = "from holepunch.home import Home; home = Home(sys.argv[2])"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Home.locate({"HOLEPUNCH_HOME": str(tmp_path)}).path == tmp_path
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for environ in ({}, {"HOLEPUNCH_HOME": ""}):
        assert Home.locate(environ).path.is_relative_to(tmp_path)
        assert Home.locate(environ).path.name == "holepunch"


def test_looking_for_a_home_makes_nothing(home: Home) -> None:
    with pytest.raises(ConfigurationError, match="no identity yet") as caught:
        home.identity()
    assert caught.value.hint == "Make one: holepunch init"
    assert home.peers.list() == []
    assert not home.path.exists()


def test_an_identity_is_made_once_and_read_back(home: Home) -> None:
    made = home.create_identity("remote")
    again = Home(home.path)
    assert again.identity().peer_id == made.peer_id
    assert again.name == "remote"
    with pytest.raises(ConfigurationError, match="already holds an identity") as caught:
        again.create_identity("other")
    assert "HOLEPUNCH_HOME" in caught.value.hint
    assert Home(home.path).identity().peer_id == made.peer_id


def test_two_homes_have_two_identities(home: Home, tmp_path: Path) -> None:
    assert home.create_identity("a").peer_id != Home(tmp_path / "other").create_identity("a").peer_id


def test_the_key_is_for_its_user_alone_whatever_the_umask(home: Home) -> None:
    before = os.umask(0)
    try:
        home.create_identity("remote")
        home.certificate()
    finally:
        os.umask(before)
    assert mode(home.path) == 0o700
    assert {name: mode(home.path / name) for name in names_in(home.path)} == dict.fromkeys(
        ["identity.pem", "tls.crt", "tls.key", "lock"], 0o600
    )


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(home: Home, wrong: int) -> None:
    home.create_identity("remote")
    home.identity_path.chmod(wrong)
    with pytest.raises(ConfigurationError, match=f"other users \\(mode {wrong:04o}\\)") as caught:
        Home(home.path).identity()
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert Home(home.path).name == "remote"


def test_a_folder_that_others_can_change_is_refused(home: Home) -> None:
    home.create_identity("remote")
    home.path.chmod(0o770)
    with pytest.raises(ConfigurationError, match="can be changed by other users") as caught:
        Home(home.path).identity()
    assert caught.value.hint == f"chmod 700 '{home.path}'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"name: a\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
    ],
)
def test_a_damaged_identity_is_one_sentence(home: Home, content: bytes, message: str) -> None:
    home.create_identity("remote")
    home.identity_path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Home(home.path).identity()
    assert "copy you kept" in caught.value.hint


def test_every_truncation_of_an_identity_is_refused(home: Home) -> None:
    home.create_identity("remote")
    whole = home.identity_path.read_bytes()
    end = len(whole) - len("-\n")  # the last dash and line end carry nothing
    for length in range(end):
        home.identity_path.write_bytes(whole[:length])
        with pytest.raises(ConfigurationError):
            Home(home.path).identity()


def test_a_key_of_another_kind_or_a_bad_name_is_refused(home: Home) -> None:
    home.create_identity("remote")
    text = home.identity_path.read_text()
    home.identity_path.write_text(text.replace("name: remote", "name: my machine"))
    with pytest.raises(ConfigurationError, match="the line `name:`: 'my machine' is not a name"):
        Home(home.path).identity()
    home.certificate()
    home.identity_path.write_bytes((home.path / "tls.key").read_bytes())
    with pytest.raises(ConfigurationError, match="is not an Ed25519 key"):
        Home(home.path).identity()


def test_a_bad_name_makes_no_identity(home: Home) -> None:
    for name in ("", "my machine", "-v", "#", "a\nb", "x" * 64, "hp1name", "é"):
        with pytest.raises(ConfigurationError):
            home.create_identity(name)
    assert not home.path.exists()


def test_of_many_processes_that_make_an_identity_one_succeeds(home: Home) -> None:
    outcomes = run_together(
        6,
        OPEN + "; from holepunch.errors import ConfigurationError",
        "try: print(home.create_identity('m' + sys.argv[1]).peer_id)\n"
        "except ConfigurationError as error: print('refused', error)",
        [home.path],
    )
    made = [out for out in outcomes if not out.startswith("refused")]
    assert made == [f"{home.identity().peer_id}\n"]
    assert names_in(home.path) == {"identity.pem", "lock"}


def test_of_many_processes_that_want_a_certificate_all_have_the_same(home: Home) -> None:
    outcomes = run_together(6, OPEN, "print(home.certificate().fingerprint.hex())", [home.path])
    assert set(outcomes) == {f"{home.certificate().fingerprint.hex()}\n"}


def test_the_certificate_is_p_256_and_a_tls_library_takes_it(home: Home) -> None:
    made = home.certificate()
    assert Home(home.path).certificate() == made
    certificate = x509.load_pem_x509_certificate(made.cert_path.read_bytes())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert certificate.fingerprint(SHA256()) == made.fingerprint
    ssl.create_default_context().load_cert_chain(made.cert_path, made.key_path)


def test_a_certificate_without_its_key_is_refused_and_made_anew_when_both_are_gone(home: Home, tmp_path: Path) -> None:
    made = home.certificate()
    other = Home(tmp_path / "other").certificate()
    made.key_path.write_bytes(other.key_path.read_bytes())
    with pytest.raises(ConfigurationError, match="does not belong") as caught:
        home.certificate()
    assert caught.value.hint == "Remove both tls.crt and tls.key: a new pair is made."
    made.cert_path.write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        home.certificate()
    made.cert_path.unlink()  # and the stale key is replaced, not used
    assert home.certificate().fingerprint not in (made.fingerprint, other.fingerprint)


@pytest.mark.parametrize("what", ["identity", "peer", "claim", "certificate"])
def test_a_file_where_the_home_should_be_is_one_sentence(tmp_path: Path, what: str) -> None:
    home = home_in_a_file(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        use(home, what)
    assert str(home.path) in str(caught.value)
    assert "HOLEPUNCH_HOME" in caught.value.hint
    assert home.path.read_text() == "precious"


def home_in_a_file(tmp_path: Path) -> Home:
    path = tmp_path / "file"
    path.write_text("precious")
    return Home(path)


def use(home: Home, what: str) -> None:
    from holepunch.home import Peer
    from holepunch.proto.identity import Identity

    if what == "identity":
        home.create_identity("remote")
    elif what == "peer":
        home.peers.add(Peer("bob", Identity.from_seed(bytes(32)).peer_id))
    elif what == "claim":
        home.claim(bytes(16), 100, 0)
    else:
        home.certificate()


def test_a_write_that_fails_half_way_loses_nothing(home: Home) -> None:
    """RLIMIT_FSIZE is a full disk that needs no root."""
    script = (
        "import resource, sys; from holepunch.home import Home; from holepunch.errors import HolepunchError\n"
        "from tests.home.test_home import use\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "home = Home(sys.argv[1])\n"
        "try: use(home, sys.argv[2])\n"
        "except HolepunchError as error: print(error.exit_status, error, '|', error.hint)"
    )

    def attempt(what: str) -> str:
        root = Path(__file__).parent.parent.parent
        arguments = [sys.executable, "-c", script, str(home.path), what]
        return subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=root).stdout

    for what in ("identity", "certificate", "peer"):
        out = attempt(what)
        assert out.startswith("2 cannot write")
        assert "File too large" in out
        assert names_in(home.path) == {"lock"}
    home.create_identity("remote")
    use(home, "peer")
    before = {name: (home.path / name).read_bytes() for name in names_in(home.path)}
    home.peers.add(home.peers.list()[0])  # no change, no write
    assert attempt("certificate").startswith("2 cannot write")
    assert {name: (home.path / name).read_bytes() for name in names_in(home.path)} == before


def test_errors_of_a_home_are_for_the_person_who_runs_it() -> None:
    assert issubclass(ConfigurationError, HolepunchError)
    assert ConfigurationError.exit_status == 2


def test_a_lock_that_another_process_keeps_is_one_sentence_after_a_while(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.create_identity("remote")
    script = (
        "import sys; from pathlib import Path; from holepunch.home import files\n"
        "with files.locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(home.path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    monkeypatch.setattr("holepunch.home.files._LOCK_WAIT", 0.05)
    with pytest.raises(ConfigurationError, match="another process has held") as caught:
        use(home, "peer")
    assert "stopped" in caught.value.hint
    holder.kill()  # however it ends, the system frees the lock
    holder.communicate()
    use(home, "peer")
    assert len(home.peers.list()) == 1
