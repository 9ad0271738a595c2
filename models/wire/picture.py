"""Decoded pixels, as they cross from process to process."""

from msgspec import Struct

from models.wire.tray import Tray


class Picture(Struct, frozen=True, kw_only=True):
    """Decoded pixels: 8-bit sRGB, row-major, `num_bytes` of them, orientation already applied.

    They are in `rgb`, or else on `tray`, which goes beside the frame: the frame says only that there is one.
    `truncated`: the photo's file was cut off, and its lower rows or its detail are missing.
    """

    width: int
    height: int
    rgb: bytes = b""
    tray: Tray | None = None
    truncated: bool = False

    @property
    def num_bytes(self) -> int:
        return 3 * self.width * self.height

    @property
    def pixels(self) -> bytes | memoryview:
        """Wherever they are. Raises ValueError when a tray has fewer."""
        return self.rgb if self.tray is None else self.tray.read(self.num_bytes)

    def __repr__(self) -> str:
        return f"Picture({self.width}x{self.height})"
