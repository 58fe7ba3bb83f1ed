"""What the header of a video says, read from its bytes: MP4 boxes (ISO/IEC 14496-12) and AVI chunks, without FFmpeg."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import DatasetUnreadableError
from .source_folder import SourceFile


class VideoFacts(NamedTuple):
    """Number of frames, None where the header does not say, and size of the picture in pixels."""

    n_frames: int | None
    width_px: int
    height_px: int


def read_video_facts(file: SourceFile) -> VideoFacts:
    """Read the header of a video.

    Raises
    ------
    DatasetUnreadableError
        If it is neither MP4 nor AVI, or is damaged.
    """
    try:
        return _read_avi(file) if file.name.endswith(".avi") else _read_mp4(file)
    except (struct.error, ValueError, OSError) as error:
        raise DatasetUnreadableError(
            f"The source '{file.path}' cannot be read: {error}. Nothing can be compared with it; get it again."
        ) from error


def _read_mp4(file: SourceFile) -> VideoFacts:
    movie = _read_movie_box(file)
    for _, track in _boxes(movie, "trak"):
        ((_, media),) = _boxes(track, "mdia")
        ((_, handler),) = _boxes(media, "hdlr")
        if handler[8:12] == b"vide":
            ((_, information),) = _boxes(media, "minf")
            ((_, samples),) = _boxes(information, "stbl")
            ((_, sizes),) = _boxes(samples, "stsz")
            ((_, descriptions),) = _boxes(samples, "stsd")
            (n_frames,) = struct.unpack_from(">I", sizes, 8)
            width, height = struct.unpack_from(">HH", descriptions, 8 + 8 + 24)
            return VideoFacts(n_frames or None, width, height)
    raise ValueError("it holds no pictures")


def _read_movie_box(file: SourceFile) -> bytes:
    """The box ``moov``, wherever it is; the pictures are skipped."""
    with file.path.open("rb") as stream:
        while header := stream.read(8):
            size, kind = struct.unpack(">I4s", header)
            n_read = 8
            if size == 1:
                (size,), n_read = struct.unpack(">Q", stream.read(8)), 16
            if kind == b"moov":
                content = stream.read(size - n_read if size else -1)
                if size and len(content) < size - n_read:
                    break
                return content
            if size < n_read:  # up to the end of the file, or no box at all
                break
            stream.seek(size - n_read, 1)
    raise ValueError("it has no complete movie box")


def _boxes(content: bytes, wanted: str) -> Iterator[tuple[str, bytes]]:
    """Boxes of a kind right inside another one."""
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size < 8:
            raise ValueError(f"its box {wanted} is damaged")
        if kind.decode("latin1") == wanted:
            yield wanted, content[place + 8 : place + size]
        place += size


def _read_avi(file: SourceFile) -> VideoFacts:
    with file.path.open("rb") as stream:
        content = stream.read(1 << 16)
    main, stream_header = content.find(b"avih"), content.find(b"strh")
    if content[:4] != b"RIFF" or main < 0 or content[stream_header + 8 : stream_header + 12] != b"vids":
        raise ValueError("it is no AVI file of pictures")
    width, height = struct.unpack_from("<II", content, main + 8 + 32)
    (n_frames,) = struct.unpack_from("<I", content, stream_header + 8 + 32)
    return VideoFacts(n_frames or None, width, height)
