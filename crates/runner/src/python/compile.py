# Compiles Python sources to byte-code that holds no path of its own. Fed on standard input with NUL-separated triples:
# source, path to name inside the byte-code, target. A source that is no valid Python is skipped: packages ship such
# files on purpose, and importing one would fail with or without byte-code.
import os
import py_compile
import sys

fields = sys.stdin.buffer.read().split(b"\0")
for at in range(0, len(fields) - 2, 3):
    source, shown, target = (os.fsdecode(field) for field in fields[at : at + 3])
    try:
        py_compile.compile(
            source,
            cfile=target,
            dfile=shown,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except (py_compile.PyCompileError, UnicodeError, RecursionError, MemoryError):
        continue
