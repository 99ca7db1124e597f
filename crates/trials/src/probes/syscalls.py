# Kernel interfaces that a Python program of a tenant does not need and escapes begin with (numbers of x86-64).
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
for name, flag in (("user", NEWUSER), ("user and mount", NEWUSER | NEWNS), ("user and network", NEWUSER | NEWNET),
                   ("mount", NEWNS), ("network", NEWNET), ("time", NEWTIME)):
    attempt(f"unshare a {name} namespace", apart(lambda: call(272, flag)))
def clone(number, *arguments):
    def run():
        result = libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")
        if result == 0:
            os._exit(0)
        os.waitpid(result, 0)
        return True
    return run
attempt("clone into a user namespace", apart(clone(56, ctypes.c_long(NEWUSER | 17), None, None, None, None)))
class Clone(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack",
                                                     "stack_size", "tls", "set_tid", "set_tid_size", "cgroup")]
attempt("clone3 into a user namespace", apart(clone(435, ctypes.byref(Clone(flags=NEWUSER, exit_signal=17)), ctypes.c_long(88))))
attempt("io_uring_setup", apart(lambda: call(425, 1, ctypes.create_string_buffer(120))))
attempt("a vsock socket", lambda: socket.socket(40, socket.SOCK_STREAM).close())
attempt("add_key", apart(lambda: call(248, b"user", b"trial", b"x", 1, -2)))
attempt("keyctl", apart(lambda: call(250, 0, -3, 0)))
attempt("bpf", apart(lambda: call(321, 0, ctypes.create_string_buffer((2).to_bytes(4, "little") + (4).to_bytes(4, "little") * 2
                                                                          + (1).to_bytes(4, "little"), 120), 48)))
class Perf(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32), ("size", ctypes.c_uint32), ("config", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 12)]
perf = Perf(type=1, size=112, config=0)
perf.rest[3] = 1 << 5 | 1 << 6
attempt("perf_event_open", apart(lambda: call(298, ctypes.byref(perf), 0, -1, -1, 0)))
attempt("userfaultfd", apart(lambda: call(323, 1)))
attempt("name_to_handle_at", apart(lambda: call(303, -100, b"/usr", ctypes.create_string_buffer((64).to_bytes(4, "little"), 80),
                                                ctypes.byref(ctypes.c_int()), 0)))
attempt("mount", apart(lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None)))
attempt("open_tree", apart(lambda: call(428, -100, b"/usr", 1)))
attempt("fsopen", apart(lambda: call(430, b"tmpfs", 0)))
attempt("process_vm_readv of another process", apart(lambda: call(310, 1, None, 0, None, 0, 0)))
attempt("ptrace of another process", apart(lambda: call(101, 0x4206, 1, None, None)))
attempt("kcmp with another process", apart(lambda: call(312, 1, os.getpid(), 0, 0, 0)))
attempt("setting the kernel's log level", apart(lambda: call(103, 8, None, 8)))
attempt("reading the kernel's log", apart(lambda: call(103, 3, ctypes.create_string_buffer(4096), 4096)))
for name, kind in (("AF_PACKET", 17), ("AF_ALG", 38), ("AF_CAN", 29), ("AF_RDS", 21), ("AF_TIPC", 30), ("AF_XDP", 44)):
    attempt(f"a socket of {name}", lambda: socket.socket(kind, socket.SOCK_SEQPACKET if kind == 38 else socket.SOCK_RAW).close())
# Characters typed for the person at the terminal (CVE-2017-5226), also with high bits set (CVE-2019-10063).
for request in (0x5412, 0x541C):
    attempt(f"terminal request {request:#x}", apart(lambda: call(16, os.open("/dev/tty", os.O_RDWR), request, b"x")))
