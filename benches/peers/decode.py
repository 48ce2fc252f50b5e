"""PIL, the peer of benches/decode.rs.

decode.py rate PX SECONDS FILE...   prints pictures a second: decoded in full, and in draft mode
decode.py make PHOTOS OUT           makes JPEGs of about 500 KB from large photos
"""

import io
import pathlib
import sys
import time

from PIL import Image


def reduced(data, px, draft):
    image = Image.open(io.BytesIO(data))
    if draft:
        image.draft("RGB", (px, px))
    image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    if short <= px:
        return image
    size = (px, px * height // width) if width <= height else (px * width // height, px)
    return image.resize(size, Image.BILINEAR)


def rate(px, seconds, contents, draft):
    begun, decoded = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for data in contents:
            reduced(data, px, draft)
            decoded += 1
    return decoded / (time.perf_counter() - begun)


def make(photos, out):
    for path in sorted(photos.glob("*.jpg")):
        photo = Image.open(path).convert("RGB")
        if min(photo.size) < 1400:
            continue
        for kind, size, options in (
            ("baseline", (1920, 1280), {}),
            ("progressive", (1920, 1280), {"progressive": True}),
            ("camera", (4000, 3000), {}),
        ):
            resized = photo.resize(size, Image.BICUBIC)
            best = None
            for quality in range(30, 100, 3):
                data = io.BytesIO()
                resized.save(data, "JPEG", quality=quality, subsampling=2, **options)
                if best is None or abs(len(data.getvalue()) - 500_000) < abs(len(best) - 500_000):
                    best = data.getvalue()
            (out / f"{path.stem}.{kind}.jpg").write_bytes(best)


if sys.argv[1] == "make":
    make(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
else:
    px, seconds = int(sys.argv[2]), float(sys.argv[3])
    contents = [pathlib.Path(name).read_bytes() for name in sys.argv[4:]]
    print(rate(px, seconds, contents, False), rate(px, seconds, contents, True))
