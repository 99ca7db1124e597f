# Takes memory in steps, and says how much it got before each further step.
import mmap
kept, step = [], 16 << 20
print("begins", flush=True)
while len(kept) * step < KNOWN["most"]:
    memory = mmap.mmap(-1, step)
    for at in range(0, step, 4096):
        memory[at] = 1
    kept.append(memory)
attempt(f"take more than {KNOWN['most'] >> 20} MiB", lambda: True)
