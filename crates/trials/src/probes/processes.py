# Starts processes and threads until it may no more.
started = []
def fork():
    while len(started) <= KNOWN["most"]:
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        started.append(child)
    return len(started)
attempt(f"run more than {KNOWN['most']} processes", fork)
for child in started:
    os.kill(child, 9)
for child in started:
    os.waitpid(child, 0)
end, threads = threading.Event(), []
threading.stack_size(64 << 10)
def spread():
    while len(threads) <= KNOWN["most"]:
        thread = threading.Thread(target=end.wait, args=(20,), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        threads.append(thread)
    return len(threads)
attempt(f"run more than {KNOWN['most']} threads", spread)
end.set()
