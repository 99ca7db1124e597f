# Listens for whoever comes until somebody does, or five seconds are over.
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
def listen():
    server.bind(("0.0.0.0", KNOWN["port"]))
    server.listen()
    server.settimeout(5)
    print("listening", flush=True)
    connection, _ = server.accept()
    return True
attempt("be reached from this machine", listen)
