"""The words of a code can be told apart when said, typed and half typed."""

from itertools import combinations

from holepunch.proto.words import WORDS


def distance(one: str, other: str) -> int:
    """Returns the Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        above, row = row, [i]
        for j, b in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def test_there_is_one_word_for_each_byte() -> None:
    assert len(set(WORDS)) == 256
    assert list(WORDS) == sorted(WORDS)
    assert all(word.isascii() and word.isalpha() and word.islower() and 4 <= len(word) <= 10 for word in WORDS)


def test_no_two_words_are_nearly_the_same() -> None:
    assert [pair for pair in combinations(WORDS, 2) if distance(*pair) < 3] == []


def test_four_letters_tell_which_word_it_is() -> None:
    assert len({word[:4] for word in WORDS}) == 256
