//! The Python that environments are made for: the real executable behind `python3`, not a shim or a virtual environment.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hybrid_cache_model::python_start::{COMPILE, SITECUSTOMIZE};
use serde::{Deserialize, Serialize};

use crate::environment;
use crate::process;
use crate::tool_error::ToolError;

/// The oldest Python that tasks are supported on.
const OLDEST: (u32, u32) = (3, 8);
/// The newest minor version whose program is looked for.
const NEWEST_LOOKED_FOR: u32 = 20;

/// An interpreter, described by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PythonInterpreter {
    /// The base executable.
    pub path: PathBuf,
    /// The installation it belongs to; it must be visible wherever the interpreter runs.
    pub base_prefix: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// `cpython`.
    pub implementation: String,
    /// `cpython-311-x86_64-linux-gnu`.
    pub soabi: String,
    /// `cpython-311`: the middle of a bytecode file's name.
    pub cache_tag: String,
    /// `linux-x86_64`.
    pub platform: String,
    /// `glibc 2.36`; empty for another C library.
    #[serde(default)]
    pub libc: String,
    /// Digest of the executable's bytes.
    #[serde(default)]
    pub blake3: String,
    /// Its bytecode of what tasks run at their start, in Base64.
    #[serde(default)]
    pub start: String,
}

const PROBE: &str = "
import json, os, sys, sysconfig
try:
    libc = os.confstr('CS_GNU_LIBC_VERSION') or ''
except (ValueError, OSError):
    libc = ''
print(json.dumps({
    'path': os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable),
    'base_prefix': os.path.realpath(sys.base_prefix),
    'version': '.'.join(map(str, sys.version_info[:3])),
    'implementation': sys.implementation.name,
    'soabi': sysconfig.get_config_var('SOABI') or '',
    'cache_tag': sys.implementation.cache_tag or '',
    'platform': sysconfig.get_platform(),
    'libc': libc,
}))
";

/// Asks `python3` of PATH who it is, and checks that it will do.
pub fn find() -> Result<PythonInterpreter, ToolError> {
    let lacking = |problem: String| ToolError::Unavailable {
        tool: "python3",
        problem,
        remedy: format!(
            "install CPython {}.{} or later and put its python3 into PATH",
            OLDEST.0, OLDEST.1
        ),
    };
    let program = process::find("python3").ok_or_else(|| lacking("PATH has no `python3`".into()))?;
    let text = process::output(Command::new(program).args(["-I", "-c", PROBE]), Duration::from_secs(20))?;
    let mut found: PythonInterpreter =
        serde_json::from_str(&text).map_err(|e| lacking(format!("its answer is not understood: {e}")))?;
    if !found.will_do() {
        return Err(lacking(format!(
            "the python3 in PATH is {} {}",
            found.implementation, found.version
        )));
    }
    found.complete()?;
    Ok(found)
}

/// Further interpreters of this machine, at most one for each minor version, the oldest first: `python3.N` of PATH, those
/// that pyenv installed, and those that uv installed.
pub fn others(default: &PythonInterpreter) -> Vec<PythonInterpreter> {
    select(default, ask_all(&candidates()))
}

/// Every interpreter of this machine that tasks may run on, the oldest first.
pub fn installed() -> Vec<PythonInterpreter> {
    let mut found = ask_all(&candidates());
    let home = home();
    found.retain(|one| one.fits(&home));
    found.sort_by_key(PythonInterpreter::numbers);
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// What these say of themselves.
fn ask_all(candidates: &[PathBuf]) -> Vec<PythonInterpreter> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = candidates.iter().map(|path| scope.spawn(move || ask(path))).collect();
        asked.into_iter().filter_map(|one| one.join().ok().flatten()).collect()
    })
}

/// The newest of each minor version that the default does not have.
fn select(default: &PythonInterpreter, mut found: Vec<PythonInterpreter>) -> Vec<PythonInterpreter> {
    let home = home();
    found.retain(|one| one.fits(&home) && one.minor() != default.minor() && one.platform == default.platform);
    found.sort_by_key(|one| std::cmp::Reverse(one.numbers()));
    found.dedup_by_key(|one| one.minor());
    found.reverse();
    found
}

