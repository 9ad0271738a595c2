"""Faces in a picture: finding them, embedding the largest, and judging whether the photo will do.

Owns detection, alignment, recognition and the photo judge. Imports no torch; nothing here writes a face to a disk
or a log.
"""

from models.faces.analyzers import load_analyzer
from models.faces.face import Face, FaceAnalyzer, Rgb
from models.faces.files import FacesUnavailable
from models.faces.judge import Judgement, PhotoLimits, judge

__all__ = ["Face", "FaceAnalyzer", "FacesUnavailable", "Judgement", "PhotoLimits", "Rgb", "judge", "load_analyzer"]
