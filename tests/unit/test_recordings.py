"""AEDAT files of versions 2 to 4, written here byte by byte, and what is wrong with damaged ones."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from neurochip.errors import InputError, MissingExtraError
from neurochip.input_data.recordings import is_recording, read_recording

SHAPE = (2, 128, 128)
X, Y = np.array([0, 1, 2, 127, 5]), np.array([3, 0, 127, 1, 64])
P, TIMES = np.array([1, 0, 1, 1, 0]), np.array([100, 101, 110, 125, 139])


def aedat2(path):
    events = np.column_stack([X << 8 | Y << 1 | P, TIMES]).astype(">u4")
    path.write_bytes(b"#!AER-DAT2.0\r\n# a comment\r\n" + events.tobytes())


def packet(kind, words, times, overflow=0, spare=0):
    data = np.column_stack([words, times]).astype("<u4").tobytes() + bytes(8 * spare)
    return struct.pack("<hhiiiiii", kind, 1, 8, 4, overflow, len(words) + spare, len(words), len(words)) + data


def aedat3(path, *more, words=None):
    words = X << 17 | Y << 2 | P << 1 | 1 if words is None else words
    packets = packet(1, words[:2], TIMES[:2], spare=1) + packet(2, words, TIMES) + packet(1, words[2:], TIMES[2:])
    path.write_bytes(b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n" + packets + b"".join(more))


def table(fields):
    """The vtable and the fields of a flatbuffers table; fields are (slot, bytes)."""
    slots = max(slot for slot, _ in fields) + 1
    vtable_size, offsets, body = 4 + 2 * slots, [0] * slots, b""
    for slot, raw in fields:
        body += bytes(-(4 + len(body)) % len(raw))
        offsets[slot] = 4 + len(body)
        body += raw
    vtable = struct.pack(f"<HH{slots}H", vtable_size, 4 + len(body), *offsets)
    return vtable, body


def flatbuffer(identifier, fields, content):
    """Size-prefixed; the field whose bytes are None points to ``content``."""
    pointer = next(slot for slot, raw in fields if raw is None)
    filled = [(slot, bytes(4) if raw is None else raw) for slot, raw in fields]
    vtable, body = table(filled)
    start = 8 + len(vtable) + -(8 + len(vtable)) % 8 + 4  # so that eight-byte fields are aligned
    at = struct.unpack_from("<H", vtable, 4 + 2 * pointer)[0]
    end = start + len(body) + 4
    end += -end % 8 + 4  # the length word of the vector, in front of aligned elements
    body = body[: at - 4] + struct.pack("<I", end - (start + at)) + body[at:]
    data = struct.pack("<I", start) + identifier + vtable
    data += bytes(start - len(data)) + struct.pack("<i", start - 8) + body
    data += bytes(end - len(data)) + content
    return struct.pack("<I", len(data)) + data


def aedat4(path):
    info = b"""<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">
<node name="0" path="/mainloop/Recorder/outInfo/0/"><attr key="compression" type="string">NONE</attr>
<attr key="originalModuleName" type="string">capture</attr><attr key="originalOutputName" type="string">events</attr>
<attr key="typeDescription" type="string">events</attr><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/mainloop/Recorder/outInfo/0/info/"><attr key="sizeX" type="int">128</attr>
<attr key="sizeY" type="int">128</attr><attr key="source" type="string">camera</attr></node></node></node></dv>"""
    text = struct.pack("<I", len(info)) + info + b"\0"
    header = flatbuffer(b"IOHE", [(1, struct.pack("<q", -1)), (2, None), (0, struct.pack("<i", 0))], text)
    rows = b"".join(struct.pack("<qhh?3x", t, x, y, bool(p)) for x, y, p, t in zip(X, Y, P, TIMES, strict=True))
    events = flatbuffer(b"EVTS", [(0, None)], struct.pack("<I", len(X)) + rows)
    path.write_bytes(b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(events)) + events)


@pytest.mark.parametrize("writer", [aedat2, aedat3, aedat4])
def test_every_event_arrives(tmp_path, writer):
    if writer is aedat4:
        pytest.importorskip("aedat")
    path = tmp_path / "x.aedat"
    writer(path)
    assert is_recording(path)
    events = read_recording(path, SHAPE)
    for found, expected in ((events.x, X), (events.y, Y), (events.p, P), (events.t, TIMES)):
        np.testing.assert_array_equal(found, expected)


def test_invalid_events_go_and_the_clock_overflows(tmp_path):
    words = X << 17 | Y << 2 | P << 1 | np.array([1, 0, 1, 1, 0])
    aedat3(tmp_path / "x.aedat", packet(1, [7 << 17 | 1], [5], overflow=1), words=words)
    events = read_recording(tmp_path / "x.aedat", SHAPE)
    assert events.x.tolist() == [0, 2, 127, 7]
    assert events.t.tolist() == [100, 110, 125, 2**31 + 5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-3], "a packet of 3 events"),
        (lambda data: data + b"ab", "ends within the header"),
        (lambda data: data.replace(b"END-HEADER", b"END"), "expected the line #!END-HEADER"),
        (lambda data: data[: data.index(b"R\r\n") + 3], "holds no events"),
    ],
    ids=["cut", "rest", "header", "empty"],
)
def test_damaged_aedat3_is_refused(tmp_path, change, words):
    path = tmp_path / "x.aedat"
    aedat3(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=words):
        read_recording(path, SHAPE)


def test_what_aedat2_cannot_tell_is_not_guessed(tmp_path):
    path = tmp_path / "x.aedat"
    aedat2(path)
    with pytest.raises(InputError, match="does not tell its camera"):
        read_recording(path, (2, 64, 64))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="no whole events"):
        read_recording(path, SHAPE)


def test_aedat4_needs_its_package_and_other_versions_are_named(tmp_path, monkeypatch):
    path = tmp_path / "x.aedat4"
    aedat4(path)
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(MissingExtraError, match=r"neurochip\[events\]"):
        read_recording(path, SHAPE)
    path.write_bytes(b"#!AER-DAT9.0\r\n")
    with pytest.raises(InputError, match="2, 3 and 4 can be read"):
        read_recording(path, SHAPE)


def test_a_damaged_aedat4_file_is_refused(tmp_path):
    pytest.importorskip("aedat")
    path = tmp_path / "x.aedat4"
    aedat4(path)
    whole = path.read_bytes()
    for length in range(15, len(whole), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"damaged AEDAT file|holds no events|no stream"):
            read_recording(path, SHAPE)
