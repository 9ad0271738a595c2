"""What a worker is told before it loads anything."""

from typing import Literal

from msgspec import Struct


class Setup(Struct, frozen=True, kw_only=True, tag="setup"):
    """The first frame a worker gets: everything it may know about its place. Workers read no environment."""

    bundle: str = "tiny"
    manifest: str | None = None  # an operator's own manifest.toml
    weights_dir: str | None = None  # where downloaded weight files lie; the embedded bundle needs none
    device: str = "auto"  # auto, cpu, cuda:0, ...
    max_rows: int = 8
    face_analyzer: str | None = None  # bundled, yunet, insightface:<pack>; None: the bundle's own
    faces_dir: str | None = None  # the folder that holds the face analyzer's ONNX files
    face_side: int | None = None  # pixels at which face detectors look first; None: as they were trained
    threads: int | None = None
    accept_noncommercial: bool = False
    graphs: bool = True  # record calls at warm-up and play them; CUDA alone
    compile: Literal["off", "blocks", "full"] = "off"
    fp8: bool = False
    log_level: Literal["info", "warning", "error"] = "info"
    compile_cache: str | None = None  # a folder of this user's own
