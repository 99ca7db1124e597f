//! An empty environment: what `uv venv --relocatable` makes, less what is for people, without a process.
//!
//! uv asks the interpreter about itself first, which takes a tenth of a second with an empty cache and is no news to
//! whoever wrote the request. What makes a folder an environment is little, and written down (PEP 405): a link to the
//! interpreter, a file beside its folder that says where that one lives, and a place for packages.
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

/// What can be said of an interpreter whose standard library lies where it is looked for first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home<'a> {
    interpreter: &'a Interpreter,
    folder: PathBuf,
    /// `python3.11`
    name: String,
}

impl Home<'_> {
    /// The interpreter's home; `None` where it is laid out in another way, which only itself can explain.
    ///
    /// The landmark is the one the interpreter itself searches for (`lib/python3.x/os.py` beside its folder). An
    /// interpreter that is itself in an environment, a free-threaded one or one behind a script does not have it.
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

    /// `relocatable` is for uv: scripts that it installs look for the interpreter beside themselves.
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

/// What makes a folder an environment, as it was before any package came.
///
/// It decides which interpreter runs and where that looks for modules, so no package may bring or replace it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFiles(Vec<(String, Own)>);

/// One of our names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    /// Nothing has it.
    Absent,
    /// A link and where it leads.
    Link(PathBuf),
    /// A file: its bytes and its inode, which no other file's content can be brought to unnoticed.
    File(Vec<u8>, (u64, u64)),
    /// Anything else.
    Other,
}

impl OwnFiles {
    /// Notes what an empty environment consists of.
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

    /// Checks that no package brought or replaced any of it.
    ///
    /// # Errors
    /// [`FailureKind::Unsatisfiable`] naming the package, where one lists the file, and the file.
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
            let message = format!("{who} brings the file {name}, which belongs to the environment itself");
            return Err(Failure::new(FailureKind::Unsatisfiable, message).hint("leave out that package"));
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
        }
    }

    #[test]
    fn only_the_ordinary_layout_is_taken_on() {
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
