# Looks for ways to the metadata services of clouds. A datagram that may make one hop is answered by the first router: either
# there is no way, or its time is over, which means that it would have been passed on. It never leaves this machine.
import select, struct
def way(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, 9))
        own = sock.getsockname()[0]
        if own in KNOWN["addresses"]:
            return f"by this machine's own address {own}"
        sock.setsockopt(socket.IPPROTO_IP, 11, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        sock.send(b"")
        poll = select.poll()
        poll.register(sock, select.POLLERR)
        if not poll.poll(1000):
            return False
        for level, kind, data in sock.recvmsg(0, 512, 0x2000)[1]:
            if (level, kind) == (socket.IPPROTO_IP, 11):
                origin, icmp = struct.unpack("IBB", data[:6])[1:]
                return "a router passes it on" if (origin, icmp) == (2, 11) else False
        return False
for host in ("169.254.169.254", "169.254.170.2", "169.254.1.1"):
    attempt("a way to " + host, lambda: way(host))
