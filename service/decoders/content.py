"""What a file is, by its first bytes: never by its name, never by what the caller says of it."""

READABLE = ("JPEG", "PNG", "WebP", "HEIC", "AVIF")
ACCEPTED = "a JPEG, PNG, WebP, HEIC or AVIF picture"

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_STILL_BRANDS = {b"mif1", b"msf1", b"mif2", b"miaf"}

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"II*\x00", "a TIFF or a camera's raw file"),
    (b"MM\x00*", "a TIFF or a camera's raw file"),
    (b"II+\x00", "a TIFF"),
    (b"MM\x00+", "a TIFF"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"BM", "a BMP"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_TEXT = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "XML or an SVG drawing"),
    (b"data:image", "a data: URL; send the picture's bytes, not text"),
    (b"/9j/", "base64 text; send the picture's bytes, not text"),
    (b"ivborw0kggo", "base64 text; send the picture's bytes, not text"),
    (b"http://", "an address; send the picture itself"),
    (b"https://", "an address; send the picture itself"),
    (b"{", "JSON"),
)


def name_content(data: bytes) -> str | None:
    """One of READABLE, or a phrase for something else that is known, or None."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _name_container(data)
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((name for magic, name in _TEXT if start.startswith(magic)), None)


def _name_container(data: bytes) -> str:
    """ISO media files carry a major brand and compatible ones (ISO 14496-12 §4.3); a generic major decides nothing."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, length, 4))]
    for brand in brands if brands[0] in _STILL_BRANDS else brands[:1]:
        if brand in _AVIF_BRANDS:
            return "AVIF"
        if brand in _HEIC_BRANDS:
            return "HEIC"
    return "HEIC" if brands[0] in _STILL_BRANDS else "a video"
