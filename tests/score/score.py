"""Scores what was heard against what was said: PESQ wide band (ITU-T P.862.2) and STOI (Taal and others, 2011).

    score.py < orders.json > scores.json

`orders.json` is a list of {"name", "said", "heard", "pieces"}: two WAV files of one channel and 16 bits, any rates, and
into how many pieces of equal length the said file is cut. Each piece is looked for in the heard file by
cross-correlation, in order, and scored by itself, because both measures are made for some seconds of speech. PESQ follows
changes of the delay within a piece; STOI does not, so each second and a half is looked for anew and the mean taken. The answer
is a list, in the order of the orders, of {"name", "pesq", "stoi", "pieces": [{"pesq", "stoi", "delay_ms"}]}: means, and
each piece with how much later it was heard than said, counted from the files' beginnings.

It knows nothing of calls.
"""

import json
import sys

import numpy as np
from pesq import pesq
from pystoi import stoi
from scipy.io import wavfile
from scipy.signal import correlate, resample_poly

RATE = 16_000  # of PESQ wide band
SEARCH_S = 1.0  # how far a later piece may stray from the delay of the one before
PART_S, PART_SEARCH_S = 1.5, 0.1  # the same for the parts that STOI looks at
LOUD = 0.1  # a part with less power than this, of the piece's mean, is a pause, of which STOI says nothing
MAX_S = 600  # of sound in one file


def load(path):
    rate, samples = wavfile.read(path)
    if samples.ndim != 1 or samples.dtype != np.int16:
        raise SystemExit(f"{path}: one channel of 16 bits is wanted")
    if len(samples) > MAX_S * rate:
        raise SystemExit(f"{path}: longer than {MAX_S} s")
    common = np.gcd(rate, RATE)
    return resample_poly(samples / 32_768.0, RATE // common, rate // common)


def find(piece, sound, earliest, latest):
    """Where in `sound` the piece begins, between two places."""
    earliest = int(max(earliest, 0))
    latest = int(min(latest, max(len(sound) - 1, 0)))
    window = sound[earliest : latest + len(piece)]
    if len(window) < len(piece):
        window = np.pad(window, (0, len(piece) - len(window)))
    match = correlate(window, piece, mode="valid", method="fft")
    return earliest + int(np.argmax(np.abs(match)))


def intelligibility(piece, sound, at):
    """STOI of a piece that is heard at about this place."""
    length, stray = int(PART_S * RATE), PART_SEARCH_S * RATE
    found = []
    for start in range(0, len(piece) - length + 1, length):
        part = piece[start : start + length]
        if np.mean(part**2) < LOUD * np.mean(piece**2):
            continue
        place = find(part, sound, at + start - stray, at + start + stray)
        like = sound[place : place + length]
        found.append(stoi(part, np.pad(like, (0, length - len(like))), RATE))
    return float(np.mean(found))


def score(order):
    said, heard = load(order["said"]), load(order["heard"])
    count = order.get("pieces", 1)
    length = len(said) // count
    pieces, delay = [], None
    for number in range(count):
        start = number * length
        piece = said[start : start + length]
        if delay is None:
            at = find(piece, heard, 0, len(heard))
        else:
            stray = SEARCH_S * RATE
            at = find(piece, heard, start + delay - stray, start + delay + stray)
        delay = at - start
        like = heard[at : at + length]
        like = np.pad(like, (0, length - len(like)))
        pieces.append(
            {
                "pesq": float(pesq(RATE, piece, like, "wb")) if np.any(like) else 1.0,
                "stoi": intelligibility(piece, heard, at),
                "delay_ms": 1e3 * delay / RATE,
            }
        )
    mean = {key: float(np.mean([piece[key] for piece in pieces])) for key in ("pesq", "stoi")}
    return {"name": order["name"], **mean, "pieces": pieces}


if __name__ == "__main__":
    json.dump([score(order) for order in json.load(sys.stdin)], sys.stdout)
