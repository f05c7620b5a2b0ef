"""The one error of the platform: a sentence for the person at the keyboard."""


class PlatformError(Exception):
    """Something outside the code is in the way; the message says what, and what to do about it."""
