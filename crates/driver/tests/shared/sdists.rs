//! Source distributions for tests of builds, on this machine and in pods.

use std::path::Path;
use std::process::{Command, Stdio};

/// Writes source distributions into a folder: the input has name, version and build backend of each.
const WRITE_SDISTS: &str = r#"
import io, json, re, sys, tarfile
for name, version, backend in json.load(sys.stdin):
    requires = re.findall('# requires (.+)', backend)
    with tarfile.open(f"{sys.argv[1]}/{name}-{version}.tar.gz", "w:gz") as archive:
        files = {
            "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
            "pyproject.toml": f'[build-system]\nrequires = {requires}\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": f"NAME, VERSION = {name!r}, {version!r}\n" + backend,
        }
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
"#;

/// A backend whose wheel has one module with a text of its own for each build. `hook` runs as it is imported; a comment
/// `# requires NAME` in it is a build requirement.
fn backend(hook: &str) -> String {
    format!(
        r#"
import os, random, sys, zipfile
FILES = {{}}
WHEEL = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    files = {{f"{{NAME}}.py": f"BUILD = {{random.getrandbits(64)}}\n",
              f"{{info}}/METADATA": f"Metadata-Version: 2.1\nName: {{NAME}}\nVersion: {{VERSION}}\n",
              f"{{info}}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n", **FILES}}
    files[f"{{info}}/RECORD"] = "".join(f"{{path}},,\n" for path in [*files, f"{{info}}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, WHEEL), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return WHEEL
{hook}
"#
    )
}

/// Writes source distributions of these packages (name, version, hook of the backend) into `folder`.
pub fn write(python: &str, folder: &Path, packages: &[(&str, &str, &str)]) {
    let plan: Vec<_> = packages
        .iter()
        .map(|(name, version, hook)| (name, version, backend(hook)))
        .collect();
    let mut writer = Command::new(python)
        .args(["-c", WRITE_SDISTS])
        .arg(folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(writer.stdin.take().unwrap(), &plan).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// A hook that compiles a module with the compiler on its search path.
pub const COMPILES: &str = r#"
import subprocess, sysconfig
with open("compiled.c", "w") as file:
    file.write('#include <Python.h>\nstatic struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "compiled"};\n'
               'PyMODINIT_FUNC PyInit_compiled(void) { return PyModule_Create(&m); }\n')
def build_wheel(folder, config_settings=None, metadata_directory=None, made=build_wheel):
    include = sysconfig.get_paths()["include"]
    subprocess.run(["gcc", "-shared", "-fPIC", "-I", include, "compiled.c", "-o", "compiled.so"], check=True)
    with open("compiled.so", "rb") as file:
        FILES["compiled.so"] = file.read()
    return made(folder)
"#;
