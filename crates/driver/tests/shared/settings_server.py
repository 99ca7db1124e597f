# A package index, a place of wheels and git repositories at an address of this machine. The plan is JSON on standard input; the first line of
# output is the port, and each request is written to the log as `path authorization`.
import base64
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

PLAN = json.load(sys.stdin)
BACKEND = '''
import os, sys, zipfile
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(folder, config_settings=None, metadata_directory=None):
    wheel = f"{NAME}-{VERSION}-py3-none-any.whl"
    info = f"{NAME}-{VERSION}.dist-info"
    seen = {key: value for key, value in os.environ.items()}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/environ") as file:
                seen[entry] = file.read()
        except OSError:
            pass
    files = {f"{NAME}.py": f"VERSION = {VERSION!r}\\nSEEN = {seen!r}\\n",
             f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, wheel), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
'''
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def wheel(name, version, text, needs):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {f"{name}.py": text, f"{info}/METADATA": metadata,
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content)
    return f"{name}-{version}-py3-none-any.whl", packed.getvalue()


def sdist(name, version):
    packed = io.BytesIO()
    requires = 'requires = ["ours"]' if name == "needing" else "requires = []"
    files = {"PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
             "pyproject.toml": PROJECT.replace("requires = []", requires),
             "backend.py": f"NAME, VERSION = {name!r}, {version!r}\n{BACKEND}"}
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", packed.getvalue()


def repository(folder, name, version):
    """A bare repository that is served as plain files; returns its commit."""
    work = os.path.join(folder, "work")
    os.makedirs(work)
    for path, text in {"pyproject.toml": PROJECT, "backend.py": f"NAME, VERSION = {name!r}, {version!r}\n{BACKEND}"}.items():
        with open(os.path.join(work, path), "w") as file:
            file.write(text)
    bare = os.path.join(folder, f"{name}.git")
    identity = ["-c", "user.name=t", "-c", "user.email=t@t.test"]
    for command in (["init", "-q", "."], ["add", "."], [*identity, "commit", "-q", "-m", "x"],
                    ["clone", "-q", "--bare", ".", bare], ["--git-dir", bare, "update-server-info"]):
        subprocess.run(["git", *command], cwd=work, check=True, stdout=subprocess.DEVNULL)
    shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=work, check=True, stdout=subprocess.PIPE, text=True)
    return shown.stdout.strip()


FILES = dict([wheel(name, version, text, needs) for name, version, text, needs in PLAN["wheels"]])
FILES.update([sdist(name, version) for name, version in PLAN["sdists"]])
LOGIN = PLAN["login"] and "Basic " + base64.b64encode(PLAN["login"].encode()).decode()
COMMITS = [repository(PLAN["folder"], name, version) for name, version in PLAN["repositories"]]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        authorization = self.headers.get("Authorization")
        with open(PLAN["log"], "a") as log:
            log.write(f"{self.path} {authorization}\n")
        if LOGIN and authorization != LOGIN:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=packages")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        kind, _, rest = self.path.split("?")[0].lstrip("/").partition("/")
        if kind == "leads-on":
            self.send_response(302)
            self.send_header("Location", f"{PLAN['leads_on']}/files/{rest}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if kind == "simple":
            package = rest.strip("/").replace("-", "_")
            place = PLAN["leads_on"] if LOGIN else ""
            links = [f'<a href="{place}/files/{file}">{file}</a>' for file in FILES if file.split("-")[0] == package]
            return self.answer("\n".join(links).encode() if links else None, "text/html")
        if kind == "files":
            return self.answer(FILES.get(rest.replace("%2B", "+")), "application/octet-stream")
        path = os.path.join(PLAN["folder"], kind, rest)
        if kind.endswith(".git") and os.path.isfile(path):
            with open(path, "rb") as file:
                return self.answer(file.read(), "application/octet-stream")
        return self.answer(None, "")

    do_HEAD = do_GET

    def answer(self, body, kind):
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((PLAN["address"], 0), Handler)
print(server.server_address[1], *COMMITS, flush=True)
server.serve_forever()
