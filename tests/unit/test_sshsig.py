"""SSH signatures: both ways against stock ssh-keygen, and everything that must not pass."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.adapters.sshsig import SshSignatures, armour, check, sign
from orchestrator.domain.signers import parse_allowed_signers
from orchestrator.errors import EnvironmentMissing, NotAuthenticated, PolicyError

NAMESPACE = "reconnect-approval@v1"
MESSAGE = "J'approuve le palier P4-images : hôpitaux.\n".encode()
NOW = datetime(2026, 6, 23, 21, 4, 5, tzinfo=UTC)
KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


def _keygen(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *map(str, arguments)], input=stdin, capture_output=True, timeout=60, check=False)


def _stock_sign(key: Path, namespace: str = NAMESPACE, *options: str, message: bytes = MESSAGE) -> str:
    done = _keygen("-q", "-Y", "sign", "-f", key, "-n", namespace, *options, "-", stdin=message)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("ascii")


def _stock_verifies(tmp_path: Path, public_line: str, signature: str) -> bool:
    """What `ssh-keygen -Y verify` says."""
    (tmp_path / "stock_signers").write_text(f"alice {public_line}\n", encoding="ascii")
    (tmp_path / "stock.sig").write_text(signature, encoding="ascii")
    return (
        _keygen(
            "-Y", "verify", "-f", tmp_path / "stock_signers", "-I", "alice", "-n", NAMESPACE, "-s", tmp_path / "stock.sig", stdin=MESSAGE
        ).returncode
        == 0
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    for name, options in KINDS.items():
        assert _keygen("-q", "-N", "", "-C", "", "-f", folder / name, *options).returncode == 0
    return {name: folder / name for name in KINDS}


def _line(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])


def _signatures(tmp_path: Path, allowed: str) -> SshSignatures:
    return SshSignatures(allowed, load_or_create_site_key(tmp_path / "site_key").private)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stock_ssh_keygen_signs_is_verified(kind: str, keys: dict[str, Path], tmp_path: Path) -> None:
    signatures = _signatures(tmp_path, f'alice namespaces="{NAMESPACE}" {_line(keys[kind])} a comment\n')
    assert signatures.verify(NAMESPACE, MESSAGE, _stock_sign(keys[kind]), at=NOW) == "alice"
    assert signatures.verify(NAMESPACE, MESSAGE, _stock_sign(keys[kind], NAMESPACE, "-O", "hashalg=sha256"), at=NOW) == "alice"


def test_what_the_site_signs_is_verified_by_stock_ssh_keygen(tmp_path: Path) -> None:
    site = load_or_create_site_key(tmp_path / "site_key")
    signature = SshSignatures("", site.private).sign(NAMESPACE, MESSAGE)
    assert _stock_verifies(tmp_path, site.public_line, signature)
    assert signature == _stock_sign(tmp_path / "site_key")  # Ed25519 is deterministic: the very same bytes
    assert not _stock_verifies(tmp_path, site.public_line, sign(site.private, "orchestrator-login@v1", MESSAGE))


def _refused(signature: str, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        check(namespace, message, signature)
    assert caught.value.rule == "signature"
    return str(caught.value)


def test_another_namespace_never_passes(keys: dict[str, Path]) -> None:
    login = _stock_sign(keys["ed25519"], "orchestrator-login@v1")
    assert "made for 'orchestrator-login@v1'" in _refused(login)
    assert "does not verify" in _refused(_stock_sign(keys["ed25519"]), MESSAGE + b" ")
    # the namespace rewritten in the blob, the signature left as it was
    blob = base64.b64decode("".join(login.splitlines()[1:-1]))
    old, new = (struct.pack(">I", len(name)) + name for name in (b"orchestrator-login@v1", NAMESPACE.encode()))
    assert "does not verify" in _refused(armour(blob.replace(old, new)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_of_the_armour_counts(kind: str, keys: dict[str, Path]) -> None:
    signature = _stock_sign(keys[kind])
    dice = random.Random(f"bits of {kind}")
    places = [(at, bit) for at in range(len(signature)) for bit in range(7)]
    for at, bit in dice.sample(places, 150):
        flipped = signature[:at] + chr(ord(signature[at]) ^ (1 << bit)) + signature[at + 1 :]
        _refused(flipped)


def test_armour_has_one_form(keys: dict[str, Path], tmp_path: Path) -> None:
    """Forms that stock ssh-keygen takes for the same signature, and we do not."""
    signature = _stock_sign(keys["ed25519"])
    body = "".join(signature.splitlines()[1:-1])
    rewrapped = "\n".join(["-----BEGIN SSH SIGNATURE-----", body, "-----END SSH SIGNATURE-----", ""])
    malleable = [signature + "junk\n", rewrapped]
    for text in malleable:
        assert _stock_verifies(tmp_path, _line(keys["ed25519"]), text)
        assert "canonical" in _refused(text) or "not an armoured" in _refused(text)
    for text in (
        "",
        "\n",
        signature.replace("\n", "\r\n"),
        signature.rstrip("\n"),
        "\n" + signature,
        signature + "\n",
        signature.replace("U1NI", "U1NI ", 1),
    ):
        _refused(text)
    assert body.endswith("=")  # unused bits of the last sextet
    last = body.rstrip("=")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = alphabet[alphabet.index(last) ^ 1]
    at = signature.rindex(last + "=")
    assert "canonical" in _refused(signature[:at] + twin + signature[at + 1 :])


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _blob(key: bytes, made: bytes, *, reserved: bytes = b"", hash_name: bytes = b"sha512", version: int = 1) -> bytes:
    fields = (key, NAMESPACE.encode(), reserved, hash_name, made)
    return b"SSHSIG" + struct.pack(">I", version) + b"".join(map(_string, fields))


def _covered(hash_name: str = "sha512") -> bytes:
    digest = hashlib.new(hash_name, MESSAGE).digest()
    return b"SSHSIG" + b"".join(map(_string, (NAMESPACE.encode(), b"", hash_name.encode(), digest)))


def _ed25519() -> tuple[Ed25519PrivateKey, bytes]:
    key = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    return key, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def test_structures_are_exact() -> None:
    key, point = _ed25519()
    public = _string(b"ssh-ed25519") + _string(point)
    made = _string(b"ssh-ed25519") + _string(key.sign(_covered()))
    assert check(NAMESPACE, MESSAGE, armour(_blob(public, made))).key == public
    for wrong in (
        _blob(public, made) + b"\x00",
        _blob(public, made + b"\x00"),
        _blob(public + b"\x00", made),
        _blob(public, made, reserved=b"x"),
        _blob(public, made, version=2),
        _blob(public, made)[:-1],
        _blob(public, _string(b"ssh-ed25519") + _string(key.sign(_covered("sha256")))),
        _blob(public, _string(b"ssh-ed25519") + _string(key.sign(_covered("sha1"))), hash_name=b"sha1"),
        _blob(public, _string(b"ssh-rsa") + _string(key.sign(_covered()))),
        _blob(_string(b"ssh-dss") + _string(point), _string(b"ssh-dss") + _string(b"")),
    ):
        _refused(armour(wrong))


def test_rsa_with_sha1_is_refused(keys: dict[str, Path]) -> None:
    signature = _stock_sign(keys["rsa"])
    blob = base64.b64decode("".join(signature.splitlines()[1:-1]))
    assert _string(b"rsa-sha2-512") in blob
    shorter = blob.replace(_string(b"rsa-sha2-512"), _string(b"ssh-rsa"))
    # the length of the signature's own string changes with the name of its algorithm
    inner = len(_string(b"ssh-rsa")) + 4 + 256
    shorter = shorter.replace(struct.pack(">I", inner + 5) + _string(b"ssh-rsa"), struct.pack(">I", inner) + _string(b"ssh-rsa"))
    assert "'ssh-rsa' by a key 'ssh-rsa' is not accepted" in _refused(armour(shorter))


def _security_key_signature(kind: str, flags: int) -> tuple[str, str]:
    """As a FIDO token makes it (PROTOCOL.u2f), with a key in software; the armoured signature and the public line."""
    application, counter = b"ssh:", struct.pack(">I", 41)
    covered = hashlib.sha256(application).digest() + bytes([flags]) + counter + hashlib.sha256(_covered()).digest()
    if kind == "sk-ssh-ed25519@openssh.com":
        key, point = _ed25519()
        public = _string(kind.encode()) + _string(point) + _string(application)
        made = key.sign(covered)
    else:
        secret = ec.derive_private_key(0x1234567, ec.SECP256R1())
        point = secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        public = _string(kind.encode()) + _string(b"nistp256") + _string(point) + _string(application)
        r, s = decode_dss_signature(secret.sign(covered, ec.ECDSA(hashes.SHA256())))
        made = _mpint(r) + _mpint(s)
    signature = armour(_blob(public, _string(kind.encode()) + _string(made) + bytes([flags]) + counter))
    return signature, f"{kind} {base64.b64encode(public).decode()}"


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_security_keys_say_whether_their_user_was_there(kind: str, tmp_path: Path) -> None:
    touched, line = _security_key_signature(kind, 0x01)
    assert _stock_verifies(tmp_path, line, touched)
    signed = _signatures(tmp_path, f"alice {line}\n").verified(NAMESPACE, MESSAGE, touched, at=NOW)
    assert (signed.person, signed.user_present, signed.user_verified) == ("alice", True, False)
    verified, _line_again = _security_key_signature(kind, 0x05)
    assert check(NAMESPACE, MESSAGE, verified).user_verified is True
    assert "nobody touched" in _refused(_security_key_signature(kind, 0x00)[0])
    _refused(touched, MESSAGE + b"!")


def test_keys_expire_and_are_revoked(keys: dict[str, Path], tmp_path: Path) -> None:
    signature, line = _stock_sign(keys["ed25519"]), _line(keys["ed25519"])

    def verify(options: str) -> str:
        allowed = f"# people\n\nalice {options} {line}\n"
        return _signatures(tmp_path, allowed).verify(NAMESPACE, MESSAGE, signature, at=NOW)

    assert verify('valid-after="20260623Z",valid-before="20260624Z"') == "alice"
    assert verify('valid-before="20260623210405Z"') == "alice"  # the last second included, as in OpenSSH
    for options in ('valid-before="20260623210404Z"', 'valid-after="202606232105Z"', 'namespaces="orchestrator-login@v1"'):
        with pytest.raises(NotAuthenticated, match="alice"):
            verify(options)
    with pytest.raises(NotAuthenticated, match="not known"):
        _signatures(tmp_path, f"bob {_line(keys['rsa'])}\n").verify(NAMESPACE, MESSAGE, signature, at=NOW)


def test_a_revocation_counts_at_once(keys: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "allowed_signers"
    file.write_text(f"alice {_line(keys['ed25519'])}\n", encoding="ascii")
    signatures = SshSignatures(file, load_or_create_site_key(tmp_path / "site_key").private)
    signature = _stock_sign(keys["ed25519"])
    assert signatures.verify(NAMESPACE, MESSAGE, signature, at=NOW) == "alice"
    file.write_text("", encoding="ascii")
    with pytest.raises(NotAuthenticated):
        signatures.verify(NAMESPACE, MESSAGE, signature, at=NOW)
    file.unlink()
    with pytest.raises(EnvironmentMissing, match="allowed_signers"):
        signatures.verify(NAMESPACE, MESSAGE, signature, at=NOW)


def test_a_doubtful_allowed_signers_is_refused_whole(keys: dict[str, Path]) -> None:
    line = _line(keys["ed25519"])
    for number, wrong in enumerate(
        [
            f"* {line}",
            f"alice,bob {line}",
            f"alice cert-authority {line}",
            f'alice valid-before="20260101" {line}',
            f'alice valid-before="2026Z" {line}',
            f'alice namespaces="!x" {line}',
            f'alice namespaces="a",namespaces="b" {line}',
            f"alice ssh-rsa {line.split()[1]}",
            f"alice {line[:-3]}",
            "alice",
        ]
    ):
        with pytest.raises(PolicyError) as caught:
            parse_allowed_signers(f"good {_line(keys['rsa'])}\n{wrong}\n", "signers")
        assert [(finding.file, finding.line) for finding in caught.value.findings] == [("signers", 2)], number
    with pytest.raises(PolicyError, match="also the key of alice"):
        parse_allowed_signers(f"alice {line}\nbob {line}\n")


def test_the_site_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "site_key"
    made = load_or_create_site_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.with_name("site_key.pub").read_text(encoding="ascii") == made.public_line + "\n"
    assert load_or_create_site_key(path).public_line == made.public_line
    assert _keygen("-y", "-f", path).stdout.decode().split()[:2] == made.public_line.split()
    path.chmod(0o640)
    with pytest.raises(EnvironmentMissing, match="others can read"):
        load_or_create_site_key(path)