fn ask(program: &Path) -> Option<PythonInterpreter> {
    let text = process::output(Command::new(program).args(["-I", "-c", PROBE]), Duration::from_secs(20)).ok()?;
    let mut found: PythonInterpreter = serde_json::from_str(&text).ok()?;
    // What will not do need not compile anything.
    (found.will_do() && found.complete().is_ok()).then_some(found)
}

/// Real files that may be interpreters, each once.
pub fn candidates() -> Vec<PathBuf> {
    candidates_in(
        &environment::search_path(),
        &[pyenv_root().join("versions"), uv_root(&environment::raw)],
    )
}

/// Those of the folders of a search path, and of folders that hold one installation each in a folder.
fn candidates_in(search_path: &[PathBuf], roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let names = || (OLDEST.1..=NEWEST_LOOKED_FOR).map(|minor| format!("python3.{minor}"));
    for folder in search_path {
        paths.extend(names().map(|name| folder.join(name)));
    }
    for root in roots {
        let installed = std::fs::read_dir(root).into_iter().flatten().flatten();
        for folder in installed.map(|entry| entry.path().join("bin")) {
            paths.extend(names().map(|name| folder.join(name)));
        }
    }
    // A shim of pyenv is a script, and starts whichever version a folder asks for.
    let real = paths.into_iter().filter_map(|path| path.canonicalize().ok());
    let mut real: Vec<PathBuf> = real.filter(|path| !is_script(path)).collect();
    real.sort();
    real.dedup();
    real
}

/// True for a script, such as the shim of pyenv, asdf or mise, which starts another interpreter.
pub fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && &start == b"#!"
}

/// Where pyenv keeps its interpreters.
pub fn pyenv_root() -> PathBuf {
    environment::raw("PYENV_ROOT").map_or_else(|| home().join(".pyenv"), PathBuf::from)
}

/// Where uv keeps its interpreters, as `uv python dir` says it.
fn uv_root(variable: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || variable("HOME").map(PathBuf::from).unwrap_or_default();
    let data = || absolute("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"));
    variable("UV_PYTHON_INSTALL_DIR").map_or_else(|| data().join("uv/python"), PathBuf::from)
}

fn home() -> PathBuf {
    environment::raw("HOME").map(PathBuf::from).unwrap_or_default()
}

impl PythonInterpreter {
    fn numbers(&self) -> Vec<u32> {
        self.version.split('.').filter_map(|part| part.parse().ok()).collect()
    }

    fn minor(&self) -> (u32, u32) {
        let numbers = self.numbers();
        let number = |index: usize| numbers.get(index).copied().unwrap_or_default();
        (number(0), number(1))
    }

    /// Adds what it does not say of itself.
    fn complete(&mut self) -> Result<(), ToolError> {
        self.blake3 = digest(&self.path)?;
        let mut compile = Command::new(&self.path);
        compile.args(["-I", "-c", COMPILE, SITECUSTOMIZE]);
        self.start = process::output(&mut compile, Duration::from_secs(20))?
            .trim()
            .to_owned();
        Ok(())
    }

