"""Deflate blocks of literals only, for bytes that do not repeat: the low bytes of noise.

A search for repetitions costs most of the time of a deflate encoder and finds nothing in such bytes, or worse: a
repetition that costs more than its literals. Without it, with a code of its own for every 16 KiB, noise becomes smaller
and is written faster (RFC 1951, section 3.2.7). Any zlib reads it.
"""

from __future__ import annotations

import numpy as np

from .transform import compile_kernel

#: Bytes that share a code: short enough to follow the signal, long enough to pay for the code's 150 bytes.
BLOCK_BYTES = 16_384

#: Longest code in bits, such that four of them and what is left of a 64-bit word are known to fit in two words.
_LONGEST_CODE = 14

_END_OF_BLOCK = 256


def words_needed(n_bytes: int) -> int:
    """64-bit words that :func:`encode_literals` may write for a number of bytes."""
    return n_bytes // 4 + 32 * (n_bytes // BLOCK_BYTES + 2)


@compile_kernel
def _code_lengths(counts, lengths):
    """Lengths of a Huffman code (two-queue construction), rare symbols made more frequent until none is too long."""
    keys = np.empty(counts.size, np.int64)
    weights = np.empty(2 * counts.size, np.int64)
    parents = np.empty(2 * counts.size, np.int64)
    n_used = 0
    for symbol in range(counts.size):
        if counts[symbol] > 0:
            keys[n_used] = (counts[symbol] << 9) | symbol
            n_used += 1
    used = keys[:n_used]
    used.sort()
    for leaf in range(n_used):
        weights[leaf] = used[leaf] >> 9
    root = 2 * n_used - 2
    while True:
        leaf, inner = 0, n_used
        for node in range(n_used, root + 1):
            weight = np.int64(0)
            for _ in range(2):
                if inner >= node or (leaf < n_used and weights[leaf] <= weights[inner]):
                    weight += weights[leaf]
                    parents[leaf] = node
                    leaf += 1
                else:
                    weight += weights[inner]
                    parents[inner] = node
                    inner += 1
            weights[node] = weight
        # From the root down, the parent of each node is replaced by its depth.
        for node in range(root - 1, -1, -1):
            parents[node] = 1 if parents[node] == root else parents[parents[node]] + 1
        if parents[0] <= _LONGEST_CODE:  # the rarest symbol has the longest code
            break
        for leaf in range(n_used):
            weights[leaf] = (weights[leaf] >> 1) + 1
    lengths[:] = 0
    for leaf in range(n_used):
        lengths[used[leaf] & 511] = parents[leaf]


@compile_kernel
def _canonical_codes(lengths, codes):
    """Codes of deflate (RFC 1951, 3.2.2) from their lengths: bits in the order of the stream, and length << 16."""
    next_codes = np.zeros(17, np.int64)
    for length in lengths:
        next_codes[length] += 1
    next_codes[0] = 0
    code, shorter = 0, 0
    for length in range(1, 17):
        code = (code + shorter) << 1
        shorter = next_codes[length]
        next_codes[length] = code
    for symbol in range(lengths.size):
        length = lengths[symbol]
        code, bits = next_codes[length], 0
        for _ in range(length):
            bits = (bits << 1) | (code & 1)
            code >>= 1
        next_codes[length] += 1
        codes[symbol] = np.uint32(bits | (length << 16))


@compile_kernel
def _put(words, state, value, n_bits):
    """Append bits to the stream. The state is the unfinished word, its bits, and how many words are finished."""
    word = state[0] | (np.uint64(value) << state[1])
    total = state[1] + np.uint64(n_bits)
    if total >= 64:
        words[state[2]] = word
        state[2] += np.uint64(1)
        word = (np.uint64(value) >> np.uint64(1)) >> (np.uint64(63) - state[1])
        total -= np.uint64(64)
    state[0], state[1] = word, total


