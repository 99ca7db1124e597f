#!/usr/bin/env python3
"""Measure what real packages take on a volume, and write packages.json. Run by hand: the sizes are data, not code.

    python3 measure.py python UV PYTHON WORK PACKAGE...   one environment for each package; results in WORK/python.json
    python3 measure.py system WORK NIX...                 every set in the index of each Nix folder; WORK/system.json
    python3 measure.py debs WORK PINS DEBS                adds the sets of debnix's pins that no index has, from Debian packages
    python3 measure.py join WORK PACKAGE...               packages.json of both; packages in the order of their popularity

For each Python distribution this counts allocated bytes (st_blocks times 512) and inodes of its unpacked wheel, of its
bytecode, and of what each environment has of its own: folders and links. For each store path it counts all of it.
"""
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile


def taken(paths):
    seen, blocks = set(), 0
    for path in paths:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if found.st_ino not in seen:
            seen.add(found.st_ino)
            blocks += found.st_blocks
    return [blocks * 512, len(seen)]


def run(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def distribution(python, site, found):
    files = [site / file for file in found.files or [] if "__pycache__" not in file.parts and ".." not in file.parts]
    folders = {site / parent for file in files for parent in file.relative_to(site).parents if str(parent) != "."}
    tops = [str(folder) for folder in folders if folder.parent == site and ".dist-info" not in folder.name]
    run(python, "-m", "compileall", "-q", *tops, *[str(file) for file in files if file.parent == site and file.suffix == ".py"])
    caches = [folder / "__pycache__" for folder in folders if (folder / "__pycache__").is_dir()]
    return {
        "wheel": taken(files + list(folders)),
        "bytecode": taken(caches + [file for cache in caches for file in cache.iterdir()]),
        "own": [4096 * len(folders), len(folders) + len(caches)],
    }


def python_packages(uv, python, work, roots):
    result = {"distributions": {}, "roots": {}}
    for root in roots:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            venv = pathlib.Path(folder, "venv")
            run(uv, "venv", "--python", python, str(venv))
            install = ["pip", "install", "--only-binary", ":all:", "--link-mode", "copy", "--python", str(venv / "bin/python")]
            done = run(uv, *install, root)
            if done.returncode:
                print(f"skipped {root}: {done.stderr[-200:]}", file=sys.stderr)
                continue
            site = next((venv / "lib").glob("python*/site-packages"))
            closure = []
            for found in importlib.metadata.distributions(path=[str(site)]):
                name = found.metadata["Name"].lower().replace("_", "-")
                closure.append(name)
                if name not in result["distributions"]:
                    result["distributions"][name] = distribution(python, site, found)
            result["roots"][root] = sorted(closure)
        pathlib.Path(work, "python.json").write_text(json.dumps(result))


def system_sets(work, folders):
    paths, sets = {}, {}
    for folder in map(pathlib.Path, folders):
        for entry in folder.glob("var/hybrid-cache/tenants/*/index/*.json"):
            read = json.loads(entry.read_text())
            names = []
            for path in read["closure"]:
                name = path.rsplit("/", 1)[1]
                names.append(name[33:])
                top = folder / "store" / name
                below = [os.path.join(at, one) for at, folders, files in os.walk(top) for one in folders + files]
                paths[name[33:]] = taken([top, *below])
            sets[" ".join(read["packages"])] = sorted(names)
    pathlib.Path(work, "system.json").write_text(json.dumps({"paths": paths, "sets": sets}))


def debs(work, pins, packages):
    system = json.loads(pathlib.Path(work, "system.json").read_text())
    sets = json.loads(pathlib.Path(pins).read_text())["arch"]["x86_64"]["set"]
    sets = {name: packages for name, packages in sets.items() if name not in system["sets"]}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        measured = {}
        for deb in pathlib.Path(packages).glob("*.deb"):
            out = os.path.join(folder, deb.name)
            run("dpkg", "-x", str(deb), out)
            below = [os.path.join(at, one) for at, inner, files in os.walk(out) for one in inner + files]
            measured[deb.name.split("_")[0]] = taken(below)
    for name, packages in sets.items():
        paths = {}
        for package in packages:
            # As debnix does it: each library is a store path of its own, everything else of a set is one.
            path = f"libs-{package}" if package.startswith("lib") else name
            before, found = paths.get(path, [0, 0]), measured.get(package, [0, 0])
            paths[path] = [before[0] + found[0], before[1] + found[1]]
        for path, weight in paths.items():
            # What a store has is as it is; the rest is as dpkg unpacks it.
            system["paths"].setdefault(path, weight)
        system["sets"][name] = sorted(paths)
    pathlib.Path(work, "system.json").write_text(json.dumps(system))


def join(work, popular):
    python = json.loads(pathlib.Path(work, "python.json").read_text())
    system = json.loads(pathlib.Path(work, "system.json").read_text())
    for found in python["distributions"].values():
        found.pop("version", None)
    python["popular"] = [name for name in popular if name in python["roots"]]
    for names in (["gcc", "gnumake"], ["cmake", "gcc", "gnumake"], ["gcc", "git"]):
        if all(name in system["sets"] for name in names):
            system["sets"][" ".join(names)] = sorted({path for name in names for path in system["sets"][name]})
    order = ["gcc", "git", "gnumake", "gcc gnumake", "curl", "cmake", "cmake gcc gnumake", "jq"]
    rank = lambda name: order.index(name) if name in order else len(order)
    system["sets"] = sorted(system["sets"].items(), key=lambda one: (rank(one[0]), one[0]))
    lines = []
    for part, value in (("python", python), ("system", system)):
        inner = []
        for key, content in value.items():
            if isinstance(content, dict):
                rows = ",\n".join(f"   {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in sorted(content.items()))
                inner.append(f'  "{key}": {{\n{rows}\n  }}')
            else:
                rows = ",\n".join(f"   {json.dumps(row, separators=(',', ':'))}" for row in content)
                inner.append(f'  "{key}": [\n{rows}\n  ]')
        lines.append(f' "{part}": {{\n' + ",\n".join(inner) + "\n }")
    target = pathlib.Path(__file__).with_name("packages.json")
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "python":
        python_packages(*arguments[:3], arguments[3:])
    elif what == "debs":
        debs(*arguments)
    elif what == "system":
        system_sets(arguments[0], arguments[1:])
    else:
        join(arguments[0], arguments[1:])
