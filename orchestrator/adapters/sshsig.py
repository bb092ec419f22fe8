"""SSH signatures (SSHSIG): made by the site, verified for people. Stock `ssh-keygen -Y` verifies and makes the same ones.

Format: OpenSSH's PROTOCOL.sshsig; keys and signatures: RFC 4253, 5656, 8332, 8709 and PROTOCOL.u2f (security keys).
Stricter than ssh-keygen on purpose, since armour is malleable: the text must be, byte for byte, what armouring its own
content gives; nothing may follow any structure; the reserved field is empty; RSA with SHA-1 and short keys are refused;
a security key must have been touched.

1. armour -> blob, canonical     2. blob -> fields, nothing left over     3. namespace and hash as expected
4. the key is one we know        5. the signature over the fields verifies
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.domain.signers import AllowedSigners, Verified, fingerprint, parse_allowed_signers
from orchestrator.errors import EnvironmentMissing, NotAuthenticated

BEGIN = "-----BEGIN SSH SIGNATURE-----"
END = "-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_LINE = 70  # characters of base64 a line, as ssh-keygen writes them
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_SMALLEST_RSA_BITS = 2048
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_SK_ED25519 = "sk-ssh-ed25519@openssh.com"
_SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04


class _Bad(ValueError):
    """Not a signature, or not in the one form that we accept; the text says why."""


@dataclass(frozen=True)
class Signed:
    """A signature that verified: by which key, and what a security key says about its user (None: not a security key)."""

    key: bytes
    key_type: str
    user_present: bool | None = None
    user_verified: bool | None = None

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return fingerprint(self.key)


class SshSignatures:
    """Implements `ports.Signatures` with `allowed_signers` (text, or a path that is read each time) and the site's key."""

    def __init__(self, allowed_signers: str | Path, site_key: Ed25519PrivateKey) -> None:
        self._source = allowed_signers
        self._site_key = site_key

    def verify(self, namespace: str, message: bytes, signature: str, *, at: datetime) -> str:
        """The person. Raises NotAuthenticated (rule `signature`); PolicyError, EnvironmentMissing for `allowed_signers`."""
        return self.verified(namespace, message, signature, at=at).person

    def verified(self, namespace: str, message: bytes, signature: str, *, at: datetime) -> Verified:
        """The same, with what is known about the key and its user."""
        signed = check(namespace, message, signature)
        person = self._known().person(signed.key, namespace, at)
        return Verified(person, signed.fingerprint, signed.key_type, signed.user_present, signed.user_verified)

    def sign(self, namespace: str, message: bytes) -> str:
        return sign(self._site_key, namespace, message)

    def _known(self) -> AllowedSigners:
        if isinstance(self._source, str):
            return parse_allowed_signers(self._source)
        try:
            text = self._source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentMissing(
                f"{self._source} cannot be read: {error}", advice="put the ratified allowed_signers into the state directory"
            ) from error
        return parse_allowed_signers(text, str(self._source))


def check(namespace: str, message: bytes, signature: str) -> Signed:
    """Verifies the armoured signature over `message`; whose key it is, is another question. Raises NotAuthenticated."""
    try:
        return _check(namespace, message, signature)
    except (_Bad, UnsupportedAlgorithm) as error:
        raise NotAuthenticated(f"the signature is refused: {error}", rule="signature") from error
    except InvalidSignature as error:
        raise NotAuthenticated("the signature does not verify: another text, or another key", rule="signature") from error