@compile_kernel
def _put_header(words, state, lengths):
    """Header of a block with its own code: not the last one, 257 literals, 2 distances that are never used."""
    for value, n_bits in ((0, 1), (2, 2), (0, 5), (1, 5), (15, 4)):
        _put(words, state, value, n_bits)
    # The lengths are themselves coded: 0 to 15 with four bits each, the codes for repetitions (first three) not used.
    for place in range(19):
        _put(words, state, 0 if place < 3 else 4, 3)
    for begin in range(0, 259, 14):
        end = min(begin + 14, 259)
        together = np.int64(0)
        for symbol in range(end - 1, begin - 1, -1):
            length = lengths[symbol] if symbol < 257 else 1
            reversed_bits = ((length & 1) << 3) | ((length & 2) << 1) | ((length & 4) >> 1) | ((length & 8) >> 3)
            together = (together << 4) | reversed_bits
        _put(words, state, together, 4 * (end - begin))


@compile_kernel
def _count(values, counts):
    """How often each byte occurs, in four tables so that equal neighbours do not wait for one another."""
    tables = np.zeros((4, 256), np.uint32)
    n_fours = values.size // 4 * 4
    one = np.uint32(1)
    for place in range(np.uint64(0), np.uint64(n_fours), np.uint64(4)):
        tables[0, values[place]] += one
        tables[1, values[place + np.uint64(1)]] += one
        tables[2, values[place + np.uint64(2)]] += one
        tables[3, values[place + np.uint64(3)]] += one
    for place in range(n_fours, values.size):
        tables[0, values[place]] += one
    for symbol in range(256):
        counts[symbol] = tables[0, symbol] + tables[1, symbol] + tables[2, symbol] + tables[3, symbol]


@compile_kernel
def _put_literals(words, state, values, codes):
    """Append the codes of bytes, four at a time. Unsigned counters spare numba the check for negative ones."""
    word, n_bits, n_words = state[0], state[1], state[2]
    n_fours = values.size // 4 * 4
    one, sixteen, low = np.uint64(1), np.uint64(16), np.uint64(0xFFFF)
    for place in range(np.uint64(0), np.uint64(n_fours), np.uint64(4)):
        first = np.uint64(codes[values[place]])
        second = np.uint64(codes[values[place + np.uint64(1)]])
        third = np.uint64(codes[values[place + np.uint64(2)]])
        fourth = np.uint64(codes[values[place + np.uint64(3)]])
        n_first = first >> sixteen
        n_two = n_first + (second >> sixteen)
        n_third = third >> sixteen
        two = (first & low) | ((second & low) << n_first)
        bits = two | (((third & low) | ((fourth & low) << n_third)) << n_two)
        full = word | (bits << n_bits)
        rest = (bits >> one) >> (np.uint64(63) - n_bits)
        n_bits += n_two + n_third + (fourth >> sixteen)
        words[n_words] = full
        is_full = n_bits >> np.uint64(6)
        word = rest if is_full else full
        n_words += is_full
        n_bits &= np.uint64(63)
    state[0], state[1], state[2] = word, n_bits, n_words
    for place in range(n_fours, values.size):
        _put(words, state, codes[values[place]] & np.uint32(0xFFFF), codes[values[place]] >> np.uint32(16))


@compile_kernel
def encode_literals(values, words):
    """Write bytes as deflate blocks, none the last one, and then up to a whole byte.

    Parameters
    ----------
    values : numpy.ndarray
        uint8.
    words : numpy.ndarray
        uint64, at least :func:`words_needed` of them; written to.

    Returns
    -------
    int
        Bytes written. Another deflate stream, which must hold the last block, can follow them.
    """
    state = np.zeros(3, np.uint64)
    counts = np.empty(257, np.int64)
    lengths = np.empty(257, np.int64)
    codes = np.empty(257, np.uint32)
    for begin in range(0, values.size, BLOCK_BYTES):
        block = values[begin : begin + BLOCK_BYTES]
        _count(block, counts)
        counts[_END_OF_BLOCK] = 1
        _code_lengths(counts, lengths)
        _canonical_codes(lengths, codes)
        _put_header(words, state, lengths)
        _put_literals(words, state, block, codes)
        end = codes[_END_OF_BLOCK]
        _put(words, state, end & np.uint32(0xFFFF), end >> np.uint32(16))
    # An empty stored block ends at a whole byte (what zlib calls a sync flush).
    _put(words, state, 0, 3)
    _put(words, state, 0, (np.uint64(8) - (state[1] & np.uint64(7))) & np.uint64(7))
    _put(words, state, 0xFFFF0000, 32)
    words[state[2]] = state[0]
    return np.int64(state[2]) * 8 + np.int64(state[1] >> np.uint64(3))
