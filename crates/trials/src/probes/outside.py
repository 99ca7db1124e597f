# Devices, settings of the kernel, and processes of others.
def read(path):
    with open(path, "rb") as file:
        return len(file.read(64)) > 0
def write(path):
    with open(path, "w") as file:
        file.write("0")
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
             "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper", "/proc/1/oom_score_adj"):
    attempt("write " + path, lambda: write(path))
for path in ("/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/loop-control",
             "/proc/kcore", "/proc/kmsg", "/etc/shadow", "/var/run/docker.sock", "/run/containerd/containerd.sock"):
    attempt("open " + path, lambda: os.open(path, os.O_RDWR) and True)
attempt("open the terminal", lambda: os.open("/dev/tty", os.O_RDWR) and True)
attempt("see processes of others", lambda: [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid(), os.getppid())] or False)
for pid in (1, os.getppid()):
    attempt(f"reach the root folder of process {pid}", lambda: os.listdir(f"/proc/{pid}/root") and True)
