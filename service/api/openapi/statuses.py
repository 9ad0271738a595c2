"""What every status means here, and which an operation can end with."""

STATUSES = {
    "400": "A field is wrong, missing or unknown.",
    "401": "No API key, or one that is not valid here.",
    "403": "The key lacks a scope, or the token is another caller's.",
    "404": "There is no such thing here, or not any more.",
    "405": "This method is not allowed here.",
    "406": "No form of answer that the caller accepts.",
    "408": "The body took too long to arrive.",
    "409": "Another request cancelled the job.",
    "413": "Bytes over a limit; the connection is closed.",
    "415": "A body or a picture of a kind that is not read here.",
    "422": "The input is wrong, or the photo can't be used.",
    "429": "The key's quota is used up: try again after Retry-After.",
    "500": "The service failed.",
    "503": "Full, starting or stopping: try again after Retry-After.",
    "504": "Accepted, but not finished within the deadline.",
}
READING = ("400", "401", "403", "404", "405", "429", "500", "503")
MAKING = (*READING, "406", "408", "409", "413", "415", "422", "504")
