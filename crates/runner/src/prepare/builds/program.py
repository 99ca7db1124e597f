# Runs in the sandbox that may run code of packages; a line in front of it sets ORDER. Leaves its answer in `out`.
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig

OUT = os.path.join(os.getcwd(), "out")
CACHE = os.path.join(os.environ["TMPDIR"], "uv-cache")
HEAD_BYTES, TAIL_BYTES = 2 << 10, 8 << 10


def compilers():
    """The compilers that are there, if the interpreter was made with others, as Debian's was."""
    names = {"CC": "gcc", "CXX": "g++"}
    own = {key: (sysconfig.get_config_var(key) or "").split()[:1] for key in names}
    return {key: name for key, name in names.items()
            if shutil.which(name) and not (own[key] and shutil.which(own[key][0]))}


def uv(*arguments):
    """Runs uv with the empty cache of this sandbox; returns its exit code, and beginning and end of what it said."""
    environment = {**compilers(), **os.environ, **ORDER["variables"], "UV_CACHE_DIR": CACHE}
    with open("said", "wb") as said:
        command = [ORDER["uv"], *arguments, *ORDER["arguments"]]
        code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said).returncode
    with open("said", "rb") as said:
        text = said.read(HEAD_BYTES)
        rest = os.path.getsize("said") - HEAD_BYTES
        if rest > TAIL_BYTES:
            text += b"\n[...]\n"
            said.seek(-TAIL_BYTES, os.SEEK_END)
        return code, (text + said.read()).decode("utf-8", "replace")


def only_binary(built=None):
    """Packages that may not be built, also as requirements of a build; the package that is built is not among them."""
    names = [name for name in ORDER["only_binary"] if name != built]
    return [part for name in names for part in ("--only-binary", name)]


def answer(**fields):
    with open(os.path.join(OUT, "answer.json"), "w") as file:
        json.dump(fields, file)
    sys.exit()


def write(name, text):
    with open(name, "w") as file:
        file.write(text)
    return name


def needs_build(name, version, wheels):
    """True if none of a version's wheels fits the interpreter; uv decides where the tags do not say it."""
    if not wheels:
        return True
    python = {"py3", "py3%d" % sys.version_info[1], "py2.py3"}
    for wheel in wheels:
        tags = wheel[: -len(".whl")].split("-")[-3:]
        if tags[1:] == ["none", "any"] and python & {tags[0], *tags[0].split(".")}:
            return False
    code, _ = uv("pip", "compile", write("pin.txt", f"{name}=={version}\n"), "--python", ORDER["python"], "--no-deps",
                 "--no-build", "--output-file", "pin.lock")
    return code != 0


def build_requirements(name, version):
    """What a source distribution needs to be built, as its text says."""
    for source in glob.glob(os.path.join(CACHE, "sdists-*", "**", name, version, "*", "src"), recursive=True):
        try:
            with open(os.path.join(source, "pyproject.toml"), encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError):
            text = ""
        system = re.search(r"^\[build-system\]\s*$(.*?)(?=^\[|\Z)", text, re.M | re.S)
        found = system and re.search(r"^requires\s*=\s*\[(.*?)\]\s*$", system[1], re.M | re.S)
        return re.findall(r"[\"']([^\"']+)[\"']", found[1]) if found else ["setuptools>=40.8.0"]
    return []


def with_older(run):
    """Runs uv; once more with an older setuptools if a build misses a module that was part of it. Also returns whether it did."""
    code, said = run([])
    if code == 0 or not ORDER["older"] or "No module named 'pkg_resources'" not in said:
        return code, said, False
    return *run(["--build-constraints", write("older.txt", ORDER["older"])]), True


def resolve():
    requirements = write("requirements.txt", ORDER["requirements"])
    arguments = ["pip", "compile", requirements, "--python", ORDER["python"], "--format", "pylock.toml",
                 "--output-file", "pylock.toml"]
    if ORDER["constraints"]:
        arguments += ["--constraints", write("constraints.txt", ORDER["constraints"])]
    code, said, older = with_older(lambda more: uv(*arguments, *more, *only_binary()))
    if code != 0:
        answer(said=said)
    with open("pylock.toml", encoding="utf-8") as file:
        blocks = file.read().split("[[packages]]\n")[1:]
    packages = []
    for block in blocks:
        name, version = (re.search(rf'^{key} = "([^"]+)"', block, re.M) for key in ("name", "version"))
        sdist = re.search(r'^sdist = .*sha256 = "([0-9a-f]{64})"', block, re.M)
        if name and version and sdist and needs_build(name[1], version[1], re.findall(r'/([^/"]+\.whl)"', block)):
            packages.append({"name": name[1], "version": version[1], "sha256": sdist[1],
                             "requires": build_requirements(name[1], version[1]), "older": older})
    answer(packages=packages)


def build():
    name, version = ORDER["name"], ORDER["version"]
    requirement = write("requirements.txt", f"{name}=={version} --hash=sha256:{ORDER['sha256']}\n")
    # uv compares the hash before any code of the package runs, and only its own code has run here before.
    arguments = ["pip", "install", "--python", ORDER["python"], "--no-deps", "--no-binary", name, "--require-hashes",
                 "--target", "installed", "--requirements", requirement]
    if ORDER["constraints"]:
        arguments += ["--build-constraints", write("constraints.txt", ORDER["constraints"])]
    code, said = uv(*arguments, *only_binary(name))
    if code != 0:
        answer(said=said)
    found = glob.glob(os.path.join(CACHE, "sdists-*", "**", name, version, "**", "*.whl"), recursive=True)
    wheels = [path for path in found if os.path.isfile(path)]
    if len(wheels) != 1:
        answer(said=f"error: building {name} made {len(wheels)} wheels\n")
    shutil.move(wheels[0], OUT)
    answer(wheel=os.path.basename(wheels[0]))


def commit():
    name = ORDER["name"]
    requirement = write("requirements.txt", f"{name} @ {ORDER['address']}\n")
    arguments = ["pip", "install", "--python", ORDER["python"], "--no-deps", "--target", "installed", "--requirements",
                 requirement]
    if ORDER["constraints"]:
        arguments += ["--build-constraints", write("constraints.txt", ORDER["constraints"])]
    code, said = uv(*arguments, *only_binary(name))
    if code != 0:
        answer(said=said)
    found = glob.glob(os.path.join(CACHE, "sdists-*", "git", "**", "*.whl"), recursive=True)
    wheels = [path for path in found if os.path.isfile(path)]
    if len(wheels) != 1:
        answer(said=f"error: building {name} made {len(wheels)} wheels\n")
    shutil.move(wheels[0], OUT)
    answer(wheel=os.path.basename(wheels[0]))


os.makedirs(OUT)
{"resolve": resolve, "build": build, "commit": commit}[ORDER["work"]]()
