import os
import subprocess
from pathlib import Path

import pytest

from drcm.cluster.transport.keys import KEY_BYTES, Key, generate, load
from drcm.errors import KeyFileError


@pytest.fixture
def auth(tmp_path: Path) -> Path:
    return tmp_path / ".auth"


def put(auth: Path, material: bytes, mode: int = 0o600, name: str = "authkey") -> Path:
    auth.mkdir(mode=0o700, exist_ok=True)
    path = auth / name
    path.write_bytes(material)
    path.chmod(mode)
    return path


def test_generated_key_is_private_and_loads(auth: Path) -> None:
    """A generated key has 2048 bytes, 0600 in a 0700 folder, with its SHA-1 beside it for 1.41's tools."""
    path = generate(auth)
    assert path.stat().st_size == KEY_BYTES
    assert path.stat().st_mode & 0o7777 == 0o600
    assert auth.stat().st_mode & 0o7777 == 0o700
    assert sorted(item.name for item in auth.iterdir()) == ["authkey", "authkey.sha1"]
    expected = subprocess.run(["sha1sum", path], capture_output=True, text=True, check=True).stdout[:40]
    assert (auth / "authkey.sha1").read_text().strip() == expected
    assert (auth / "authkey.sha1").stat().st_mode & 0o077 == 0
    assert load(auth).current == Key(path.read_bytes())
    assert load(auth).next is None


def test_key_is_not_overwritten(auth: Path) -> None:
    """A second generation changes nothing unless it is forced."""
    before = generate(auth).read_bytes()
    with pytest.raises(KeyFileError, match="there is a key already") as caught:
        generate(auth)
    assert "--force" in caught.value.cure
    assert (auth / "authkey").read_bytes() == before
    assert sorted(item.name for item in auth.iterdir()) == ["authkey", "authkey.sha1"]
    assert generate(auth, force=True).read_bytes() != before


def test_key_of_the_guide(auth: Path) -> None:
    """A key made with the guide's own lines (dd, sha1sum, chmod) works."""
    auth.mkdir(mode=0o700)
    guide = (
        "dd if=/dev/urandom bs=1024 count=2 > authkey && sha1sum authkey | cut -b1-40 > authkey.sha1 "
        "&& chmod 600 authkey authkey.sha1"
    )
    subprocess.run(["sh", "-c", guide], cwd=auth, check=True, capture_output=True)
    assert len(load(auth).current.material) == KEY_BYTES


def test_missing_key_names_the_command(auth: Path) -> None:
    """Without a key the error says how to get one."""
    with pytest.raises(KeyFileError, match="no auth key") as caught:
        load(auth)
    assert "--generate-authkey" in caught.value.cure
    assert caught.value.exit_code == 77


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_key_open_to_others_is_refused(auth: Path, mode: int) -> None:
    """A key that group or others may read or write is an error with the chmod that mends it."""
    put(auth, os.urandom(KEY_BYTES), mode)
    with pytest.raises(KeyFileError, match=f"{mode:04o}") as caught:
        load(auth)
    assert "chmod 600" in caught.value.cure


def test_folder_open_to_others_is_refused(auth: Path) -> None:
    """A folder that others may enter is an error with the chmod that mends it."""
    put(auth, os.urandom(KEY_BYTES))
    auth.chmod(0o755)
    with pytest.raises(KeyFileError, match="0755") as caught:
        load(auth)
    assert caught.value.cure == f"chmod 700 {auth}"


@pytest.mark.parametrize("size", [0, 1, KEY_BYTES - 1, KEY_BYTES + 1, 1_000_000])
def test_key_of_a_wrong_length_is_refused(auth: Path, size: int) -> None:
    """A key that is not 2048 bytes long (a copy that was cut off, say) is never used."""
    put(auth, os.urandom(size))
    with pytest.raises(KeyFileError, match="expected 2048 bytes"):
        load(auth)


@pytest.mark.parametrize("material", [bytes(KEY_BYTES), b"0123456789abcdef" * 128], ids=["zeros", "hex"])
def test_key_that_is_not_random_is_refused(auth: Path, material: bytes) -> None:
    """Zeros or text of the right length are no key."""
    put(auth, material)
    with pytest.raises(KeyFileError, match="not random"):
        load(auth)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_key_that_is_no_file_is_refused(auth: Path, make: object) -> None:
    """A pipe or a folder in the key's place is refused at once."""
    auth.mkdir(mode=0o700)
    assert callable(make)
    make(auth / "authkey")
    with pytest.raises(KeyFileError):
        load(auth)


def test_second_key_is_loaded_and_checked(auth: Path) -> None:
    """authkey.next is a second live key, and obeys the same rules."""
    first, second = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    put(auth, first)
    path = put(auth, second, name="authkey.next")
    assert [key.material for key in load(auth).all] == [first, second]
    path.chmod(0o644)
    with pytest.raises(KeyFileError):
        load(auth)


def test_derivation_is_hkdf_sha256() -> None:
    """What is derived agrees with cryptography's HKDF, so that another implementation can follow."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    material = os.urandom(KEY_BYTES)
    key = Key(material)
    assert key.id == HKDF(SHA256(), 4, None, b"id").derive(material)
    assert key.derive(b"ca", length=32) == HKDF(SHA256(), 32, None, b"ca").derive(material)


def test_sealing_keys_differ_by_sender_and_boot() -> None:
    """No two (sender, boot) share a sealing key, whatever the names are."""
    key = Key(os.urandom(KEY_BYTES))
    pairs = [("a", b"b" * 16), ("a", b"c" * 16), ("b", b"b" * 16), ("ba", b"b" * 16), ("", b"b" * 16)]
    assert len({key.sealing_key(*pair) for pair in pairs}) == len(pairs)


def test_key_is_never_shown() -> None:
    """The text of a key in a log or a traceback holds none of it."""
    assert repr(Key(b"secret" * 400)) == "Key()"
