//! Packages for faults: any number of different ones, each with files of known content.

use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_model::TaskSpec;

use crate::error::TrialError;
use crate::wheel::Wheel;

/// Name of the package.
pub const NAME: &str = "chaosstock";
/// Modules of each version.
const MODULES: u32 = 40;
/// Bytes of padding in each module: more than one write.
const PADDING: usize = 9000;

/// A folder of wheels that uv installs from: versions of one package, built on request.
#[derive(Clone, Debug)]
pub struct Stock {
    folder: PathBuf,
}

impl Stock {
    /// Opens a stock in a folder, which is created.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(folder: &Path) -> Result<Stock, TrialError> {
        let failed = TrialError::io(format!("making {}", folder.display()));
        fs::create_dir_all(folder.join("nothing")).map_err(failed)?;
        Ok(Stock {
            folder: folder.to_owned(),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of an empty index: a package that is not in the stock does not exist.
    pub fn nothing(&self) -> PathBuf {
        self.folder.join("nothing")
    }

    /// A task that needs one version, imports every module of it and prints [`printed`].
    ///
    /// # Errors
    /// The wheel cannot be written.
    pub fn task(&self, number: u32) -> Result<TaskSpec, TrialError> {
        let wheel = wheel(number);
        let file = self.folder.join(wheel.file_name());
        if !file.exists() {
            let failed = TrialError::io(format!("writing {}", file.display()));
            fs::write(&file, wheel.build()?).map_err(failed)?;
        }
        let code = format!(
            "from importlib import import_module\n\
             print(sum(import_module(f'{NAME}.m{{one}}').VALUE for one in range({MODULES})))"
        );
        Ok(TaskSpec {
            dependencies: format!("{NAME}=={}", version(number)),
            ..TaskSpec::new(&code)
        })
    }
}

fn version(number: u32) -> String {
    format!("1.{number}")
}

fn value(number: u32, module: u32) -> u64 {
    u64::from(number) * 1000 + u64::from(module)
}

fn text(number: u32, module: u32) -> String {
    let padding = format!("{number:08x}{module:08x}").repeat(PADDING / 16);
    format!("VALUE = {}\nPADDING = '{padding}'\n", value(number, module))
}

fn wheel(number: u32) -> Wheel {
    (0..MODULES).fold(
        Wheel::new(NAME, &version(number)).file(&format!("{NAME}/__init__.py"), ""),
        |wheel, module| wheel.file(&format!("{NAME}/m{module}.py"), text(number, module)),
    )
}

/// What the task of [`Stock::task`] prints.
pub fn printed(number: u32) -> String {
    (0..MODULES)
        .map(|module| value(number, module))
        .sum::<u64>()
        .to_string()
}

/// The number of the version that a lock list names, with or without the hash of its file.
pub fn locked_number(lock: &str) -> Option<u32> {
    let pins = lock.lines().filter_map(|line| line.split_whitespace().next());
    let mut numbers = pins.filter_map(|pin| pin.strip_prefix(NAME)?.strip_prefix("==1."));
    numbers.next()?.parse().ok()
}

/// The problems of an environment's files: none if every file of its version exists with its content. The caches' own records are
/// not used.
pub fn problems(environment: &Path) -> Vec<String> {
    let shown = environment
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let read = |name: &str| fs::read_to_string(environment.join(name)).unwrap_or_default();
    let lock = read("lock.txt");
    let Some(number) = locked_number(&lock) else {
        return vec![format!("the environment {shown} has the lock list {lock:?}")];
    };
    let mut problems = Vec::new();
    if serde_json::from_str::<serde_json::Value>(&read("manifest.json")).is_err() {
        problems.push(format!("the manifest of the environment {shown} cannot be read"));
    }
    let Some(packages) = packages(environment) else {
        problems.push(format!("the environment {shown} has no folder of packages"));
        return problems;
    };
    for module in 0..MODULES {
        let file = packages.join(NAME).join(format!("m{module}.py"));
        match fs::read_to_string(&file) {
            Ok(found) if found == text(number, module) => {}
            Ok(_) => problems.push(format!(
                "{} in the environment {shown} has another content",
                file.display()
            )),
            Err(error) => problems.push(format!("{}: {error}", file.display())),
        }
    }
    problems
}

/// The folder of an environment's packages.
pub fn packages(environment: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(environment.join("venv/lib")).ok()?;
    let folders = versions.flatten().map(|entry| entry.path().join("site-packages"));
    folders.into_iter().find(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates two folders that look like environments, of versions 3 and 4.
    fn environment(root: &Path, number: u32) -> PathBuf {
        let environment = root.join(format!("env-{number}"));
        let packages = environment.join("venv/lib/python3/site-packages").join(NAME);
        fs::create_dir_all(&packages).unwrap();
        fs::write(environment.join("lock.txt"), format!("{NAME}==1.{number}\n")).unwrap();
        fs::write(environment.join("manifest.json"), "{}").unwrap();
        for module in 0..MODULES {
            fs::write(packages.join(format!("m{module}.py")), text(number, module)).unwrap();
        }
        environment
    }

    #[test]
    fn a_missing_a_cut_and_a_foreign_file_are_noticed() {
        let root = tempfile::tempdir().unwrap();
        let whole = environment(root.path(), 3);
        assert_eq!(problems(&whole), Vec::<String>::new());
        let module = packages(&whole).unwrap().join(NAME).join("m7.py");
        fs::write(&module, "").unwrap();
        assert_eq!(problems(&whole).len(), 1);
        fs::write(&module, text(4, 7)).unwrap();
        assert_eq!(problems(&whole).len(), 1);
        fs::remove_file(&module).unwrap();
        fs::write(whole.join("manifest.json"), "").unwrap();
        assert_eq!(problems(&whole).len(), 2);
        fs::write(whole.join("lock.txt"), "").unwrap();
        assert_eq!(problems(&whole).len(), 1);
    }
}
