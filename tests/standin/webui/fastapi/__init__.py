from .exceptions import HTTPException
