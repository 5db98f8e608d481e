"""The student of a finished run as a file for use elsewhere: written, run, compared, measured, described."""
