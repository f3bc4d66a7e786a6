"""The host swallows the errors of other people's code and keeps them here."""

import sys
import traceback

exception_records = []


def record_exception():
    _, error, place = sys.exc_info()
    exception_records.append("".join(traceback.format_exception(type(error), error, place)))


def report(message: str, *, exc_info: bool = False) -> None:
    record_exception()


def display(e: Exception, task, *, full_traceback=False):
    record_exception()


def print_error_explanation(message):
    pass
