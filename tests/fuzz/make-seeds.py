#!/usr/bin/env python3
"""Makes the seeds that are no text. It needs Pillow, for the pictures; all bytes are this project's own."""

import gzip
import io
import json
import pathlib
import struct

from PIL import Image

SEEDS = pathlib.Path(__file__).parent / "seeds"


def write(target, name, *parts):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))


def picture(mode, width=16, height=12):
    colour = Image.new("RGB", (width, height))
    colour.putdata([(x * 255 // width, y * 255 // height, (x * y * 7) % 256) for y in range(height) for x in range(width)])
    if mode == "RGBA":
        colour.putalpha(Image.linear_gradient("L").resize((width, height)))
        return colour
    if mode == "I;16":
        return colour.convert("I").point(lambda value: value * 257).convert("I;16")
    return colour.convert(mode)


def save(target, name, image, head=b"", **how):
    file = io.BytesIO()
    image.save(file, format=how.pop("format"), **how)
    write(target, name, head, file.getvalue())


def upright(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


for name, mode, size, how in [
    ("grey", "L", (16, 12), {}),
    ("ycbcr-420", "RGB", (33, 18), {"subsampling": 2}),
    ("ycbcr-422", "RGB", (17, 16), {"subsampling": 1}),
    ("ycbcr-444-turned", "RGB", (16, 12), {"subsampling": 0, "exif": upright(6)}),
    ("cmyk", "CMYK", (16, 12), {}),
    ("progressive", "RGB", (33, 18), {"progressive": True}),
    ("progressive-grey", "L", (16, 12), {"progressive": True}),
    ("restarts", "RGB", (40, 24), {"restart_marker_blocks": 2}),
    ("rgb", "RGB", (16, 12), {"keep_rgb": True}),
]:
    save("jpeg", name, picture(mode, *size), format="JPEG", quality=60, **how)
    if mode != "CMYK":
        save("jpeg_reduced", name, picture(mode, *size), b"\0", format="JPEG", quality=60, **how)
        save("jpeg_reduced", name + "-quarter", picture(mode, *size), b"\1", format="JPEG", quality=60, **how)

for mode in ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]:
    save("png", mode.replace(";", "").lower(), picture(mode), format="PNG", optimize=True)
save("png", "turned", picture("RGB"), format="PNG", exif=upright(3))
save("png", "profile", picture("RGB"), format="PNG", icc_profile=bytes(200))
save("png", "animated", picture("RGB"), format="PNG", save_all=True, append_images=[picture("L").convert("RGB")])

save("webp", "lossy", picture("RGB"), format="WEBP", quality=50)
save("webp", "lossy-alpha", picture("RGBA"), format="WEBP", quality=50)
save("webp", "lossless", picture("RGB"), format="WEBP", lossless=True)
save("webp", "lossless-alpha", picture("RGBA"), format="WEBP", lossless=True)
save("webp", "lossless-palette", picture("P").convert("RGB"), format="WEBP", lossless=True)
save("webp", "turned", picture("RGB"), format="WEBP", quality=50, exif=upright(8))
for name, lossless in [("animated", False), ("animated-lossless", True)]:
    frames = [picture("L").convert("RGBA")]
    save("webp", name, picture("RGBA"), format="WEBP", save_all=True, append_images=frames, lossless=lossless)

save("gif", "palette", picture("P"), format="GIF")
save("gif", "grey", picture("L"), format="GIF", interlace=1)
save("gif", "transparent", picture("P"), format="GIF", transparency=3)
save("gif", "animated", picture("P"), format="GIF", save_all=True, append_images=[picture("L")], disposal=2)

for mode in ["1", "L", "P", "RGB", "RGBA"]:
    save("bmp", mode.lower(), picture(mode), format="BMP")

for mode in ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"]:
    save("tiff", mode.replace(";", "").lower(), picture(mode), format="TIFF")
for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group3", "group4"]:
    mode = "1" if compression.startswith("group") else "RGB"
    save("tiff", compression, picture(mode), format="TIFF", compression=compression)
save("tiff", "predictor", picture("RGB"), format="TIFF", compression="tiff_lzw", tiffinfo={317: 2})

# A picture that is larger than its file says, in the file and in a frame.
for name in ["lossy-alpha", "animated"]:
    file = (SEEDS / "webp" / name).read_bytes()
    at = file.index(b"\x9d\x01\x2a") + 3
    larger = struct.pack("<HH", 16383, 16000)
    write("webp", name + "-picture-larger", file[:at], larger, file[at + 4 :])

# Metadata that are longer than the file.
file = (SEEDS / "webp" / "turned").read_bytes()
at = file.index(b"EXIF") + 4
write("webp", "metadata-longer", file[:at], struct.pack("<I", 2**32 - 16), file[at + 4 :])

# A small GIF and PNG that claim to be huge, and a chunk that unpacks to much more than it is.
save("gif", "huge", Image.new("P", (4000, 60)), format="GIF")
FRAME = struct.pack("<BHHHHB", ord(","), 0, 0, 16000, 16000, 0x80) + bytes([0, 0, 0, 255, 255, 255])
write("gif", "frame-beyond-picture", b"GIF89a", struct.pack("<HHBBB", 2, 2, 0, 0, 0), FRAME, b"\2\1\x2c\0;")
save("png", "huge", Image.new("1", (4000, 4000)), format="PNG", optimize=True)
save("png", "bomb", picture("L"), format="PNG", icc_profile=bytes(1 << 20))


def field(data):
    return struct.pack("<H", len(data)) + data


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# The meta part of each kind of record, and its payload.
HASH = bytes(range(32))
TOTALS = struct.pack("<QQQ", 1, 1, 1)
STATE = TOTALS + struct.pack("<QQQQQQI", 2, 3, 1, 5, 0, 2**64 - 1, 0)
QUARANTINED = b"\1" + HASH + struct.pack("<Qq", 7, 1700) + field(b"a/b.png") + field(b"corrupt") + field(b"why")
TILE = b"\1" + struct.pack("<HH", 3, 2) + bytes(range(18))
SOURCE = struct.pack("<IQq?", 1, 99, 1700, False)
RECORDS = [
    (1, HASH + struct.pack("<q?", 1700, False), TILE),
    (2, HASH + SOURCE + TOTALS + field(b"a/b.jpg"), b""),
    (3, HASH + field(b"a/c.jpg"), b""),
    (4, struct.pack("<IB", 1, 0), b""),
    (5, QUARANTINED, b""),
    (6, struct.pack("<I", 1) + field(b"a/b.png"), b""),
    (7, STATE, b""),
]


def record(kind, ends, number, seq, meta, payload):
    # The target makes the checksums right.
    head = struct.pack("<4sIIIHBBQQ", b"cuR1", 0, 0, len(payload), len(meta), kind, ends, number, seq)
    return head + meta + payload


def described(kind, ends, meta, payload):
    return bytes([kind - 1, ends | 2]) + field(meta) + field(payload)


for kind, meta, payload in RECORDS:
    write("segment", f"kind-{kind}", record(kind, 1, 1, 1, meta, payload))
    write("segment", f"described-{kind}", b"\0", described(kind, 1, meta, payload))
batch = [record(kind, kind == 7, 1, 1 + kind // 4, meta, payload) for kind, meta, payload in RECORDS]
write("segment", "batches", *batch)
write("segment", "torn", *batch, batch[0][:50])
whole = [described(kind, kind % 3 == 0, meta, payload) for kind, meta, payload in RECORDS]
write("segment", "described-damaged", b"\2", struct.pack("<HBHB", 60, 1, 300, 128), *whole)
header = b"CURIOSEG" + struct.pack("<IIQQ", 1, 1, 0x5A17, 4)
header = (header + struct.pack("<I", crc32c(header))).ljust(64, b"\0")
write("segment", "header", header, header, *batch)
write("segment", "header-second-copy", bytes(64), header)

PLACE = struct.pack("<III", 1, 128, 95)
ID = struct.pack(">Q", 7)
write("catalogue", "sample", field(ID), PLACE)
write("catalogue", "exam-sample", field(ID), PLACE, HASH)
write("catalogue", "signals", field(ID), struct.pack("<IfI", 3, 0.5, 1000))
write("catalogue", "unknown-error", field(ID), struct.pack("<IfI", 0, float("nan"), 1000))
write("catalogue", "source", field(HASH), struct.pack("<Q", 1), SOURCE, field(b"a/b.jpg"))
write("catalogue", "duplicate", field(HASH + HASH[:16]), struct.pack("<Q", 4))
write("catalogue", "quarantined", field(b"quarantine/a"), PLACE, QUARANTINED)
write("catalogue", "mark", field(b"mark"), b"\1", struct.pack("<QIQQQ", 0x5A17, 1, 128, 3, 1), STATE)
write("catalogue", "seen", field(b"a/b.jpg"), b"\1", struct.pack("<QQQqq", 1, 2, 3, 4, 0))

write("content", "tile", TILE)
write("content", "one-pixel", b"\1\1\0\1\0\0\0\0")
write("content", "pickle", b"\x80\x04K\x01.")
write("content", "numpy-objects", b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")
write("content", "heic", struct.pack(">I", 24), b"ftypheic")
write("content", "zip", b"PK\3\4")
write("content", "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
write("content", "page", b"<!DOCTYPE html><title>Not found</title>")
write("content", "blank", b" \n\t ")

tensors = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [24, 28]},
}
for name, change in [
    ("fits", {}),
    ("other-shape", {"a.weight": {**tensors["a.weight"], "shape": [3, 2]}}),
    ("other-type", {"a.weight": {**tensors["a.weight"], "dtype": "I32"}}),
    ("overlapping", {"b": {**tensors["b"], "data_offsets": [20, 24]}}),
    ("unknown", {"c": {"dtype": "U8", "shape": [0], "data_offsets": [28, 28]}}),
]:
    text = json.dumps({**tensors, **change}).encode()
    values = struct.pack("<7f", 1, 2, 3, float("nan"), 5, 6, 7)
    write("weights", name, struct.pack("<Q", len(text)), text, values)

# What texts, series and transitions are read from: the first byte says under which name.
ROWS = [{"episode": n // 6, "t": n % 6, "state": [n / 8, -n], "action": n % 3, "next_state": [n / 8 + 0.125, -n - 1]} for n in range(20)]
TABLE = "time,a,b\n" + "".join(f"2024-01-{n + 1:02},{n * n},{'' if n == 5 else n / 4}\n" for n in range(24))
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
SAID = "".join(json.dumps({"text": f"The cat number {n} sat on the mat. It slept."}) + "\n" for n in range(6))
ARRAY = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + b"{'descr': '<f4', 'fortran_order': False, 'shape': (12, 2), }".ljust(117) + b"\n"
WAVE = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 4000, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 4000)
for target, name, head, text in [
    ("texts", "prose", 1, "A first paragraph.\n\nA second one, with a name. And more.\n" * 4),
    ("texts", "rows", 3, SAID),
    ("texts", "table", 2, "id,text\n" + "".join(f'{n},"a few words, number {n}"\n' for n in range(6))),
    ("texts", "utf16", 1, "Ein kurzer Text mit Umlauten: äöü.".encode("utf-16")),
    ("series", "table", 2, TABLE),
    ("series", "decimal-comma", 2, TABLE.replace(",", ";").replace(".", ",")),
    ("series", "rows", 3, "".join(json.dumps({"t": n, "x": n % 5, "y": None if n == 3 else n}) + "\n" for n in range(20))),
    ("series", "array", 6, ARRAY + struct.pack("<24f", *range(24))),
    ("series", "sound", 0, WAVE + bytes(range(250)) * 16),
    ("series", "gzip", 7, gzip.compress(TABLE.encode(), mtime=0)),
    ("transitions", "rows", 3, LINES),
    ("transitions", "array", 4, json.dumps(ROWS)),
    ("transitions", "table", 2, "episode,t,s0,s1,action\n" + "".join(f"0,{n},{n / 4},{-n},{n % 2}\n" for n in range(12))),
    ("transitions", "gzip", 7, gzip.compress(LINES.encode(), mtime=0)),
]:
    write(target, name, bytes([head]), text if isinstance(text, bytes) else text.encode())

# Requests of the Open Inference Protocol: how long the JSON is, the JSON, the tensors' bytes.
WORDS = b"".join(struct.pack("<I", len(word)) + word for word in [b"one", b"", b"two words"])
SERIES = struct.pack("<6f", 1, 2, float("nan"), 4, 5, 6)


def tensor(name, datatype, shape, size=None, **more):
    return {"name": name, "datatype": datatype, "shape": shape, **({} if size is None else {"parameters": {"binary_data_size": size}}), **more}


def request(name, *inputs, raw=b"", told=None, **more):
    text = json.dumps({"inputs": inputs, **more}).encode()
    length = told if told is not None else len(text) if raw else 0xFFFF
    write("infer", name, struct.pack(">H", length), text, raw)


request("texts", tensor("texts", "BYTES", [3], len(WORDS)), raw=WORDS, parameters={"binary_data_output": True})
request("texts-json", tensor("texts", "BYTES", [2, 1], data=[["one"], ["two"]]), id="7", outputs=[{"name": "embedding", "parameters": {"binary_data": False}}])
request("images-json", tensor("images", "BYTES", [1], data=["data:image/png;base64,iVBORw0KGgo="]))
request("images", tensor("images", "BYTES", [1], 12), raw=struct.pack("<I", 8) + b"\x89PNG\r\n\x1a\n")
request("series", tensor("series", "FP32", [1, 2, 3], len(SERIES)), raw=SERIES)
request("series-double", tensor("series", "FP64", [1, 3], 24), raw=struct.pack("<3d", 1, 2, 3))
request("series-json", tensor("series", "FP32", [1, 2, 2], data=[[1, None], [2.5, -3]]))
request("size-too-large", tensor("texts", "BYTES", [3], len(WORDS) + 1), raw=WORDS)
request("size-too-small", tensor("texts", "BYTES", [3], len(WORDS) - 1), raw=WORDS)
request("size-huge", tensor("texts", "BYTES", [3], 2**64 - 1), raw=WORDS)
request("shape-huge", tensor("series", "FP32", [2**63, 2, 2], len(SERIES)), raw=SERIES)
request("shape-empty", tensor("series", "FP32", [2**40, 0], 0))
request("length-beyond", tensor("texts", "BYTES", [1], 8), raw=struct.pack("<I", 2**32 - 1) + b"abcd")
request("json-too-long", tensor("texts", "BYTES", [3], len(WORDS)), raw=WORDS, told=0x7FFF)
request("two-inputs", tensor("texts", "BYTES", [1], 7), tensor("texts", "BYTES", [1], 12), raw=WORDS[:7] + WORDS[11:])
request("not-utf8", tensor("texts", "BYTES", [1], 6), raw=struct.pack("<I", 2) + b"\xff\xfe")
