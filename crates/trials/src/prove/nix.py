"""Stands in for Nix in a replay: makes store paths of given sizes, tells closures, and collects what has no root.

What each package is made of stands in a file beside this program: a line for each store path with its name, blocks and
inodes, the package's own path first.
"""
import json
import os
import shutil
import sys

STORE = os.path.join(@ROOT@, "store")
ROOTS = os.path.join(@ROOT@, "var/nix/gcroots/hybrid-cache")
SPECS = @SPECS@
BLOCK = b"x" * 4096


def spec(package):
    with open(os.path.join(SPECS, package)) as lines:
        return [(name, int(blocks), int(inodes)) for name, blocks, inodes in map(str.split, lines)]


def make(name, blocks, inodes):
    """A folder of so many inodes that take so many blocks."""
    path = os.path.join(STORE, name)
    if os.path.exists(path):
        return
    building = os.path.join(STORE, "." + name)
    shutil.rmtree(building, ignore_errors=True)
    os.mkdir(building)
    files = inodes - 1
    folders = 0
    while files - folders > 100 * max(folders, 1):
        folders += 1
    files -= folders
    blocks -= 1 + folders
    for number in range(folders):
        os.mkdir(os.path.join(building, str(number)))
    for number in range(files):
        inside = str(number % folders) if folders else ""
        with open(os.path.join(building, inside, "f%d" % number), "wb") as file:
            for _ in range(blocks // files + (number < blocks % files)):
                file.write(BLOCK)
    os.rename(building, path)
    # As Nix leaves what it has finished.
    os.utime(path, (1, 1))


def closure(path):
    return spec(os.path.basename(path).split("-", 1)[1])


def main(arguments):
    if arguments[0] == "build":
        packages = [one.split("#", 1)[1] for one in arguments if "#" in one]
        for package in packages:
            for name, blocks, inodes in spec(package):
                make(name, blocks, inodes)
        path = lambda package: os.path.join(STORE, spec(package)[0][0])
        print(json.dumps([{"drvPath": package, "outputs": {"out": path(package)}} for package in packages]))
    elif arguments[0] == "path-info":
        found = {}
        for path in (one for one in arguments[1:] if not one.startswith("--")):
            found.update({name: blocks * 4096 for name, blocks, _ in closure(path)})
        print(json.dumps([{"path": os.path.join(STORE, name), "narSize": size} for name, size in found.items()]))
    elif arguments[:2] == ["store", "gc"]:
        needed = set()
        for folder, folders, files in os.walk(ROOTS):
            for name in folders + files:
                root = os.path.join(folder, name)
                if os.path.islink(root):
                    needed.update(name for name, _, _ in closure(os.readlink(root)))
        for name in os.listdir(STORE):
            if name not in needed:
                shutil.rmtree(os.path.join(STORE, name))


try:
    main(sys.argv[1:])
except OSError as error:
    # In Nix's words.
    sys.exit("error: writing to the store: %s" % error.strerror)
