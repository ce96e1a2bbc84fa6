#!/usr/bin/env python3
"""Decodes a recorded session from the text of transport/PROTOCOL.md and the keys given in the recording.

    decode_session.py tests/vectors/session-otp.json [tests/vectors/session-otp.plaintexts.json]

Prints every plaintext as JSON, or, with a second file, compares with it and says how much agreed.

It is a second implementation: it shares nothing with the Rust code, and does with `cryptography` (AES-GCM,
ChaCha20-Poly1305, HKDF) and the POLYVAL below what section 7 of PROTOCOL.md says. It keeps the receiver's rules: strictly
ordered records, one use of every slot, no key before it was offered and said to be ready, no position used twice.
"""

import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSES = {0: "confirm", 1: "control", 2: "voice", 3: "file", 4: "text"}
SUITES = {1: "otp", 2: "aes-256-gcm", 3: "chacha20-poly1305"}
OTP, AES, CHACHA = 1, 2, 3
CONTROL, VOICE, FILE, TEXT = 1, 2, 3, 4
CONTROL_FLOW = (CONTROL, 0)


class Refused(Exception):
    """The recording breaks the protocol."""


def need(condition, what):
    if not condition:
        raise Refused(what)


# RFC 8452, section 3. A block is a polynomial over GF(2): bit i of the little-endian integer is the coefficient of x^i.
FIELD = (1 << 128) | (1 << 127) | (1 << 126) | (1 << 121) | 1


def dot(a, b):
    """a * b * x^-128 in GF(2^128): add and divide by x, 128 times."""
    result = 0
    for i in range(128):
        if (b >> i) & 1:
            result ^= a
        if result & 1:
            result ^= FIELD
        result >>= 1
    return result


def polyval(key, data):
    need(len(data) % 16 == 0, "POLYVAL takes whole blocks")
    key = int.from_bytes(key, "little")
    sum_ = 0
    for at in range(0, len(data), 16):
        sum_ = dot(sum_ ^ int.from_bytes(data[at : at + 16], "little"), key)
    return sum_.to_bytes(16, "little")


def self_test():
    """The example of RFC 8452, appendix A."""
    key = bytes.fromhex("25629347589242761d31f826ba4b757b")
    data = bytes.fromhex("4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362")
    assert polyval(key, data).hex() == "f7a3b47b846119fae5b7866cf5e5b77e"


def pad(data):
    return data + bytes(-len(data) % 16)


def xor(a, b):
    need(len(a) == len(b), "XOR of different lengths")
    return bytes(x ^ y for x, y in zip(a, b))


def le64(value):
    return struct.pack("<Q", value)


class Reader:
    """Takes fields from the front of a message."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "a message is too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def left(self):
        return len(self.data) - self.at

    def end(self):
        need(self.left() == 0, "a message is too long")


class Hello:
    def __init__(self, body):
        need(len(body) <= 4096, "a hello is too long")
        self.body = body
        reader = Reader(body)
        need(reader.take(4) == b"VRNM" and reader.number(2) == 1, "no hello of version 1")
        self.nonce = reader.take(32)
        self.suites = [code for code in reader.take(reader.number(1)) if code in SUITES]
        self.outbound = (reader.number(8), reader.number(8))
        self.inbound = (reader.number(8), reader.number(8))
        self.keys = [(reader.take(16), reader.number(4)) for _ in range(reader.number(2))]
        need(1 <= len(self.keys) <= 128, "the number of handshake keys")
        reader.end()


class Party:
    """One side's recording, and what is learnt from it."""

    def __init__(self, role, given):
        self.role = role
        self.name = given["name"].encode()
        self.handshake_key = bytes.fromhex(given["handshake_key"])
        self.stock = {}
        for piece in given["stock"]:
            for offset, byte in enumerate(bytes.fromhex(piece["bytes"])):
                self.stock[piece["position"] + offset] = byte
        self.datagrams = [bytes.fromhex(datagram) for datagram in given["datagrams"]]
        self.streams = {}
        for stream in given["streams"]:
            reader = Reader(bytes.fromhex(stream))
            flow = (reader.number(1), reader.number(4))
            need(flow not in self.streams, "a flow has two streams")
            self.streams[flow] = reader
        need(next(iter(self.streams)) == CONTROL_FLOW, "the first stream is not the control stream")
        self.offers = {}
        self.ready = set()
        self.control = []
        self.packet_len = {}

    def message(self, kind):
        """`H` or `C` at the front of the control stream."""
        reader = self.streams[CONTROL_FLOW]
        need(reader.take(1) == kind, "the handshake is out of order")
        return reader.take(reader.number(2))

    def take_stock(self, start, length):
        """Takes positions out, so that none is used twice."""
        return bytes(self.stock.pop(position) for position in range(start, start + length))


