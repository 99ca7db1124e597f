# The Python of a standby pod imports this file instead of sitecustomize.py. It does the rest of a start, imports modules and waits for
# a task. Then Python goes on as usual: it runs main.py, of which nothing in this file is a caller.
import os
import sys


def prepare(link, site, modules):
    os.set_inheritable(link, False)
    here = os.path.dirname(__file__)
    # From here on everything is as in a task: the import path, and what a Python that an import starts is told.
    sys.path[sys.path.index(here)] = site
    sys.path_importer_cache.pop(here, None)
    os.environ["PYTHONPATH"] = site
    del sys.modules[__name__]
    failed = None
    try:
        import sitecustomize  # noqa: F401
    except Exception as error:
        # site ignores it if there is no such module, and shows any other error.
        failed = error

    def send(message):
        message = len(message).to_bytes(4, "little") + message
        while message:
            message = message[os.write(link, message) :]

    def receive(count):
        received = bytearray()
        while len(received) < count:
            piece = os.read(link, count - len(received))
            if not piece:
                os._exit(1)
            received += piece
        return bytes(received)

    before = dict(os.environ)
    send(load(modules))
    try:
        has_input, *fields = receive(int.from_bytes(receive(4), "little")).split(b"\0")
        start = 1 + int(fields[0])
        arguments = [os.fsdecode(field) for field in fields[1:start]]
        sys.argv[1:] = arguments
        if hasattr(sys, "orig_argv"):
            sys.orig_argv.extend(arguments)
        # What imports have changed stays changed, as if they had run in the task.
        after = dict(os.environ)
        os.environ.clear()
        os.environb.update(zip(fields[start::2], fields[start + 1 :: 2]))
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                os.environ.pop(name, None)
                if name in after:
                    os.environ[name] = after[name]
        if has_input == b"1":
            os.lseek(0, 0, os.SEEK_SET)
        else:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
        os.write(link, b".")
        os.close(link)
    except BaseException:
        os._exit(1)
    return failed


def load(modules):
    """Imports the modules. Returns what the runner is told: the variables that were read, or why it failed."""
    read = set()
    kind = type(os.environ)
    get, iterate = kind.__getitem__, kind.__iter__

    def noted_get(self, name):
        read.add(os.fsencode(name))
        return get(self, name)

    def noted_iterate(self):
        read.add(b"")
        return iterate(self)

    main, module = sys.modules["__main__"], ""
    kind.__getitem__, kind.__iter__ = noted_get, noted_iterate
    try:
        # Some modules look there for whether a person types.
        main.__file__ = sys.argv[0]
        for module in modules:
            __import__(module)
        del main.__file__
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except BaseException as error:
        return f"-{module}: {type(error).__name__}: {error}".encode(errors="replace")[:1000]
    finally:
        kind.__getitem__, kind.__iter__ = get, iterate
    # Without a name: all variables were read.
    return b"*" if b"" in read or len(read) > 1000 else b"+" + b"\0".join(read)


def raise_if(failed):
    if failed:
        raise failed
