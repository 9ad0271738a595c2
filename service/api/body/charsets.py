"""The charsets of texts: those that browsers know (encoding.spec.whatwg.org), and no codec of another kind."""

import re
from encodings.aliases import aliases

WINDOWS = [f"cp{number}" for number in (874, 932, 949, 950, *range(1250, 1259))]
LATIN = ["latin_1", *(f"iso8859_{number}" for number in (*range(2, 12), *range(13, 17)))]
ASIAN = ["gbk", "gb2312", "gb18030", "big5", "big5hkscs", "euc_jp", "iso2022_jp", "shift_jis", "euc_kr"]
OTHERS = ["cp866", "koi8_r", "koi8_u", "mac_roman", "mac_cyrillic"]
UNICODE = ["ascii", "utf_8", "utf_8_sig", "utf_16", "utf_16_le", "utf_16_be"]
KNOWN = (*WINDOWS, *LATIN, *ASIAN, *OTHERS, *UNICODE)


def decode(text: bytes | bytearray, label: str | None) -> str:
    """By the charset of this label, which is UTF-8 without one, and for ASCII.

    Raises ValueError where the text is not of this charset, or the label not known.
    """
    return text.decode(codec_of(label))


def codec_of(label: str | None) -> str:
    """Python's name of a charset. Raises ValueError."""
    codec = "utf_8" if label is None else CODECS.get(_plain(label))
    if codec is None:
        raise ValueError("an unknown charset")
    return "utf_8" if codec == "ascii" else codec


def _plain(label: str) -> str:
    """A label as all its ways of writing have it: ISO_8859-1 is iso88591."""
    return re.sub("[^a-z0-9]", "", label.lower())


# A table, because `codecs.lookup` keeps every name that it was ever asked for.
CODECS = {_plain(name): name for name in KNOWN} | {
    _plain(alias): name for alias, name in aliases.items() if name in KNOWN
}
