"""A folder as one .zip or .tar file, the same bytes each time: names sorted, times and owners fixed, nothing compressed."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

SUFFIXES = (".zip", ".tar")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a .zip can say


def pack(folder: Path, archive: Path, top: str) -> None:
    """Writes the files of `folder` into `archive`, below a folder called `top`."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED) as zipped:
            for name, path in files:
                entry = zipfile.ZipInfo(f"{top}/{name}", _EPOCH)
                entry.external_attr = _mode(name) << 16
                entry.create_system = 3
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, zipped.open(entry, "w") as target:
                    while piece := source.read(1 << 20):
                        target.write(piece)
        return
    with tarfile.open(archive, "x:", format=tarfile.USTAR_FORMAT) as tar:
        for name, path in files:
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mode, member.mtime = path.stat().st_size, _mode(name), 0
            with path.open("rb") as source:
                tar.addfile(member, source)


def _mode(name: str) -> int:
    return 0o755 if name in ("verify.py", "verify.sh") else 0o644
