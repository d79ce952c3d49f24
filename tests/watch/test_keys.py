"""Salted hashes: stable, made once, private, and total over every file name there can be."""

import hashlib
import hmac
import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.watch.keys import Keys
from cxr_edge.watch.state_errors import StateUnusable

SALT = bytes(range(32))


def test_is_hmac_sha256_cut_to_16_bytes() -> None:
    expected = hmac.new(SALT, b"1.2.840.10008", hashlib.sha256).digest()[:16]
    assert Keys(SALT).of("1.2.840.10008") == expected


@given(st.lists(st.text(st.characters(exclude_categories=[])), unique=True, max_size=20))
def test_names_every_text_apart(texts: list[str]) -> None:
    # lone surrogates among them, which stand in names of files that are no UTF-8 or no UTF-16
    keys = Keys(SALT)
    assert len({keys.of(text) for text in texts}) == len(texts)


def test_another_salt_gives_other_keys() -> None:
    assert Keys(SALT).of("a") != Keys(SALT[::-1]).of("a")


def test_is_made_once(tmp_path: Path) -> None:
    first, second = Keys.open(tmp_path), Keys.open(tmp_path)
    assert first.of("a") == second.of("a")
    assert [path.name for path in tmp_path.iterdir()] == ["salt"]
    assert len((tmp_path / "salt").read_bytes()) == 32


def test_two_folders_have_two_salts(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    assert Keys.open(tmp_path / "a").of("x") != Keys.open(tmp_path / "b").of("x")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    Keys.open(tmp_path)
    assert stat.S_IMODE((tmp_path / "salt").stat().st_mode) == 0o600


def test_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    (tmp_path / "salt-0123456789abcdef.part").write_bytes(b"half")
    Keys.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["salt"]


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_damaged_salt_is_replaced(tmp_path: Path, length: int) -> None:
    (tmp_path / "salt").write_bytes(bytes(length))
    made = Keys.open(tmp_path)
    assert Keys.open(tmp_path).of("a") == made.of("a")
    assert len((tmp_path / "salt").read_bytes()) == 32


def test_killed_before_the_rename_leaves_no_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            Keys.open(tmp_path)
    assert not (tmp_path / "salt").exists()
    Keys.open(tmp_path)


def test_an_unusable_folder_is_told_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="No such file") as caught:
        Keys.open(tmp_path / "PATIENT")
    assert "PATIENT" not in str(caught.value)
    (tmp_path / "salt").mkdir()
    with pytest.raises(StateUnusable):
        Keys.open(tmp_path)


def test_never_shows_its_salt() -> None:
    assert repr(Keys(SALT)) == "Keys()"
    with pytest.raises(ValueError, match="need 32"):
        Keys(b"short")
