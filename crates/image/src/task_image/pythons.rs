//! The interpreters that the image brings beside its own: files of this machine's, moved to a place of the image.
//!
//! A pyenv's or uv's interpreter finds its library from its own place, so its folder can be moved. Two things in it name the old
//! place: where its programs look for its shared library, and what it tells compilers. pythons.sh checks the result in the image.

use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_tools::{Error, ErrorContext, PythonInterpreter, Result, failed, uv_python};

use super::context::{self, Context};

/// Where they are in the image, each in a folder that is named after its version.
const FOLDER: &str = "/usr/local/python";
/// What the image's own interpreter is, which assemble.sh brings.
const OWN: &str = "3.11";
/// Most bytes of one interpreter: without tests and packages they have 30 to 100 MB.
const MAX_BYTES: u64 = 512 << 20;
/// Most files of one interpreter.
const MAX_FILES: usize = 20_000;
/// Where a moved program finds its library.
const BESIDE: &[u8] = b"$ORIGIN/../lib";
/// Folders of the standard library for screens, of a person's own packages, and of tests.
const LEFT_OUT: [&str; 7] = [
    "idlelib",
    "tkinter",
    "turtledemo",
    "site-packages",
    "dist-packages",
    "sitecustomize.py",
    "usercustomize.py",
];
/// Beginnings of the names of extension modules that belong to those.
const EXTENSIONS_LEFT_OUT: [&str; 4] = ["_tkinter.", "_test", "_ctypes_test.", "xxlimited"];

/// One further interpreter of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// `3.12.1`.
    pub version: String,
    /// Its program in the image.
    pub program: String,
    /// Hash of that program's bytes.
    pub binary_hash: String,
    /// Its bytecode of what tasks run at their start, in Base64.
    pub start: String,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Pythons {
    /// Their files below [`FOLDER`], and the list for pythons.sh.
    pub files: Context,
    /// What they are, the oldest first.
    pub added: Vec<Added>,
}

/// Reads the interpreters of these versions (`3.12` or `3.12.1`) from this machine.
///
/// # Errors
/// The machine has none of a version; all such versions at once. One cannot be read, or has too much or unusual files.
pub fn bring(wanted: &[String], installed: impl FnOnce() -> Vec<PythonInterpreter>) -> Result<Pythons> {
    let wanted: Vec<&String> = wanted.iter().filter(|version| *version != OWN).collect();
    let mut pythons = Pythons::default();
    let mut list = String::new();
    if !wanted.is_empty() {
        let installed = installed();
        for chosen in choose(&wanted, &installed)? {
            let name = program_name(chosen)?;
            list.push_str(&format!("{} {name}\n", chosen.version));
            pythons.add(chosen, &name)?;
        }
    }
    // An engine cannot copy a folder that has no file.
    pythons.files.add("list", list);
    Ok(pythons)
}

/// The newest interpreter of each version, each once, the oldest first.
fn choose<'a>(wanted: &[&String], installed: &'a [PythonInterpreter]) -> Result<Vec<&'a PythonInterpreter>> {
    let found = |version: &&&String| uv_python::newest(installed, version);
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|version| found(version).is_none())
        .map(|version| version.as_str())
        .collect();
    if !missing.is_empty() {
        let has: Vec<&str> = installed.iter().map(|one| one.version.as_str()).collect();
        let has = if has.is_empty() {
            "none".to_owned()
        } else {
            has.join(", ")
        };
        let commands: Vec<String> = missing.iter().map(|version| uv_python::command_for(version)).collect();
        return Err(Error::prerequisite(format!(
            "pythonVersions of the settings wants Python {} in the image, but this machine has {has}\nhint: `{}` downloads what is \
             missing, or change the settings",
            missing.join(" and "),
            commands.join("`, `")
        )));
    }
    let mut chosen: Vec<&PythonInterpreter> = wanted.iter().filter_map(|version| found(&version)).collect();
    chosen.sort_by_key(|one| installed.iter().position(|other| other.path == one.path));
    chosen.dedup_by(|a, b| a.path == b.path);
    Ok(chosen)
}

