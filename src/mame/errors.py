"""What a user did wrong, said in one line."""


class MameError(Exception):
    """A user's mistake: the message says what was wrong, where (file, row, tag) and what to do.

    The command line prints it as one line and exits with code 2; it never shows a traceback.
    """