class Key:
    """One generation of one flow."""

    def __init__(self, session, party, flow, generation, suite, block, first=0):
        self.suite, self.first = suite, first
        self.context = (
            session.session_id + bytes([party.role, flow[0]]) + struct.pack(">II", flow[1], generation) + bytes([suite, 0, 0, 0, 0, 0])
        )
        if suite == OTP:
            self.hash_key, self.pad, self.slots_used = block[:16], block[16:], set()
        else:
            need(len(block) == 32, "an AEAD block has not 32 bytes")
            info = b"vernam/1 aead key" + self.context
            key = HKDF(algorithm=SHA256(), length=32, salt=session.exporter, info=info).derive(block)
            self.aead = AESGCM(key) if suite == AES else ChaCha20Poly1305(key)

    def aad(self, number, length, flags):
        return self.context + struct.pack(">QIB", number, length, flags) + bytes(3)

    def open_with(self, text_pad, mask, aad, ciphertext, tag):
        lengths = le64(384) + le64(8 * len(ciphertext))
        expected = polyval(self.hash_key, aad + pad(ciphertext) + lengths)[: len(mask)]
        need(xor(expected, mask) == tag, "a tag is wrong")
        return xor(ciphertext, text_pad)

    def open_aead(self, number, aad, ciphertext, tag):
        try:
            return self.aead.decrypt(bytes(4) + struct.pack(">Q", number), ciphertext + tag, aad)
        except InvalidTag:
            raise Refused("a tag is wrong") from None

    def open_record(self, number, flags, ciphertext, tag):
        aad = self.aad(number, len(ciphertext), flags)
        if self.suite != OTP:
            return self.open_aead(number, aad, ciphertext, tag)
        length = len(ciphertext)
        need(length + 16 <= len(self.pad), "a record is longer than its pad")
        text_pad, mask, self.pad = self.pad[:length], self.pad[length : length + 16], self.pad[length + 16 :]
        return self.open_with(text_pad, mask, aad, ciphertext, tag)

    def open_voice(self, number, ciphertext, tag):
        aad = self.aad(number, len(ciphertext), 0)
        if self.suite != OTP:
            return self.open_aead(number, aad, ciphertext, tag)
        slot, size = number - self.first, len(ciphertext) + 8
        need(slot >= 0 and (slot + 1) * size <= len(self.pad), "a datagram has no slot")
        need(slot not in self.slots_used, "a slot is used twice")
        self.slots_used.add(slot)
        piece = self.pad[slot * size : (slot + 1) * size]
        return self.open_with(piece[:-8], piece[-8:], aad, ciphertext, tag)


