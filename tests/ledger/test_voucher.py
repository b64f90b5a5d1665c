"""Voucher codes: read as people type them, noticed when they are wrong, and not to be guessed."""

from itertools import combinations
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger.voucher import ALPHABET, code_from, entry_of_voucher, normal_code, voucher_id

SEEDS: Final = st.binary(min_size=16, max_size=16)


@given(SEEDS)
def test_a_code_is_four_four_four_of_crockfords_alphabet(seed: bytes) -> None:
    code = code_from(seed, "m.1.v0")

    assert [len(part) for part in code.split("-")] == [4, 4, 4]
    assert set(code) - {"-"} <= set(ALPHABET)
    assert normal_code(code) == code


@given(SEEDS, st.data())
def test_it_is_read_in_small_letters_with_look_alikes_and_other_gaps(seed: bytes, data: st.DataObject) -> None:
    code = code_from(seed, "m.1.v0")
    alike = {"0": "0Oo", "1": "1IiLl"}

    typed = "".join(data.draw(st.sampled_from(alike.get(each, each + each.lower()))) for each in code)

    spellings = (typed, f" {typed.replace('-', ' ')} ", typed.replace("-", ""))
    assert [normal_code(text) for text in spellings] == [code] * 3


@pytest.mark.parametrize("gap", ["\t", "\n", "\u00a0", "\u2011", "\u2013", "\u2014", "\u200b", "_"])
def test_it_is_read_with_the_gaps_of_other_keyboards_and_of_pasted_text(gap: str) -> None:
    code = code_from(b"seed", "m.1.v0")

    assert normal_code(f"{gap}{code.replace('-', gap)}{gap}") == code


@given(SEEDS)
def test_every_wrong_character_and_every_two_that_changed_places_are_noticed(seed: bytes) -> None:
    plain = code_from(seed, "m.1.v0").replace("-", "")

    for at, right in enumerate(plain):
        for wrong in set(ALPHABET) - {right}:
            assert normal_code(plain[:at] + wrong + plain[at + 1 :]) is None
    for one, other in combinations(range(len(plain)), 2):
        letters = list(plain)
        letters[one], letters[other] = letters[other], letters[one]
        assert (normal_code("".join(letters)) is None) == (plain[one] != plain[other])


def test_what_is_no_code_is_none() -> None:
    for text in ("", "-", "0000", "0000-0000-000U", "0000-0000-00000", "ÄÖÜ-0000-0000", "0000-0000-0001"):
        assert normal_code(text) is None


def test_codes_of_one_command_and_of_many_differ_and_cannot_be_told_from_the_id() -> None:
    one_command = {code_from(b"seed", voucher_id("m.1", number)) for number in range(1_000)}
    many = {code_from(number.to_bytes(16), "m.1.v0") for number in range(1_000)}

    assert len(one_command | many) == 2_000


def test_a_vouchers_id_names_the_entry_that_issued_it() -> None:
    assert entry_of_voucher(voucher_id("abc.12", 3)) == "abc.12"
    assert [entry_of_voucher(text) for text in ("abc.12", "abc.12.v", "abc.12.vx", "")] == [None] * 4
