# Asks the kernel for routes: connecting a datagram socket sends nothing.
def route(family, host):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, 80))
        return "from " + sock.getsockname()[0]
for host in ("169.254.169.254", "169.254.170.2", "169.254.1.1"):
    attempt("a route to " + host, lambda: route(socket.AF_INET, host))
for host in ("fe80::a9fe:a9fe", "fd00:ec2::254"):
    for index, name in socket.if_nameindex():
        if name != "lo":
            attempt(f"a route to {host} by {name}", lambda: route(socket.AF_INET6, host if host.startswith("fd") else f"{host}%{name}"))