/// `python3.12`.
fn program_name(interpreter: &PythonInterpreter) -> Result<String> {
    let mut numbers = interpreter.version.split('.');
    let name = [
        "python",
        numbers.next().unwrap_or_default(),
        ".",
        numbers.next().unwrap_or_default(),
    ]
    .concat();
    if interpreter.path != interpreter.base_prefix.join("bin").join(&name) {
        return Err(failed!(
            "{} is not bin/{name} of its folder {}, so it cannot be moved into the image\nhint: take another installation of it",
            interpreter.path.display(),
            interpreter.base_prefix.display()
        ));
    }
    Ok(name)
}

impl Pythons {
    fn add(&mut self, interpreter: &PythonInterpreter, name: &str) -> Result<()> {
        let version = &interpreter.version;
        let place = [FOLDER, "/", version].concat();
        let mut folder = Folder {
            prefix: &interpreter.base_prefix,
            place: &place,
            below: version,
            left_bytes: MAX_BYTES,
            left_files: MAX_FILES,
            files: &mut self.files,
        };
        let program = folder.file(&["bin/", name].concat(), true)?;
        for entry in fs::read_dir(interpreter.base_prefix.join("lib"))?.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let is_library = file.starts_with("libpython") && file.contains(".so");
            if is_library && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                folder.file(&["lib/", &file].concat(), false)?;
            }
        }
        folder.tree(&["lib/", name].concat(), &takes)?;
        // For packages that are built.
        folder.tree(&["include/", name].concat(), &|_| true)?;
        self.added.push(Added {
            version: version.clone(),
            program: [&place, "/bin/", name].concat(),
            binary_hash: program.to_hex().to_string(),
            start: interpreter.start.clone(),
        });
        Ok(())
    }
}

/// True if a file or folder of the standard library, named from there, comes along.
fn takes(path: &str) -> bool {
    let mut parts = path.split('/');
    let (first, last) = (
        parts.next().unwrap_or_default(),
        path.rsplit('/').next().unwrap_or_default(),
    );
    let is_extension = first == "lib-dynload" && EXTENSIONS_LEFT_OUT.iter().any(|start| last.starts_with(start));
    let is_test = path
        .split('/')
        .any(|part| ["test", "tests", "idle_test"].contains(&part));
    // Some packages use what the tests of Python itself share.
    let is_support = ["test", "test/__init__.py", "test/support"].contains(&path) || path.starts_with("test/support/");
    let is_left_out = LEFT_OUT.contains(&first) || first.starts_with("config-") || last == "__pycache__";
    let is_library = last.ends_with(".a") || last.ends_with(".pyc") || last.ends_with(".exe");
    !is_extension && !is_left_out && !is_library && (!is_test || is_support)
}

/// An installation whose files are taken.
struct Folder<'a> {
    prefix: &'a Path,
    /// Its place in the image.
    place: &'a str,
    /// Its folder among the files.
    below: &'a str,
    left_bytes: u64,
    left_files: usize,
    files: &'a mut Context,
}

impl Folder<'_> {
    /// Takes a folder, if there is one, with all in it that `takes` accepts. A link to a folder is no folder.
    fn tree(&mut self, path: &str, takes: &dyn Fn(&str) -> bool) -> Result<()> {
        let mut folders = vec![PathBuf::new()];
        let root = self.prefix.join(path);
        while let Some(inside) = folders.pop().filter(|_| root.is_dir()) {
            let folder = root.join(&inside);
            let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
                let inside = inside.join(entry.file_name());
                let Some(name) = inside.to_str().filter(|name| takes(name)) else {
                    continue;
                };
                if entry.file_type()?.is_dir() {
                    folders.push(inside);
                } else if self.is_own_file(&entry.path()) {
                    self.file(&[path, "/", name].concat(), false)?;
                }
            }
        }
        Ok(())
    }

    /// False for a link that leads out of the installation, or to nothing.
    fn is_own_file(&self, path: &Path) -> bool {
        path.canonicalize()
            .is_ok_and(|real| real.is_file() && real.starts_with(self.prefix))
    }

    fn file(&mut self, path: &str, is_program: bool) -> Result<blake3::Hash> {
        let from = self.prefix.join(path);
        let bytes = moved(context::read(&from)?, path, self.prefix, self.place);
        let left = self.left_bytes.checked_sub(bytes.len() as u64);
        let (Some(left_bytes), Some(left_files)) = (left, self.left_files.checked_sub(1)) else {
            return Err(failed!(
                "the Python in {} has more than {} MiB or {MAX_FILES} files\nhint: take another installation of it",
                self.prefix.display(),
                MAX_BYTES >> 20
            ));
        };
        (self.left_bytes, self.left_files) = (left_bytes, left_files);
        let hash = blake3::hash(&bytes);
        let target = [self.below, "/", path].concat();
        match is_program {
            true => self.files.add_program(target, bytes),
            false => self.files.add(target, bytes),
        }
        Ok(hash)
    }
}

