class _StarletteException(Exception):
    def __init__(self, status_code, detail, headers):
        super().__init__(detail)
        self.status_code = status_code
        self.detail = detail
        self.headers = headers


class HTTPException(_StarletteException):
    """What the API answers with a status and a detail."""

    def __init__(self, status_code, detail=None, headers=None):
        super().__init__(status_code, detail, headers)
