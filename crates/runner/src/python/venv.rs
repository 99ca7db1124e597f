//! Creates an empty environment like `uv venv --relocatable`, without a process and without files for interactive use.
//!
//! uv first queries the interpreter, which takes 0.1 s with an empty cache, although the request contains the answer.
//! PEP 405 defines what an environment needs: a link to the interpreter, a file that names the interpreter's folder,
//! and a folder for packages.
//!
//! ```text
//! <environment>/
//!   pyvenv.cfg
//!   bin/{python -> /…/bin/python3.x, python3 -> python, python3.x -> python}
//!   lib/python3.x/site-packages/
//!   lib64 -> lib
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind, Protection};

use super::record::{self, Installed};
use crate::store::{IoContext, files};

/// An interpreter whose standard library is in the usual place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home<'a> {
    interpreter: &'a Interpreter,
    folder: PathBuf,
    /// `python3.11`
    name: String,
}

impl Home<'_> {
    /// The interpreter's home; `None` if it has another layout, which only the interpreter itself can describe.
    ///
    /// Checks for the landmark that the interpreter itself searches for (`lib/python3.x/os.py` beside its folder). An
    /// interpreter in an environment, a free-threaded one, and one behind a script do not have it.
    pub fn find(interpreter: &Interpreter) -> Option<Home<'_>> {
        let mut numbers = interpreter.version.split('.');
        let name = format!("python{}.{}", numbers.next()?, numbers.next()?);
        let folder = Path::new(&interpreter.path).parent()?.to_owned();
        let prefix = folder.parent()?;
        let is_plain = interpreter.implementation == "cpython"
            && Path::new(&interpreter.path).is_file()
            && prefix.join("lib").join(&name).join("os.py").is_file()
            && ![prefix, &folder]
                .iter()
                .any(|folder| folder.join("pyvenv.cfg").exists());
        is_plain.then_some(Home {
            interpreter,
            folder,
            name,
        })
    }

    /// Makes the environment.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn make(&self, environment: &Path) -> Result<(), Failure> {
        files::ensure_folder(&environment.join("lib").join(&self.name).join("site-packages"))?;
        let programs = environment.join("bin");
        files::ensure_folder(&programs)?;
        let links = [
            (self.interpreter.path.as_str(), programs.join("python")),
            ("python", programs.join("python3")),
            ("python", programs.join(&self.name)),
            ("lib", environment.join("lib64")),
        ];
        for (target, link) in links {
            rustix::fs::symlink(target, &link).io_context("link", &link)?;
        }
        let path = environment.join("pyvenv.cfg");
        std::fs::write(&path, self.configuration()).io_context("write", &path)
    }

    /// `relocatable` tells uv to install scripts that look for the interpreter beside themselves.
    fn configuration(&self) -> String {
        let fields = [
            ("home", self.folder.to_string_lossy()),
            ("implementation", "CPython".into()),
            ("version_info", self.interpreter.version.as_str().into()),
            ("include-system-site-packages", "false".into()),
            ("relocatable", "true".into()),
        ];
        fields
            .iter()
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect()
    }
}

/// The files that make a folder an environment, recorded before any package is installed.
///
/// They decide which interpreter runs and where it looks for modules, so no package may add or replace them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFiles(Vec<(String, Own)>);

/// The state of one of these files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    /// It does not exist.
    Absent,
    /// A link and where it leads.
    Link(PathBuf),
    /// A file: its bytes and its inode, so that a replacement with the same bytes is noticed too.
    File(Vec<u8>, (u64, u64)),
    /// Anything else.
    Other,
}

impl OwnFiles {
    /// Records the files of an empty environment.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn note(venv: &Path, interpreter: &Interpreter) -> Result<OwnFiles, Failure> {
        let site = record::site(interpreter);
        let name = site.split('/').nth(1).unwrap_or("python3");
        let names = [
            "pyvenv.cfg",
            "lib64",
            "bin/python",
            "bin/python3",
            &format!("bin/{name}"),
        ]
        .map(str::to_owned);
        let note = |name: String| own(&venv.join(&name)).map(|own| (name, own));
        names.into_iter().map(note).collect::<Result<_, _>>().map(OwnFiles)
    }

    /// Checks that no package added or replaced any of them.
    ///
    /// # Errors
    /// [`FailureKind::Unsatisfiable`] with the file and, if one lists it, the package.
    pub fn check(&self, installed: &Installed) -> Result<(), Failure> {
        if !Protection::OwnFiles.is_on() {
            return Ok(());
        }
        for (name, noted) in &self.0 {
            let owner = installed.owner(name);
            if owner.is_none() && own(&installed.venv.join(name))? == *noted {
                continue;
            }
            let who = owner.map_or_else(|| "a package".to_owned(), super::record::Distribution::pin);
            let message = format!("{who} contains the file {name}, which belongs to the environment itself");
            return Err(
                Failure::new(FailureKind::Unsatisfiable, message).hint("remove that package from the dependencies")
            );
        }
        Ok(())
    }
}

fn own(path: &Path) -> Result<Own, Failure> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Own::Absent),
        other => other.io_context("look at", path)?,
    };
    if found.is_symlink() {
        return std::fs::read_link(path)
            .io_context("read the link", path)
            .map(Own::Link);
    }
    if found.is_file() {
        let bytes = std::fs::read(path).io_context("read", path)?;
        return Ok(Own::File(bytes, (found.dev(), found.ino())));
    }
    Ok(Own::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(root: &Path) -> Interpreter {
        Interpreter {
            path: root.join("bin/python3.11").to_str().unwrap().into(),
            implementation: "cpython".into(),
            version: "3.11.7".into(),
            abi: "cpython-311".into(),
            platform: String::new(),
            libc: String::new(),
            binary_hash: String::new(),
            start: String::new(),
        }
    }

    #[test]
    fn only_an_interpreter_with_the_usual_layout_has_a_home() {
        let dir = tempfile::tempdir().unwrap();
        let interpreter = interpreter(dir.path());
        assert_eq!(Home::find(&interpreter), None);
        for file in ["bin/python3.11", "lib/python3.11/os.py"] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let environment = dir.path().join("e");
        Home::find(&interpreter).unwrap().make(&environment).unwrap();
        assert!(
            environment.join("bin/python3").is_file() && environment.join("lib64/python3.11/site-packages").is_dir()
        );
        std::fs::write(dir.path().join("pyvenv.cfg"), "").unwrap();
        assert_eq!(Home::find(&interpreter), None);
    }
}
