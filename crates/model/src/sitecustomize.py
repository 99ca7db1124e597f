# Every Python of a task imports this file at its start, from a folder that the runner puts on PYTHONPATH.
import os
import sys

if (folder := os.path.dirname(__file__)) in sys.path:
    sys.path.remove(folder)
if sys.stdout:
    # A line is written at once and as a whole. Unbuffered, print() would write its text and the line end separately.
    sys.stdout.reconfigure(line_buffering=True)
if sys.argv[0] == folder[: -len("site")] + "work/main.py":
    import _signal
    import atexit

    told = []

    # By default a Python that is told to end runs no `finally:`.
    def end(number, frame):
        if not told:
            told.append(number)
            raise SystemExit(128 + number)

    # As without this file, the process dies of the signal.
    def die():
        if told:
            _signal.signal(15, _signal.SIG_DFL)
            try:
                sys.stderr.flush()
                sys.stdout.flush()
            finally:
                _signal.raise_signal(15)

    def forget():
        told.clear()
        if _signal.getsignal(15) is end:
            _signal.signal(15, _signal.SIG_DFL)

    _signal.signal(15, end)
    atexit.register(die)
    os.register_at_fork(after_in_child=forget)
# The one that it hides, if there is one.
del sys.modules[__name__]
import sitecustomize
