"""A detector and a recogniser as one face analyzer."""

from dataclasses import replace

from models.faces.face import Detector, Face, Rgb
from models.faces.recogniser import Recogniser


class Analyzer:
    """Finds faces, largest first, and embeds the largest alone.

    Nothing uses the embedding of a bystander, so none is made: it would cost time and be biometric data of someone
    who did not ask. Thread-safe if the detector is; keeps no state between calls.
    """

    def __init__(self, name: str, detector: Detector, recogniser: Recogniser | None) -> None:
        self.name = name
        self.space = recogniser.space if recogniser else None
        self._detector = detector
        self._recogniser = recogniser

    def analyze(self, picture: Rgb) -> list[Face]:
        faces = sorted(self._detector.detect(picture), key=lambda face: face.area, reverse=True)
        if faces and self._recogniser:
            embedding = self._recogniser.embedding(picture, faces[0].landmarks)
            faces[0] = replace(faces[0], embedding=embedding, space=self._recogniser.space)
        return faces