class Session:
    def __init__(self, recording):
        self.exporter = bytes.fromhex(recording["exporter"])
        self.parties = [Party(0, recording["initiator"]), Party(1, recording["responder"])]
        self.handshake()
        for party in self.parties:
            party.control = list(self.records(party, CONTROL_FLOW, self.control_blocks(party)))
            need(party.control[-1][0] == 63 or not party.ended, "the last control message is not Bye")
        for party, peer in [self.parties, self.parties[::-1]]:
            for flow, generation in party.offers:
                need((flow, generation) in peer.ready, "an offer was not answered")

    def handshake(self):
        hellos = [Hello(party.message(b"H")) for party in self.parties]
        suite = next((code for code in hellos[0].suites if code in hellos[1].suites), None)
        need(suite is not None, "no common suite")
        transcript = b"vernam/1 transcript" + self.exporter
        for part in [self.parties[0].name[:255], self.parties[1].name[:255], hellos[0].body, hellos[1].body]:
            transcript += struct.pack(">I", len(part)) + part
        self.session_id = hashlib.sha256(transcript).digest()[:16]
        self.suite = suite
        for party, hello in zip(self.parties, hellos):
            key = party.handshake_key
            need(sum(length for _, length in hello.keys) == len(key), "the handshake key's length")
            need(len(key) >= (32 + 16 + 1024 if suite == OTP else 32 + 32), "the handshake key is too short")
            data = transcript + bytes([party.role])
            tag = xor(polyval(key[:16], pad(data) + le64(8 * len(data)) + le64(0)), key[16:32])
            need(party.message(b"C") == tag, "the confirmation is wrong")
        # Section 5: positions that both sides say they have.
        for party, peer_hello, hello in [
            (self.parties[0], hellos[1], hellos[0]),
            (self.parties[1], hellos[0], hellos[1]),
        ]:
            (cursor_s, end_s), (cursor_r, end_r) = hello.outbound, peer_hello.inbound
            party.cursor = max(cursor_s, cursor_r)
            party.usable = max(min(end_s, end_r), party.cursor)
            party.announced = max(end_s, end_r)

    def control_blocks(self, party):
        """The control flow's keys: the first from the handshake, the others as they are offered on it."""
        rest = party.handshake_key[32:]
        yield Key(self, party, CONTROL_FLOW, 0, self.suite, rest if self.suite == OTP else rest[:32])
        generation = 1
        while True:
            need((CONTROL_FLOW, generation) in party.offers, "a key was used that was not offered")
            yield party.offers[CONTROL_FLOW, generation]
            generation += 1

    def offered_blocks(self, party, flow):
        generation = 0
        while True:
            need((flow, generation) in party.offers, "a key was used that was not offered")
            yield party.offers[flow, generation]
            generation += 1

    def records(self, party, flow, blocks):
        """Section 8: the plaintexts of a stream's records, in order."""
        reader = party.streams[flow]
        key, generation, next_number, party.ended = next(blocks), 0, 0, False
        while reader.left():
            need(not party.ended, "something follows the last record")
            flags, gen, number, length = struct.unpack(">BIQI", reader.take(17))
            need(flags in (0, 1) and length <= (8192 if flow == CONTROL_FLOW else 65536), "a record's header")
            need(number == next_number, "a record is missing or out of order")
            need(gen >= generation, "an earlier generation")
            while generation < gen:
                key, generation = next(blocks), generation + 1
            ciphertext = reader.take(length)
            plaintext = key.open_record(number, flags, ciphertext, reader.take(16))
            if flow == CONTROL_FLOW:
                self.learn(party, plaintext)
            yield plaintext
            next_number, party.ended = next_number + 1, flags == 1

    def learn(self, party, message):
        """What a control message means for the keys."""
        reader = Reader(message)
        kind = reader.number(1)
        if kind == 1:
            start = reader.number(8)
            need(start >= party.announced, "an announcement is out of order")
            party.announced = start + sum(reader.take(16) and reader.number(4) for _ in range(reader.number(2)))
            reader.end()
        elif kind == 2:
            peer = self.parties[1 - party.role]
            peer.usable = max(peer.usable, reader.number(8))
            reader.end()
        elif kind == 4:
            flow, generation = (reader.number(1), reader.number(4)), reader.number(4)
            suite, start, length, first = reader.number(1), reader.number(8), reader.number(4), reader.number(8)
            reader.end()
            need(start >= party.cursor, "a position before the cursor")
            party.cursor = start + length
            block = party.take_stock(start, length)
            party.offers[flow, generation] = Key(self, party, flow, generation, suite, block, first)
        elif kind == 5:
            flow, generation = (reader.number(1), reader.number(4)), reader.number(4)
            reader.end()
            party.ready.add((flow, generation))
        elif kind == 16:
            call, _suite, _rate, _frame, length = struct.unpack(">IBIBH", reader.take(12))
            reader.end()
            for both in self.parties:
                both.packet_len[call] = length

    def voice(self, party):
        """Section 9: number and Opus packet of every datagram."""
        packets = {}
        for datagram in party.datagrams:
            need(datagram[:1] == b"V", "no voice datagram")
            call, generation, number = struct.unpack(">III", datagram[1:13])
            key = party.offers[(VOICE, call), generation]
            body = datagram[13:]
            length = party.packet_len[call]
            need(len(body) == length + (8 if key.suite == OTP else 16), "a datagram's length")
            packets.setdefault(call, []).append([number, key.open_voice(number, body[:length], body[length:]).hex()])
        return packets

    def plaintexts(self):
        """Everything that was said, in the form of the *.plaintexts.json files."""
        out = {}
        for party, side in zip(self.parties, ("initiator", "responder")):
            said = {"control records": len(party.control)}
            said["control"] = [message.hex() for message in party.control if message[0] >= 16]
            for flow in party.streams:
                if flow != CONTROL_FLOW:
                    records = self.records(party, flow, self.offered_blocks(party, flow))
                    said[f"{PURPOSES[flow[0]]}/{flow[1]}"] = [record.hex() for record in records]
                    need(party.ended or flow[0] != FILE, "a file was cut off")
            for call, packets in self.voice(party).items():
                said[f"voice/{call}"] = packets
            out[side] = said
        return out


def main(arguments):
    self_test()
    if len(arguments) not in (1, 2):
        sys.exit(__doc__)
    with open(arguments[0], encoding="utf-8") as file:
        session = Session(json.load(file))
    plaintexts = session.plaintexts()
    if len(arguments) == 1:
        print(json.dumps(plaintexts, indent=1))
        return
    with open(arguments[1], encoding="utf-8") as file:
        expected = json.load(file)
    if plaintexts != expected:
        sys.exit(f"{arguments[0]}: the plaintexts differ from {arguments[1]}")
    counts = [f"{side} {flow}: {len(said)}" for side in expected for flow, said in expected[side].items() if isinstance(said, list)]
    print(f"{SUITES[session.suite]}: all plaintexts agree ({'; '.join(counts)})")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Refused as why:
        sys.exit(f"refused: {why}")
