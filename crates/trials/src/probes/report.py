# Looks for the runner's report channel everywhere, and writes a report of its own there.
import glob
forged = (b'{"report":"finished","end":"exited","code":0,"cache":{"python":{"status":"hit"},"system":{"status":"hit"}},'
          b'"timeline":{"spans":[],"total_us":1},"stdout":{"written_bytes":0,"passed_bytes":0},'
          b'"stderr":{"written_bytes":0,"passed_bytes":0},"resolved":{"python":["forged==1"]}}\n')
def write(path):
    os.write(os.open(path, os.O_WRONLY), forged)
for number in range(3, 1024):
    attempt(f"write to descriptor {number}", lambda: os.write(number, forged) and True)
runner = os.getppid()
for pid in {1, runner}:
    for path in sorted(set(glob.glob(f"/proc/{pid}/fd/*")) | {f"/proc/{pid}/fd/{number}" for number in range(64)}):
        attempt("write to " + path, lambda: write(path))
    attempt(f"open the memory of process {pid}", lambda: os.open(f"/proc/{pid}/mem", os.O_RDWR) and True)
    attempt(f"read the variables of process {pid}", lambda: len(open(f"/proc/{pid}/environ").read()) > 0)
    attempt(f"trace process {pid}", apart(lambda: call(101, 0x4206, pid, 0, 0)))
    def steal(pid=pid):
        handle = libc.syscall(434, pid, 0)
        taken = [number for number in range(64) if handle >= 0 and libc.syscall(438, handle, number, 0) >= 0]
        return f"descriptors {taken}" if taken else False
    attempt(f"take descriptors of process {pid}", apart(steal))
    attempt(f"kill process {pid}", apart(lambda: os.kill(pid, 9) if KNOWN["kill"] else False))
for path in ("/dev/termination-log", "/handover/ready", "/var/run/argo/x", "/var/run/secrets/kubernetes.io/serviceaccount/token"):
    attempt("write to " + path, lambda: write(path))
    attempt("read " + path, lambda: len(open(path).read()) > 0)
