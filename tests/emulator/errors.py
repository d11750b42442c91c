"""What EMR refuses with."""

SHUT = "A job flow that is shutting down, terminated, or finished may not be modified."


class EmrError(Exception):
    def __init__(self, message, code="ValidationException"):
        super().__init__(message)
        self.code = code


def invalid_request(message):
    return EmrError(message, "InvalidRequestException")
