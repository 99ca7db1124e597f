# The password is never whole in this text, so that what holds it has it from somewhere else.
PASSWORD = "".join(KNOWN["halves"]).encode()
def holds(path):
    def look():
        with open(path, "rb") as file:
            return PASSWORD in file.read(1 << 20)
    return look
attempt("its variables hold the password", lambda: any(PASSWORD in value for value in os.environb.values()))
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        attempt(f"/proc/{process}/{name} holds the password", holds(f"/proc/{process}/{name}"))
for top in ("/task", "/run", "/etc", "/root", "/home", "/hybrid-cache", "/handover", "/builds", "/tmp", os.getcwd()):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                attempt(f"{path} holds the password", holds(path))
