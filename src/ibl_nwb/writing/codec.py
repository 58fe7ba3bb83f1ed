"""Inflate and deflate without holding the interpreter lock, with ISA-L where it is installed and zlib otherwise."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from . import huffman
from .transform import has_kernels

try:
    from isal import igzip_lib, isal_zlib
except ImportError:  # zlib does the same, slower
    igzip_lib = isal_zlib = None  # type: ignore[assignment]

#: Highest level of ISA-L; beyond it zlib is asked.
_ISAL_LEVELS = 3

#: How many bytes are tried to see whether they repeat, and how small a search for repetitions must make them, relative
#: to literals, to be worth its time. (It does worse on a whole chunk than on a sample, where either has its own code.)
_SAMPLE_BYTES = 8192
_WORTH_SEARCHING = 0.85

_RAW_DEFLATE = -15

#: How much is inflated at a time of what nobody wants, so that it stays in the processor's cache.
_SKIPPED_BYTES = 1 << 20

#: Headers of RFC 1950 (window of 32 KiB, fastest) and RFC 1952 (deflate, no name, no time, unknown system).
_ZLIB_HEADER = b"\x78\x01"
_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"

_DAMAGED: Any = (zlib.error, igzip_lib.error) if igzip_lib else (zlib.error,)

_buffers = threading.local()


class Inflater:
    """Undo zlib's compression piece by piece: what fits in the processor's cache is inflated half as fast again.

    Parameters
    ----------
    data : bytes
        A zlib stream.
    """

    def __init__(self, data: bytes):
        self._data = data
        self._isal = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB) if igzip_lib else None
        self._zlib = None if igzip_lib else zlib.decompressobj()

    def take(self, n_bytes: int) -> bytes:
        """The next bytes.

        Raises
        ------
        ValueError
            If the stream is damaged or has not as many.
        """
        pieces = []
        missing = n_bytes
        while missing:
            piece = self._inflate(missing)
            if not piece:
                raise ValueError(f"it ends {missing} bytes before it should")
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, n_bytes: int) -> None:
        """Inflate the next bytes for the sake of those after them; errors as in :meth:`take`."""
        for begin in range(0, n_bytes, _SKIPPED_BYTES):
            self.take(min(_SKIPPED_BYTES, n_bytes - begin))

    def finish(self) -> None:
        """Check that this was all, and its checksum.

        Raises
        ------
        ValueError
            If there is more, or the checksum is another.
        """
        if not self._is_at_end and self._inflate(1):
            raise ValueError("it holds more bytes than it should")
        if not self._is_at_end:
            raise ValueError("it ends before its checksum")

    @property
    def _is_at_end(self) -> bool:
        return (self._isal or self._zlib).eof  # type: ignore[union-attr]

    def _inflate(self, n_bytes: int) -> bytes:
        data = self._data
        try:
            if self._isal is not None:
                self._data = b""  # it keeps what it was given
                return b"" if self._isal.eof else self._isal.decompress(data, n_bytes)
            assert self._zlib is not None
            piece = self._zlib.decompress(data, n_bytes)
            self._data = self._zlib.unconsumed_tail
            return piece
        except _DAMAGED as error:
            raise ValueError(str(error)) from error


def zlib_stream(tile: np.ndarray, level: int, itemsize: int) -> bytes:
    """Compress a chunk for HDF5's deflate filter or Zarr's Zlib codec.

    Parameters
    ----------
    tile : numpy.ndarray
        uint8, the bytes of a chunk.
    level : int
        0 to 9. Up to 3 are fast (ISA-L's), beyond that zlib's.
    itemsize : int
        Bytes per value if they are shuffled, otherwise 1.
    """
    adler = (isal_zlib or zlib).adler32(tile.data)
    return b"".join((_ZLIB_HEADER, *_deflate(tile, level, itemsize), adler.to_bytes(4, "big")))


def gzip_stream(tile: np.ndarray, level: int, itemsize: int) -> bytes:
    """Compress a chunk for Zarr's GZip codec; parameters as in :func:`zlib_stream`."""
    trailer = checksum(tile.data).to_bytes(4, "little") + (tile.nbytes % 2**32).to_bytes(4, "little")
    return b"".join((_GZIP_HEADER, *_deflate(tile, level, itemsize), trailer))


def checksum(data: bytes | memoryview) -> int:
    """CRC-32 of bytes."""
    return (isal_zlib or zlib).crc32(data)


def has_isal() -> bool:
    """Whether ISA-L is installed."""
    return isal_zlib is not None


def _deflate(tile: np.ndarray, level: int, itemsize: int) -> list[bytes]:
    """A raw deflate stream in pieces: of two-byte values, low bytes that are noise are coded as literals."""
    if level > _ISAL_LEVELS:
        return [_deflate_with_zlib(tile, level)]
    deflate = _deflate_with_isal if isal_zlib else _deflate_with_zlib
    if itemsize != 2 or level == 0 or not has_kernels():
        return [deflate(tile, level)]
    low, high = tile[: tile.size // 2], tile[tile.size // 2 :]
    if not _is_noise(low, deflate, level):
        return [deflate(tile, level)]
    return [_deflate_literals(low), deflate(high, level)]


def _is_noise(plane: np.ndarray, deflate: Callable[[np.ndarray, int], bytes], level: int) -> bool:
    """Whether bytes are smaller as literals than with a search for repetitions, judging by those in the middle."""
    middle = max(0, plane.size // 2 - _SAMPLE_BYTES // 2)
    sample = plane[middle : middle + _SAMPLE_BYTES]
    return len(deflate(sample, level)) > _WORTH_SEARCHING * len(_deflate_literals(sample))


def _deflate_literals(plane: np.ndarray) -> bytes:
    n_words = huffman.words_needed(plane.size)
    words = getattr(_buffers, "words", None)
    if words is None or words.size < n_words:
        words = _buffers.words = np.empty(n_words, dtype="<u8")
    return words.view(np.uint8)[: huffman.encode_literals(plane, words)].tobytes()


def _deflate_with_isal(plane: np.ndarray, level: int) -> bytes:
    return igzip_lib.compress(plane, level, igzip_lib.COMP_DEFLATE)


def _deflate_with_zlib(plane: np.ndarray, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _RAW_DEFLATE, 9)
    return compressor.compress(plane.data) + compressor.flush()
