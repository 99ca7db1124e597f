# Connects to what the trial listens on: on loopback, on this machine's other addresses, on an abstract socket.
def tcp(host, port):
    with socket.create_connection((host, port), timeout=2) as connection:
        return connection.recv(5) == b"trial"
def unix(name):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect("\0" + name)
        return connection.recv(5) == b"trial"
for host, port in KNOWN["listening"]:
    attempt(f"connect to {host} port {port}", lambda: tcp(host, port))
for name in KNOWN["abstract"]:
    attempt(f"connect to the abstract socket {name}", lambda: unix(name))
