"""Whether a photo will do, decided before any GPU time is spent, in words that help to take a better one."""

from dataclasses import dataclass
from typing import Literal

from models.faces.face import Face, Rgb
from models.faces.measures import Measures, measured
from models.wire.events import FaceReport

SeveralFaces = Literal["largest", "refuse"]
Code = Literal[
    "no_face",
    "several_faces",
    "face_too_small",
    "face_cut_off",
    "face_too_dark",
    "face_too_bright",
    "face_turned",
    "face_blurred",
    "image_truncated",
]
_SPOILED_BY_TRUNCATION: frozenset[Code] = frozenset(("no_face", "face_cut_off", "face_blurred"))


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """Set so that ordinary and slightly soft photos pass; calibrated on 8 faces of public sample photos.

    A limit that would refuse a skin tone is no limit of the photo, so darkness and brightness each need two signs.
    """

    # Pixels, side of the face box. Recognisers read 112 px, of which the box is about 100: at 64 the crop is blown up
    # by half as much again, which they bear; below, likeness is luck.
    min_face_pixels: float = 64
    # Pixels: under this the photo passes with a note.
    good_face_pixels: float = 112
    # Share of the face that the picture does not show, as the detector sees it afterwards. 15 % of the box cut off
    # measures 0 to 0.10 at the forehead (common in selfies) and 0.04 to 0.10 at the chin; 30 % at a side 0.14 to 0.42,
    # 40 % at the forehead or chin 0.23 to 0.41.
    max_outside: float = 0.15
    # Mean luma, 0..1. Well lit sample faces measure 0.57 to 0.73, darkened to 35 % 0.20 to 0.25, to 25 % 0.13 to 0.18;
    min_brightness: float = 0.18
    # the darkest skin (Monk scale 10) is about 0.15 by its colour alone. A face so dark is underexposed only if it
    # has no highlights (eyes, teeth, shine) either: the sample faces have 0.82 to 0.89, darkened to 35 % 0.28 to 0.31.
    min_highlight: float = 0.4
    # Mean luma. The lightest skin (Monk scale 1) is about 0.93 by its colour alone,
    max_brightness: float = 0.82
    # so a bright face is overexposed only if much of it is white, too (share): sample faces 0, brightened by 40 % 0.2
    # to 0.6.
    max_clipped: float = 0.2
    # Degrees. Past this one eye disappears and embeddings lose the person.
    max_yaw_degrees: float = 45
    # Share, see measures.py. Sharp photos: 0.072 to 0.19. Blurred by 3 % of the distance between the eyes: 0.038 to
    # 0.074; by 6 %, where eyes are smudges: 0.013 to 0.024.
    min_sharpness: float = 0.025
    # Share: under this the photo passes with a note.
    good_sharpness: float = 0.045
    # A second face counts as a second person from this share of the first one's size; smaller are passers-by.
    second_face_size: float = 0.4


@dataclass(frozen=True, slots=True)
class Judgement:
    """`code` is None if the photo will do, and `message` then empty. `face` is the one to use, kept on refusal too."""

    face: Face | None
    report: FaceReport
    code: Code | None = None
    message: str = ""
    value: float | None = None  # what was measured ...
    limit: float | None = None  # ... and what it had to keep

    @property
    def is_ok(self) -> bool:
        return self.code is None


@dataclass(frozen=True, slots=True)
class _Fault:
    code: Code
    message: str
    value: float
    limit: float


def judge(
    picture: Rgb, faces: list[Face], limits: PhotoLimits, several_faces: SeveralFaces, *, truncated: bool = False
) -> Judgement:
    """`faces` as an analyzer gives them for this picture, largest first; the picture turned as they say. `truncated`:
    its file was cut off."""
    if not faces:
        fault = _named(_no_face(limits), truncated)
        return _refused(None, FaceReport(verdict=fault.code, faces_found=0), fault)
    face = faces[0]
    measures = measured(picture, face)
    people = sum(other.size >= limits.second_face_size * face.size for other in faces)
    fault = _crowd(people) if people > 1 and several_faces == "refuse" else _first_fault(measures, limits)
    fault = _named(fault, truncated) if fault else None
    report = FaceReport(
        verdict=fault.code if fault else "ok",
        faces_found=len(faces),
        box=face.box,
        score=round(face.score, 3),
        sharpness=round(measures.sharpness, 4),
        brightness=round(measures.brightness, 3),
        yaw_degrees=None if measures.yaw_degrees is None else round(measures.yaw_degrees, 1),
        notes=[] if fault else _notes(faces, measures, limits, truncated),
    )
    return _refused(face, report, fault) if fault else Judgement(face, report)