    /// False for a build without the global lock or for debugging, which few wheels fit.
    fn is_ordinary(&self) -> bool {
        let build = self.soabi.split('-').nth(1).unwrap_or_default();
        build.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// False if its prefix, which tasks see, holds a user's own files.
    fn has_own_folder(&self, home: &Path) -> bool {
        let holds_more = home.starts_with(&self.base_prefix) || self.base_prefix == home.join(".local");
        !holds_more && self.base_prefix != Path::new("/")
    }

    /// True if a person who did not choose it may get it.
    fn fits(&self, home: &Path) -> bool {
        self.will_do() && self.is_ordinary() && self.has_own_folder(home)
    }

    /// True if tasks are supported on it.
    fn will_do(&self) -> bool {
        self.implementation == "cpython" && self.minor() >= OLDEST
    }
}

fn digest(path: &Path) -> Result<String, ToolError> {
    let bytes = std::fs::read(path).map_err(ToolError::io("read", path))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(version: &str, implementation: &str) -> PythonInterpreter {
        PythonInterpreter {
            path: PathBuf::from(version),
            base_prefix: PathBuf::from("/opt/python"),
            version: version.to_owned(),
            implementation: implementation.to_owned(),
            soabi: String::new(),
            cache_tag: String::new(),
            platform: "linux-x86_64".to_owned(),
            libc: String::new(),
            blake3: String::new(),
            start: String::new(),
        }
    }

    #[test]
    fn the_newest_of_each_other_minor_version_is_on_offer() {
        let found = ["3.9.18", "3.12.1", "3.11.9", "3.12.10", "2.7.18", "3.7.16", "3.13.0"];
        let mut found: Vec<_> = found.iter().map(|version| interpreter(version, "cpython")).collect();
        found.push(interpreter("3.14.0", "pypy"));
        let mut free_threaded = interpreter("3.13.1", "cpython");
        free_threaded.soabi = "cpython-313t-x86_64-linux-gnu".to_owned();
        found.push(free_threaded);
        for prefix in [home(), home().join(".local"), PathBuf::from("/")] {
            let mut with_more = interpreter("3.15.0", "cpython");
            with_more.base_prefix = prefix;
            found.push(with_more);
        }
        let others = select(&interpreter("3.11.7", "cpython"), found);
        let versions: Vec<_> = others.iter().map(|one| one.version.as_str()).collect();
        assert_eq!(versions, ["3.9.18", "3.12.10", "3.13.0"]);
    }

    #[test]
    fn the_interpreters_that_uv_and_pyenv_installed_are_found_once_each_and_no_shim_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let link = |target: &str, path: &str| std::os::unix::fs::symlink(target, root.join(path)).unwrap();
        let of_uv = file("uv/cpython-3.12.1-linux-x86_64-gnu/bin/python3.12", "\x7fELF");
        // uv's link for each minor version, and what it leaves behind.
        link("cpython-3.12.1-linux-x86_64-gnu", "uv/cpython-3.12-linux-x86_64-gnu");
        file("uv/.temp/bin/other", "\x7fELF");
        file("uv/.lock", "");
        let of_pyenv = file("versions/3.9.18/bin/python3.9", "\x7fELF");
        file("versions/2.7.18/bin/python2.7", "\x7fELF");
        file("shims/python3.9", "#!/bin/sh\n");
        std::fs::create_dir(root.join("bin")).unwrap();
        link("../versions/3.9.18/bin/python3.9", "bin/python3.9");
        let search_path = ["shims", "bin", "missing"].map(|name| root.join(name));
        let roots = ["versions", "uv", "missing"].map(|name| root.join(name));
        assert_eq!(candidates_in(&search_path, &roots), [of_uv, of_pyenv]);
    }

    #[test]
    fn the_folder_of_uvs_interpreters_is_the_one_that_uv_names() {
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[("HOME", "/home/me")], "/home/me/.local/share/uv/python"),
            (&[("HOME", "/home/me"), ("XDG_DATA_HOME", "/data")], "/data/uv/python"),
            // The specification says that a relative folder does not count.
            (
                &[("HOME", "/home/me"), ("XDG_DATA_HOME", "data")],
                "/home/me/.local/share/uv/python",
            ),
            (
                &[("XDG_DATA_HOME", "/data"), ("UV_PYTHON_INSTALL_DIR", "/pythons")],
                "/pythons",
            ),
        ];
        let uv = environment::raw("HYBRID_CACHE_UV");
        for (variables, expected) in cases {
            let value = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(uv_root(&value), PathBuf::from(expected), "{variables:?}");
            let Some(uv) = &uv else { continue };
            let mut command = Command::new(uv);
            command.args(["python", "dir", "--no-config"]).env_clear();
            command.envs(variables.iter().copied());
            let said = process::output(&mut command, Duration::from_secs(20)).unwrap();
            assert_eq!(said.trim(), expected, "{variables:?}");
        }
        if uv.is_none() {
            println!("skipped: what uv itself says: HYBRID_CACHE_UV names none");
        }
    }
}
