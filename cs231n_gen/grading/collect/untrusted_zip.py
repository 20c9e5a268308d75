"""Zips made by others, read within limits and never unpacked."""

import io
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from cs231n_gen.grading.collect.untrusted_files import File, Unsafe, is_junk, name_key, wrong_name

MB = 1_000_000
DIRECTORY = 8 * MB  # bytes of a zip's list of members: about 60 000 of them
MEMBERS, TOTAL = 2000, 64 * MB  # of one submission; the whole course is 300 files and 10 MB
RATIO = 200  # deflate can reach 1032; notebooks stay below 50
KINDS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x1f\x8b": "a gzip file, perhaps a tar",
    b"BZh": "a bzip2 file, perhaps a tar",
    b"\xfd7zXZ": "an xz file, perhaps a tar",
}
OTHERS = (".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
EXPECTED = "expected the zip that `cs231n-gen submit` makes"


def zip_files(stream: BinaryIO) -> list[File]:
    """The members of a zip that are files, without junk. One that is not safe has a problem.

    Raises:
        Unsafe: if it is not a zip, or its list of members is wrong.
    """
    try:
        with zipfile.ZipFile(_Limited(stream)) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except Unsafe:
        raise
    except UnicodeDecodeError:
        raise Unsafe("holds a name that cannot be decoded") from None
    except Exception:  # zipfile lets a dozen kinds through
        raise Unsafe(_no_zip(stream)) from None
    _check_places(infos, end)
    found, names = [], set()
    for info in infos:
        name = _name(info).removeprefix("./")
        folder = name.endswith("/")
        problem = wrong_name(name.removesuffix("/")) if name else ""
        path = tuple(name.removesuffix("/").split("/"))
        if not problem and (folder or not name or is_junk(path)):
            continue
        problem = problem or _wrong_member(info)
        if not problem and name_key(name) in names:
            problem = "occurs twice, or differs from another name only in upper and lower case"
        names.add(name_key(name))

        def opener(info: zipfile.ZipInfo = info) -> BinaryIO:
            return io.BytesIO(_inflate(stream, info))

        found.append(File(path, info.file_size, _modified(info), opener, problem))
    return sorted(found, key=lambda f: f.path)


def check_submission(files: Sequence[File]) -> None:
    """Refuse a zip of one submission if anything in it is wrong; raises Unsafe."""
    if len(files) > MEMBERS:
        raise Unsafe(f"holds {len(files)} files, expected at most {MEMBERS}")
    if (total := sum(f.size for f in files)) > TOTAL:
        raise Unsafe(f"unpacks to {total} bytes, expected at most {TOTAL}")
    if bad := next((f for f in files if f.problem), None):
        raise Unsafe(f"{bad.name} {bad.problem}")


class _Limited:
    """A stream that gives no more at once than a list of members may have."""

    def __init__(self, stream: BinaryIO):
        self.seek, self.tell, self.stream = stream.seek, stream.tell, stream

    def read(self, most: int = -1) -> bytes:
        data = self.stream.read(DIRECTORY + 1 if most < 0 else min(most, DIRECTORY + 1))
        if len(data) > DIRECTORY:
            raise Unsafe(f"holds a list of members of more than {DIRECTORY} bytes")
        return data


def _no_zip(stream: BinaryIO) -> str:
    stream.seek(0)
    start = stream.read(300)
    kind = next((kind for magic, kind in KINDS.items() if start.startswith(magic)), "")
    kind = "a tar archive" if start[257:262] == b"ustar" else kind
    said = f"is {kind}" if kind else "is not a zip, or an incomplete one"
    return f"{said}: {EXPECTED}"


def _check_places(infos: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Members lie one after the other before the list of them: a bomb lets them overlap."""
    last = 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < last:
            raise Unsafe("holds members that overlap")
        last = info.header_offset + 30 + len(_raw_name(info)) + info.compress_size
    if last > end:
        raise Unsafe("holds members that overlap its list of them, or was cut")


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")


def _name(info: zipfile.ZipInfo) -> str:
    """Many write UTF-8 without saying so."""
    try:
        return unicodedata.normalize("NFC", _raw_name(info).decode("utf-8"))
    except UnicodeDecodeError:
        return info.orig_filename


def _wrong_member(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link: they are not followed"
    if kind not in (0, stat.S_IFREG):
        return "is not a regular file"
    if info.flag_bits & 0x2041:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way other than deflate"
    if info.file_size > MB and info.file_size > RATIO * info.compress_size:
        return f"unpacks to more than {RATIO} times its size"
    return ""


def _modified(info: zipfile.ZipInfo) -> datetime | None:
    """The time with a zone where there is one, else the clock's, which is taken as local time."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return datetime.fromtimestamp(struct.unpack_from("<I", extra, 5)[0], UTC)
        extra = extra[4 + size :]
    try:
        return datetime(*info.date_time).astimezone(UTC) if info.date_time[0] > 1980 else None
    except (ValueError, OverflowError, OSError):
        return None


def _inflate(stream: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member; zipfile itself cuts what is longer than declared, and says nothing."""
    stream.seek(info.header_offset)
    head = stream.read(30)
    if len(head) < 30 or head[:4] != b"PK\3\4":
        raise Unsafe("is not where the list of members says")
    method, name, extra = (struct.unpack_from("<H", head, at)[0] for at in (8, 26, 28))
    if method != info.compress_type or stream.read(name) != _raw_name(info):
        raise Unsafe("is not what the list of members says")
    stream.seek(extra, os.SEEK_CUR)
    inflater = zlib.decompressobj(-15) if method == zipfile.ZIP_DEFLATED else None
    data, left = bytearray(), info.compress_size
    while left:
        if not (chunk := stream.read(min(left, 1 << 16))):
            raise Unsafe("was cut")
        left -= len(chunk)
        room = info.file_size + 1 - len(data)
        data += inflater.decompress(chunk, room) if inflater else chunk
        if len(data) > info.file_size:
            raise Unsafe("inflates beyond the size it declares")
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise Unsafe("is damaged: its checksum or its size is wrong")
    return bytes(data)
