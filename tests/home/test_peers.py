"""The peer book: found by name and key, kept as its person wrote it, edited by several processes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import AuthenticationError, ConfigurationError
from holepunch.home import Peer, PeerBook
from holepunch.home.peers import check_name, check_url
from holepunch.proto.identity import Identity, PeerId
from tests.home.processes import run_together

ALICE, BOB, CAROL = (Identity.from_seed(bytes([number]) * 32).peer_id for number in range(3))
HUB = "https://hub.example"


@pytest.fixture
def book(tmp_path: Path) -> PeerBook:
    return PeerBook(tmp_path / "home" / "peers", tmp_path / "home" / "lock")


def test_a_peer_is_found_by_name_by_identity_and_by_noise_key(book: PeerBook) -> None:
    alice, bob = Peer("alice", ALICE, (HUB, "file:///mnt/share")), Peer("bob", BOB)
    book.add(alice)
    book.add(bob)
    assert book.list() == [alice, bob]
    assert book.find("bob") == book.find_id(BOB) == book.find_noise_key(BOB.noise_key) == bob
    assert book.get("alice") == book.get(ALICE) == book.get(str(ALICE)) == alice
    assert book.find("carol") is None
    assert book.find_id(CAROL) is None
    assert book.find_noise_key(bytes(32)) is None


def test_who_is_not_in_the_book_is_an_authentication_error_with_a_hint(book: PeerBook) -> None:
    book.add(Peer("office-printer", ALICE))
    with pytest.raises(AuthenticationError, match="no peer ofice-printer") as caught:
        book.get("ofice-printer")
    assert caught.value.hint == "Did you mean office-printer?"
    with pytest.raises(AuthenticationError) as caught:
        book.get(BOB)
    assert "holepunch pair" in caught.value.hint
    with pytest.raises(ConfigurationError, match="characters, expected 61"):
        book.get("hp1short")


def test_adding_again_changes_the_mediators_and_nothing_else_does(book: PeerBook) -> None:
    book.add(Peer("alice", ALICE))
    book.add(Peer("bob", BOB))
    book.add(Peer("alice", ALICE, (HUB,)))
    assert book.list() == [Peer("alice", ALICE, (HUB,)), Peer("bob", BOB)]
    with pytest.raises(ConfigurationError, match="alice is already in the book with another identity"):
        book.add(Peer("alice", CAROL))
    with pytest.raises(ConfigurationError, match="already in the book, as bob"):
        book.add(Peer("robert", BOB))
    assert book.list() == [Peer("alice", ALICE, (HUB,)), Peer("bob", BOB)]


def test_a_key_and_its_negative_cannot_both_be_in_the_book(book: PeerBook) -> None:
    negative = PeerId(ALICE.raw[:31] + bytes([ALICE.raw[31] ^ 0x80]))
    assert negative.noise_key == ALICE.noise_key
    book.add(Peer("alice", ALICE))
    with pytest.raises(ConfigurationError, match="already in the book, as alice"):
        book.add(Peer("mallory", negative))
    with pytest.raises(ConfigurationError, match="another identity"):
        book.add(Peer("alice", negative))


def test_removing_takes_one_peer_out(book: PeerBook) -> None:
    book.add(Peer("alice", ALICE))
    book.add(Peer("bob", BOB))
    book.remove("alice")
    assert book.list() == [Peer("bob", BOB)]
    with pytest.raises(AuthenticationError, match="no peer alice"):
        book.remove("alice")


def test_what_a_person_wrote_in_the_book_is_kept(book: PeerBook) -> None:
    book.path.parent.mkdir(mode=0o700)
    text = f"# the office\n\nprinter\t{ALICE}   {HUB}\n  # home\n"
    book.path.write_text(text)
    book.add(Peer("bob", BOB))
    assert book.path.read_text() == f"{text}bob {BOB}\n"
    book.remove("bob")
    assert book.path.read_text() == text
    assert book.find("printer") == Peer("printer", ALICE, (HUB,))


def test_a_last_line_without_its_end_is_kept_apart_from_the_next(book: PeerBook) -> None:
    book.path.parent.mkdir(mode=0o700)
    book.path.write_text(f"alice {ALICE}")
    book.add(Peer("bob", BOB))
    assert [peer.name for peer in book.list()] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alice", "line 2: expected NAME hp1... [MEDIATOR]..."),
        ("alice hp1xyz", "line 2: the identity has 6 characters, expected 61"),
        (f"-alice {ALICE}", "line 2: '-alice' is not a name"),
        (f"alice {ALICE} hub.example", "line 2: 'hub.example' is not a URL"),
        (f"bob {ALICE}", "line 2: this name stands in line 1 already"),
        (f"alice {BOB}", "line 2: this identity stands in line 1 already"),
        ("alice \udcff", "line 2: not UTF-8 text"),
    ],
)
def test_a_wrong_line_is_named_and_stops_all_use(book: PeerBook, line: str, message: str) -> None:
    book.path.parent.mkdir(mode=0o700)
    content = f"bob {BOB}\n{line}\n".encode(errors="surrogateescape")
    book.path.write_bytes(content)
    for action in (book.list, lambda: book.find("bob"), lambda: book.add(Peer("carol", CAROL))):
        with pytest.raises(ConfigurationError) as caught:
            action()
        assert str(caught.value) == f"{book.path}, {message}"
    assert book.path.read_bytes() == content


def test_a_book_that_others_can_change_is_refused(book: PeerBook) -> None:
    book.add(Peer("alice", ALICE))
    book.path.chmod(0o664)
    with pytest.raises(ConfigurationError, match="can be changed by other users") as caught:
        book.find("alice")
    assert caught.value.hint == f"chmod 600 '{book.path}'"
    book.path.chmod(0o644)  # public keys: reading them harms nobody
    assert book.find("alice") is not None


def test_no_edit_is_lost_when_many_processes_edit_at_once(book: PeerBook) -> None:
    setup = (
        "from holepunch.home import Home, Peer; from holepunch.proto.identity import Identity\n"
        "book = Home(sys.argv[2]).peers; number = int(sys.argv[1])"
    )
    action = (
        "for turn in range(10):\n"
        "    name = f'p{number}-{turn}'\n"
        "    book.add(Peer(name, Identity.from_seed(bytes([number, turn]) * 16).peer_id))\n"
        "    assert book.find(name) is not None\n"
        "    if turn % 2: book.remove(name)"
    )
    run_together(4, setup, action, [book.path.parent])
    assert {peer.name for peer in book.list()} == {
        f"p{number}-{turn}" for number in range(4) for turn in range(0, 10, 2)
    }
    assert {path.name for path in book.path.parent.iterdir()} == {"peers", "lock"}


def test_names_and_urls_are_what_fits_on_a_line() -> None:
    for name in ("a", "Office-Printer_2.local", "0", "x" * 63):
        assert check_name(name) == name
    for url in (HUB, "file:///mnt/my%20share", "email://me@mail.example?folder=x", "paste:"):
        assert check_url(url) == url
    for url in (
        "",
        "hub.example",
        "https://hub.example/a b",
        "file:///a\nb",
        "http://[",
        "https://me:secret@hub.example",
    ):
        with pytest.raises(ConfigurationError) as caught:
            check_url(url)
        assert "secret" not in str(caught.value)


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_peer_that_can_be_made_survives_being_written_and_read(name: str, url: str) -> None:
    from holepunch.home.peers import _parse

    try:
        peer = Peer(check_name(name), ALICE, (check_url(url),))
    except ConfigurationError:
        return
    assert _parse(f"{peer.name} {peer.id} {peer.mediators[0]}") == peer