def _refused(face: Face | None, report: FaceReport, fault: _Fault) -> Judgement:
    return Judgement(face, report, fault.code, fault.message, fault.value, fault.limit)


def _first_fault(measures: Measures, limits: PhotoLimits) -> _Fault | None:
    """The fault to mend first: a face that is too small or cut off makes the other measures doubtful."""
    return _framing(measures, limits) or _light(measures, limits) or _pose(measures, limits) or _focus(measures, limits)


def _no_face(limits: PhotoLimits) -> _Fault:
    message = (
        "No face was found. Use a photo with the whole face in view: upright, looking at the camera, evenly lit and "
        f"large (at least {limits.min_face_pixels:.0f} pixels across)."
    )
    return _Fault("no_face", message, 0, 1)


def _named(fault: _Fault, truncated: bool) -> _Fault:
    """What the photo lacks because its file was cut off is the file's fault."""
    if not truncated or fault.code not in _SPOILED_BY_TRUNCATION:
        return fault
    message = "The photo's file is cut off, and what arrived of it shows no whole and sharp face: send it again, whole."
    return _Fault("image_truncated", message, fault.value, fault.limit)


def _crowd(people: int) -> _Fault:
    message = f"There are {people} faces in the photo. Use a photo of one person alone, or crop it to one face."
    return _Fault("several_faces", message, people, 1)


def _framing(measures: Measures, limits: PhotoLimits) -> _Fault | None:
    size, outside = measures.size, measures.outside
    if size < limits.min_face_pixels:
        message = (
            f"The face is too small ({size:.0f} pixels across, at least {limits.min_face_pixels:.0f} are needed). "
            "Go closer to the camera, or crop the photo to head and shoulders before it is scaled down."
        )
        return _Fault("face_too_small", message, size, limits.min_face_pixels)
    if outside > limits.max_outside:
        message = (
            f"The face is cut off by the edge of the photo ({outside:.0%} is missing, at most "
            f"{limits.max_outside:.0%} may be). Take the photo again with the whole head in view."
        )
        return _Fault("face_cut_off", message, outside, limits.max_outside)
    return None


def _light(measures: Measures, limits: PhotoLimits) -> _Fault | None:
    brightness = measures.brightness
    if brightness < limits.min_brightness and measures.highlight < limits.min_highlight:
        message = (
            f"The face is too dark ({brightness:.2f}, at least {limits.min_brightness:.2f} is needed). "
            "Turn towards a window or a lamp and take the photo again."
        )
        return _Fault("face_too_dark", message, brightness, limits.min_brightness)
    if brightness > limits.max_brightness and measures.clipped > limits.max_clipped:
        message = (
            f"The face is too bright ({brightness:.2f}, at most {limits.max_brightness:.2f} is good). "
            "Step out of the direct light, switch the flash off and take the photo again."
        )
        return _Fault("face_too_bright", message, brightness, limits.max_brightness)
    return None


def _pose(measures: Measures, limits: PhotoLimits) -> _Fault | None:
    if measures.yaw_degrees is None or abs(measures.yaw_degrees) <= limits.max_yaw_degrees:
        return None
    turned = abs(measures.yaw_degrees)
    message = (
        f"The face is turned too far to the side ({turned:.0f} degrees, at most {limits.max_yaw_degrees:.0f} is good). "
        "Look towards the camera and take the photo again."
    )
    return _Fault("face_turned", message, turned, limits.max_yaw_degrees)


def _focus(measures: Measures, limits: PhotoLimits) -> _Fault | None:
    if measures.sharpness >= limits.min_sharpness:
        return None
    message = (
        f"The face is blurred (sharpness {measures.sharpness:.3f}, at least {limits.min_sharpness:.3f} is needed). "
        "Wipe the lens, hold the camera still and tap on the face to focus."
    )
    return _Fault("face_blurred", message, measures.sharpness, limits.min_sharpness)


def _notes(faces: list[Face], measures: Measures, limits: PhotoLimits, truncated: bool) -> list[str]:
    """What the person may want to know of a photo that passed."""
    notes = ["The photo's file is cut off; what arrived of it is used."] if truncated else []
    if faces[0].turns:
        notes.append(
            f"The photo was turned by {90 * faces[0].turns} degrees counter-clockwise, so that the face stands upright."
        )
    if len(faces) > 1:
        notes.append(f"There are {len(faces)} faces in the photo; the largest one is used.")
    if measures.size < limits.good_face_pixels:
        notes.append(f"The face is {measures.size:.0f} pixels across; a closer photo gives a better likeness.")
    if measures.sharpness < limits.good_sharpness:
        notes.append("The face is a little soft; a sharper photo gives a better likeness.")
    if measures.yaw_degrees is None:
        notes.append("Which way the face looks was not measured: this analyzer has no landmark model.")
    return notes
