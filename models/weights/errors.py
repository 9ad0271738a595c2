"""What is wrong with the weights, in words for the operator."""


class WeightsError(RuntimeError):
    """A file is missing, altered, of the wrong shape or under the wrong terms. The message says what to do."""


class MissingFile(WeightsError):
    """It is not in the weights folder."""


class AlteredFile(WeightsError):
    """It is there, with other bytes than the manifest or the lock says."""
