# Reads files of an environment that is not this task's, by every name a file can have.
import errno
def read(path):
    with open(path, "rb") as file:
        return len(file.read(16)) > 0
def reopened(path):
    handle = os.open(path, os.O_PATH)
    return read(f"/proc/self/fd/{handle}")
def by_folder(path):
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    return len(os.read(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=folder), 16)) > 0
def linked(path):
    os.link(path, "linked")
    return read("linked")
def executed(path):
    return os.spawnv(os.P_WAIT, path, [path]) not in (127, -1) or False
for path in KNOWN["paths"]:
    if not os.path.lexists(path):
        continue
    attempt("read " + path, lambda: read(path))
    for start in ("/proc/self/root", "/proc/self/cwd/../../..", "/proc/1/root", f"/proc/{os.getppid()}/root"):
        attempt(f"read {start}{path}", lambda: read(start + path))
    attempt("reopen a handle of " + path, lambda: reopened(path))
    attempt("read by its folder " + path, lambda: by_folder(path))
    attempt("link " + path, lambda: linked(path))
for folder in KNOWN["folders"]:
    attempt("list " + folder, lambda: len(os.listdir(folder)) > 0)
tried += 1