/// A file's bytes for another place: programs and libraries look for theirs beside themselves, and compilers get the new folders.
fn moved(bytes: Vec<u8>, path: &str, prefix: &Path, place: &str) -> Vec<u8> {
    let Some(prefix) = prefix.to_str() else { return bytes };
    let name = path.rsplit('/').next().unwrap_or_default();
    if bytes.starts_with(b"\x7fELF") {
        let old = ["\0", prefix, "/lib\0"].concat();
        let mut new = vec![0; old.len()];
        let Some(room) = new.get_mut(1..=BESIDE.len()).filter(|_| old.len() > BESIDE.len() + 1) else {
            return bytes;
        };
        room.copy_from_slice(BESIDE);
        return replaced(&bytes, old.as_bytes(), &new);
    }
    // In a system's own folder most names are not of this installation.
    if name.starts_with("_sysconfig") && prefix != "/usr" {
        return replaced(&bytes, prefix.as_bytes(), place.as_bytes());
    }
    bytes
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    result.extend_from_slice(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(version: &str, prefix: &Path) -> PythonInterpreter {
        let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
        PythonInterpreter {
            path: prefix.join(format!("bin/python{minor}")),
            base_prefix: prefix.to_owned(),
            version: version.to_owned(),
            implementation: "cpython".to_owned(),
            soabi: String::new(),
            cache_tag: String::new(),
            platform: "linux-x86_64".to_owned(),
            libc: String::new(),
            blake3: "of the machine's file".to_owned(),
            start: "c3RhcnQ=".to_owned(),
        }
    }

    fn wants(versions: &[&str]) -> Vec<String> {
        versions.iter().map(|&version| version.to_owned()).collect()
    }

    /// What pyenv installs, as far as it matters here.
    fn installation(root: &Path) -> PythonInterpreter {
        let prefix = root.join("versions/3.12.1");
        let file = |path: &str, bytes: &[u8]| {
            fs::create_dir_all(prefix.join(path).parent().unwrap()).unwrap();
            fs::write(prefix.join(path), bytes).unwrap();
        };
        let library = ["\0", prefix.to_str().unwrap(), "/lib\0"].concat();
        file("bin/python3.12", &[b"\x7fELF", library.as_bytes(), b"rest"].concat());
        file("bin/pip3.12", b"#!");
        file("lib/libpython3.12.so.1.0", b"\x7fELF");
        file("lib/libpython3.12.a", b"");
        let text = format!("INCLUDEPY = '{}/include/python3.12'", prefix.display());
        file(
            "lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py",
            text.as_bytes(),
        );
        for path in [
            "os.py",
            "__pycache__/os.cpython-312.pyc",
            "lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so",
            "lib-dynload/_tkinter.cpython-312-x86_64-linux-gnu.so",
            "lib-dynload/_testcapi.cpython-312-x86_64-linux-gnu.so",
            "site-packages/secret.py",
            "sitecustomize.py",
            "config-3.12-x86_64-linux-gnu/libpython3.12.a",
            "test/__init__.py",
            "test/test_os.py",
            "test/support/os_helper.py",
            "unittest/test/x.py",
            "tkinter/x.py",
        ] {
            file(&format!("lib/python3.12/{path}"), b"");
        }
        file("include/python3.12/Python.h", b"");
        fs::write(root.join("stranger"), "a file of somebody else").unwrap();
        std::os::unix::fs::symlink(root.join("stranger"), prefix.join("lib/python3.12/odd.py")).unwrap();
        std::os::unix::fs::symlink("os.py", prefix.join("lib/python3.12/same.py")).unwrap();
        interpreter("3.12.1", &prefix)
    }

    #[test]
    fn the_library_comes_along_and_packages_tests_and_files_from_elsewhere_stay() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let python = installation(&root);
        let pythons = bring(&wants(&["3.12"]), || vec![python.clone()]).unwrap();
        let library = "3.12.1/lib/python3.12";
        let expected = [
            "3.12.1/bin/python3.12".to_owned(),
            "3.12.1/include/python3.12/Python.h".to_owned(),
            "3.12.1/lib/libpython3.12.so.1.0".to_owned(),
            format!("{library}/_sysconfigdata__linux_x86_64-linux-gnu.py"),
            format!("{library}/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so"),
            format!("{library}/os.py"),
            format!("{library}/same.py"),
            format!("{library}/test/__init__.py"),
            format!("{library}/test/support/os_helper.py"),
            "list".to_owned(),
        ];
        assert_eq!(pythons.files.paths(), expected);
        assert_eq!(pythons.files.bytes("list"), Some(&b"3.12.1 python3.12\n"[..]));
        let reported = pythons.files.bytes(&expected[3]).unwrap();
        assert_eq!(reported, b"INCLUDEPY = '/usr/local/python/3.12.1/include/python3.12'");
        let program = pythons.files.bytes(&expected[0]).unwrap();
        let length = fs::metadata(&python.path).unwrap().len();
        assert_eq!(program.len() as u64, length, "a program's parts stay at their places");
        assert!(program.starts_with(b"\x7fELF\0$ORIGIN/../lib\0") && program.ends_with(b"\0rest"));
        let [added] = pythons.added.as_slice() else {
            panic!("{:?}", pythons.added)
        };
        assert_eq!(added.program, "/usr/local/python/3.12.1/bin/python3.12");
        assert_eq!(added.binary_hash, blake3::hash(program).to_hex().as_str());
        assert_eq!(added.start, "c3RhcnQ=");
        // Another file of it makes another image.
        let before = pythons.files.hash();
        fs::write(python.base_prefix.join("lib/python3.12/os.py"), "1").unwrap();
        assert_ne!(bring(&wants(&["3.12"]), || vec![python]).unwrap().files.hash(), before);
    }

    #[test]
    fn the_newest_of_each_wanted_version_is_chosen_once() {
        let versions = ["3.9.18", "3.11.7", "3.12.1", "3.12.10", "3.13.0"];
        let installed = versions.map(|version| interpreter(version, Path::new("/opt").join(version).as_path()));
        let chosen = |versions: &[&str]| {
            let wanted = wants(versions);
            let wanted: Vec<&String> = wanted.iter().collect();
            let chosen = choose(&wanted, &installed).map_err(|error| error.to_string())?;
            Ok::<Vec<String>, String>(chosen.iter().map(|one| one.version.clone()).collect())
        };
        assert_eq!(chosen(&["3.13", "3.12", "3.12.10"]).unwrap(), ["3.12.10", "3.13.0"]);
        assert_eq!(chosen(&["3.12.1"]).unwrap(), ["3.12.1"]);
        let reported = chosen(&["3.10", "3.12", "3.14.2"]).unwrap_err();
        for part in [
            "Python 3.10 and 3.14.2",
            "3.9.18, 3.11.7, 3.12.1, 3.12.10, 3.13.0",
            "`cargo xtask tools --python-version 3.10`, `cargo xtask tools --python-version 3.14.2`",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
    }

    #[test]
    fn the_images_own_version_asks_no_machine_and_what_cannot_be_moved_is_refused() {
        let pythons = bring(&wants(&["3.11"]), || panic!("nothing is looked for")).unwrap();
        assert_eq!((pythons.files.paths(), pythons.added.len()), (vec!["list"], 0));
        let mut odd = interpreter("3.12.1", Path::new("/opt/python"));
        odd.path = PathBuf::from("/opt/elsewhere/python3.12");
        let reported = bring(&wants(&["3.12"]), || vec![odd]).unwrap_err().to_string();
        assert!(
            reported.contains("cannot be moved") && reported.contains("hint: "),
            "{reported}"
        );
    }
}