def sign(key: Ed25519PrivateKey, namespace: str, message: bytes, hash_name: str = "sha512") -> str:
    """The armoured signature of `message`, the same as `ssh-keygen -Y sign -n namespace` makes."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    made = key.sign(_to_be_signed(namespace, hash_name, message))
    return armour(
        _MAGIC
        + struct.pack(">I", 1)
        + _string(_string(b"ssh-ed25519") + _string(public))
        + _string(namespace.encode("utf-8"))
        + _string(b"")
        + _string(hash_name.encode("ascii"))
        + _string(_string(b"ssh-ed25519") + _string(made))
    )


def armour(blob: bytes) -> str:
    """The one accepted text of a signature blob."""
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join([BEGIN, *lines, END, ""])


def _unarmour(text: str) -> bytes:
    lines = text.split("\n")
    if len(lines) < 4 or lines[0] != BEGIN or lines[-2] != END:
        raise _Bad("it is not an armoured SSH signature")
    try:
        blob = base64.b64decode("".join(lines[1:-2]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Bad(f"its base64 is damaged ({error})") from error
    if armour(blob) != text:
        raise _Bad("its armour is not in canonical form")
    return blob


class _Reader:
    """Reads SSH wire structures off a blob."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise _Bad("it ends too early")
        self._at += count
        return piece

    def uint32(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        try:
            return self.string().decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Bad("a name in it is not UTF-8") from error

    def positive(self) -> int:
        """A non-negative mpint in its shortest form."""
        data = self.string()
        if data and (data[0] & 0x80 or (data[0] == 0 and not (len(data) > 1 and data[1] & 0x80))):
            raise _Bad("a number in it is not in its shortest form")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise _Bad("something follows where it should end")


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _to_be_signed(namespace: str, hash_name: str, message: bytes) -> bytes:
    digest = _HASHES[hash_name](message).digest()
    return _MAGIC + _string(namespace.encode("utf-8")) + _string(b"") + _string(hash_name.encode("ascii")) + _string(digest)


def _check(namespace: str, message: bytes, signature: str) -> Signed:
    blob = _Reader(_unarmour(signature))  # 1
    if blob.take(len(_MAGIC)) != _MAGIC or blob.uint32() != 1:  # 2
        raise _Bad("it is not an SSHSIG of version 1")
    key, named, reserved, hash_name, made = blob.string(), blob.text(), blob.string(), blob.text(), blob.string()
    blob.end()
    if reserved:
        raise _Bad("its reserved field is not empty")
    if named != namespace or not namespace:  # 3
        raise _Bad(f"it was made for {named!r}, not for {namespace!r}")
    if hash_name not in _HASHES:
        raise _Bad(f"its hash {hash_name!r} is not accepted")
    return _check_key(key, _Reader(made), _to_be_signed(namespace, hash_name, message))  # 5 (4 is the caller's)


def _check_key(key: bytes, made: _Reader, data: bytes) -> Signed:
    public = _Reader(key)
    key_type, made_type = public.text(), made.text()
    if key_type == "ssh-ed25519" and made_type == key_type:
        _check_ed25519(public.string(), made.string(), data)
    elif key_type.startswith("ecdsa-sha2-") and made_type == key_type:
        _check_ecdsa(key_type.removeprefix("ecdsa-sha2-"), public, made, data)
    elif key_type == "ssh-rsa" and made_type in _RSA_HASHES:
        _check_rsa(public, made, _RSA_HASHES[made_type], data)
    elif key_type in (_SK_ED25519, _SK_ECDSA) and made_type == key_type:
        return _check_security_key(key, key_type, public, made, data)
    else:
        raise _Bad(f"a signature {made_type!r} by a key {key_type!r} is not accepted")
    public.end()
    made.end()
    return Signed(key, key_type)


def _check_ed25519(point: bytes, made: bytes, data: bytes) -> None:
    if len(point) != 32 or len(made) != 64:
        raise _Bad("an Ed25519 key or signature has the wrong length")
    Ed25519PublicKey.from_public_bytes(point).verify(made, data)


def _check_ecdsa(curve_name: str, public: _Reader, made: _Reader, data: bytes) -> None:
    if curve_name not in _CURVES or public.text() != curve_name:
        raise _Bad(f"the curve {curve_name!r} is not accepted")
    curve, algorithm = _CURVES[curve_name]
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public.string())
    except ValueError as error:
        raise _Bad(f"its key is not a point of the curve ({error})") from error
    numbers = _Reader(made.string())
    encoded = encode_dss_signature(numbers.positive(), numbers.positive())
    numbers.end()
    key.verify(encoded, data, ec.ECDSA(algorithm))


def _check_rsa(public: _Reader, made: _Reader, algorithm: hashes.HashAlgorithm, data: bytes) -> None:
    exponent, modulus = public.positive(), public.positive()
    if modulus.bit_length() < _SMALLEST_RSA_BITS:
        raise _Bad(f"an RSA key of {modulus.bit_length()} bits is too short")
    signature = made.string()
    if len(signature) != (modulus.bit_length() + 7) // 8:
        raise _Bad("an RSA signature has the wrong length")
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise _Bad(f"its RSA key is not one ({error})") from error
    key.verify(signature, data, padding.PKCS1v15(), algorithm)


def _check_security_key(key: bytes, key_type: str, public: _Reader, made: _Reader, data: bytes) -> Signed:
    """PROTOCOL.u2f: the token signs SHA-256(application) || flags || counter || SHA-256(data)."""
    signature = made.string()
    flags = made.take(1)
    counter = made.take(4)
    made.end()
    if key_type == _SK_ED25519:
        point, application = public.string(), public.string()
    else:
        curve, point, application = public.string(), public.string(), public.string()
    public.end()
    covered = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()
    if key_type == _SK_ED25519:
        _check_ed25519(point, signature, covered)
    else:
        _check_ecdsa("nistp256", _Reader(_string(curve) + _string(point)), _Reader(_string(signature)), covered)
    if not flags[0] & _USER_PRESENT:
        raise _Bad("nobody touched the security key")
    return Signed(key, key_type, user_present=True, user_verified=bool(flags[0] & _USER_VERIFIED))
