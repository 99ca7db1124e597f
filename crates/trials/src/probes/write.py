# Tries every way to change what is cached, and what the sandbox is made of.
import six, shutil
def write(path, mode="w"):
    with open(path, mode) as file:
        file.write("x")
MS_REMOUNT, MS_BIND, NEWUSER, NEWNS = 32, 4096, 0x10000000, 0x20000
def remount(path):
    if libc.unshare(NEWUSER | NEWNS) != 0 or libc.mount(b"none", path.encode(), None, MS_REMOUNT | MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    write(path + "/trial")
environment = os.path.realpath(sys.prefix)
for folder in ("/", "/cache", "/cache/python", "/cache/python/uv", "/cache/python/bytecode", "/nix", "/nix/store", "/usr", "/etc",
               "/hybrid-cache", "/hybrid-cache/bin", environment, os.path.dirname(environment), os.path.dirname(six.__file__)):
    attempt("write into " + folder, lambda: write(folder + "/trial"))
for path in (six.__file__, six.__cached__, environment + "/pyvenv.cfg", os.path.realpath(sys.executable), "/hybrid-cache/runner",
             "/etc/passwd", "/etc/resolv.conf"):
    attempt("append to " + path, lambda: write(path, "a"))
    attempt("write through /proc/self/root to " + path, lambda: write("/proc/self/root" + path, "a"))
    attempt("stamp " + path, lambda: os.utime(path))
    attempt("chmod " + path, lambda: os.chmod(path, 0o777))
    attempt("delete " + path, lambda: os.unlink(path))
    attempt("rename " + path, lambda: os.rename(path, path + ".old"))
    attempt("take a writable link to " + path, lambda: (os.link(path, "linked"), write("linked", "a")) and True)
for path in ("/cache/python", "/nix", "/"):
    attempt("remount " + path, apart(lambda: remount(path)))
def writable(point, options):
    return point.startswith(("/cache", "/nix", "/usr")) and "rw" in options.split(",")
for line in open("/proc/self/mountinfo"):
    point, options = line.split()[4:6]
    attempt(f"have {point} mounted writable", lambda: writable(point, options))
