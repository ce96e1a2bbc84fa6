#!/usr/bin/env python3
"""Scores degraded speech against the speech that was said: PESQ-WB (ITU-T P.862.2) and STOI, as one line of JSON.

    score.py REFERENCE.wav DEGRADED.wav            {"pesq_wb": 4.32, "stoi": 0.981, "delay_ms": 86.5, ...}

Both files may have any sample rate and number of channels, 16 bit. The degraded one may begin late (by at most
--max-delay seconds, also early by a second), be longer, and be louder or softer; it is brought to the reference's place
by the peak of their correlation, first of the loudness of 10 ms pieces, then of the samples. A delay that changes in
the middle is left to PESQ's own alignment of utterances, and costs what it costs a listener.

It does not judge: what is good enough is for the caller to say. Exit code 1 and {"error": ...} where there is nothing
to compare.
"""

import argparse
import json
import sys
import wave

import numpy as np
from pesq import PesqError, pesq
from pystoi import stoi
from scipy.signal import correlate, resample_poly

RATE = 16_000  # PESQ-WB is defined at this rate
COARSE = RATE // 100  # 10 ms
EARLY_S = 1.0
LEAST_S = 1.0  # less speech than this is not scored


def load(path):
    """The file as one channel at RATE, samples from -1 to 1."""
    with wave.open(path) as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"{path}: needs 16 bit samples")
        raw = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        mono = raw.reshape(-1, file.getnchannels()).mean(axis=1) / 32_768
        step = np.gcd(RATE, file.getframerate())
        return resample_poly(mono, RATE // step, file.getframerate() // step)


def lag_by(reference, degraded, least, most):
    """The shift of `degraded` in [least, most] at which it is most like `reference`, and how much alike (0 to 1)."""
    products = correlate(degraded, reference, mode="full", method="fft")
    lags = np.arange(len(products)) - (len(reference) - 1)
    inside = (lags >= least) & (lags <= most)
    best = np.argmax(np.where(inside, products, -np.inf))
    norm = np.sqrt(np.sum(reference**2) * np.sum(degraded**2))
    return int(lags[best]), float(products[best] / norm) if norm else 0.0


def loudness(samples):
    pieces = samples[: len(samples) // COARSE * COARSE].reshape(-1, COARSE)
    decibels = 10 * np.log10(np.mean(pieces**2, axis=1) + 1e-8)
    return decibels - decibels.mean()


def align(reference, degraded, max_delay_s):
    """The degraded speech at the reference's place and length, and the delay in samples."""
    coarse, _ = lag_by(loudness(reference), loudness(degraded), -int(EARLY_S * 100), int(max_delay_s * 100))
    around = coarse * COARSE
    fine, likeness = lag_by(reference, degraded, around - 2 * COARSE, around + 2 * COARSE)
    moved = degraded[fine:] if fine >= 0 else np.concatenate([np.zeros(-fine), degraded])
    length = min(len(reference), len(moved))
    return reference[:length], moved[:length], fine, likeness


def score(reference, degraded, max_delay_s=5.0):
    """The scores of one file against another, by their paths."""
    reference, degraded, delay, likeness = align(load(reference), load(degraded), max_delay_s)
    if len(reference) < LEAST_S * RATE:
        raise ValueError("the two files have less than a second in common")
    if not np.any(degraded):
        raise ValueError("the degraded file is silent where the reference speaks")
    whole = [np.clip(np.round(samples * 32_768), -32_768, 32_767).astype(np.int16) for samples in (reference, degraded)]
    return {
        "pesq_wb": round(float(pesq(RATE, whole[0], whole[1], "wb")), 3),
        "stoi": round(float(stoi(reference, degraded, RATE)), 4),
        "delay_ms": round(delay / RATE * 1_000, 2),
        "likeness": round(likeness, 3),
        "seconds": round(len(reference) / RATE, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("degraded")
    parser.add_argument("--max-delay", type=float, default=5.0, metavar="SECONDS")
    options = parser.parse_args()
    try:
        print(json.dumps(score(options.reference, options.degraded, options.max_delay)))
    except (OSError, EOFError, ValueError, wave.Error, PesqError) as error:
        print(json.dumps({"error": str(error)}))
        sys.exit(1)


if __name__ == "__main__":
    main()
