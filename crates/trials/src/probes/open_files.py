# Opens one file after the other.
files = []
def more():
    while len(files) < KNOWN["most"] + 8:
        files.append(os.open("/dev/null", os.O_RDONLY))
    return len(files)
import resource
def raised():
    resource.setrlimit(resource.RLIMIT_NOFILE, (KNOWN["most"] * 4, KNOWN["most"] * 4))
    return True
try:
    attempt(f"raise the limit beyond {KNOWN['most']}", raised)
except ValueError:
    pass
attempt(f"open more than {KNOWN['most']} files", more)
for file in files:
    os.close(file)
