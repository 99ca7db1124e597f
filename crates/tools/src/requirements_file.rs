//! Reads the requirements and constraints files that a command line names, with the files below their folders that they
//! name by `-r` and `-c`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hybrid_cache_model::requirement::{self, Include, IncludeKind, MAX_TEXT_BYTES};
use hybrid_cache_model::{End, Outcome, SourcePolicy};

use crate::{Error, Result};

/// Most files that one file brings in.
const MAX_FILES: usize = 64;

/// Reads requirements and constraints from the files and from those that they name.
///
/// # Errors
/// A file cannot be read, lies outside the first one's folder, or has lines that a task may not have under `policy`; all together
/// are larger than a task may send.
pub fn read_all(requirements: Option<&Path>, constraints: &[PathBuf], policy: SourcePolicy<'_>) -> Result<Texts> {
    let mut texts = Texts::default();
    if let Some(file) = requirements {
        read(file, IncludeKind::Requirements, policy, &mut texts)?;
    }
    for file in constraints {
        read(file, IncludeKind::Constraints, policy, &mut texts)?;
    }
    Ok(texts)
}

/// Writes a task's Python packages to a requirements file with hashes, which can be submitted again.
///
/// # Errors
/// The program ran without packages, or the file cannot be written.
pub fn write_lock(file: &Path, outcome: &Outcome) -> Result<()> {
    let Some(lock) = outcome.resolved.lock() else {
        if matches!(outcome.end, End::Failed { .. } | End::Cancelled) {
            return Ok(());
        }
        let message = format!(
            "{} was not written: no Python packages are known of this task",
            file.display()
        );
        return Err(Error::input(message));
    };
    std::fs::write(file, lock).map_err(|error| Error::input(format!("{}: {error}", file.display())))
}

/// The texts of files.
#[derive(Debug, Default)]
pub struct Texts {
    /// As one requirements file.
    pub requirements: String,
    /// As one constraints file.
    pub constraints: String,
}

/// Adds the text of a file and of those that it names, as one requirements file and one constraints file. UTF-8 and
/// UTF-16 are read.
fn read(file: &Path, kind: IncludeKind, policy: SourcePolicy<'_>, texts: &mut Texts) -> Result<()> {
    let text = decoded(file)?;
    // A pipe has no real path, and names no other file.
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut reader = Reader {
        folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
        read: BTreeSet::from([(path.clone(), kind)]),
        policy,
        texts,
    };
    reader.add(NamedFile {
        shown: file.to_owned(),
        path,
        kind,
        text,
    })
}

struct Reader<'a> {
    /// The folder that no file may lie outside of.
    folder: PathBuf,
    /// Files that are read once only, by their real paths: a circle ends here.
    read: BTreeSet<(PathBuf, IncludeKind)>,
    policy: SourcePolicy<'a>,
    texts: &'a mut Texts,
}

struct NamedFile {
    /// How people know it.
    shown: PathBuf,
    path: PathBuf,
    kind: IncludeKind,
    text: String,
}

impl Reader<'_> {
    /// Adds a file and the files that it names.
    fn add(&mut self, first: NamedFile) -> Result<()> {
        let mut waiting = vec![first];
        while let Some(file) = waiting.pop() {
            let (own, includes) = requirement::split_includes(&file.text);
            let (pointer, text) = match file.kind {
                IncludeKind::Requirements => ("/requirementsFile", &mut self.texts.requirements),
                IncludeKind::Constraints => ("/constraints", &mut self.texts.constraints),
            };
            // Checked here, because a message names a file's own lines.
            if let Err(errors) = requirement::parse_file(pointer, &own, &self.policy) {
                return Err(Error::input(format!("{}: {errors}", file.shown.display())));
            }
            text.push_str(&own);
            // Nothing at the end of one file continues in the next one.
            text.push_str("\n\n");
            if text.len() > MAX_TEXT_BYTES {
                let message = format!("with {}, more than {MAX_TEXT_BYTES} bytes", file.shown.display());
                return Err(Error::input(message));
            }
            for include in includes.iter().rev() {
                waiting.extend(self.included(&file, include)?);
            }
        }
        Ok(())
    }

    /// A file that another one names, unless it was read before.
    fn included(&mut self, by: &NamedFile, include: &Include) -> Result<Option<NamedFile>> {
        let refuse = |why: String| {
            let place = format!(
                "{} line {}: `{}`",
                by.shown.display(),
                include.line,
                include.file.escape_debug()
            );
            Err(Error::input(format!("{place} {why}")))
        };
        let beside = |path: &Path| path.parent().unwrap_or(Path::new("/")).join(&include.file);
        if include.file.contains("://") {
            return refuse("is an address\nhint: only files below the first file's folder are read".to_owned());
        }
        let real = match beside(&by.path).canonicalize() {
            Ok(real) => real,
            Err(error) => return refuse(format!("cannot be read: {error}")),
        };
        if !real.starts_with(&self.folder) {
            let hint = "put the file below that folder, or its lines into this one";
            return refuse(format!("lies outside the folder of the first file\nhint: {hint}"));
        }
        if !real.is_file() {
            return refuse("is not a file".to_owned());
        }
        // What a constraints file names constrains as well.
        let kind = by.kind.max(include.kind);
        if !self.read.insert((real.clone(), kind)) {
            return Ok(None);
        }
        if self.read.len() > MAX_FILES {
            return refuse(format!("is one file more than {MAX_FILES}"));
        }
        Ok(Some(NamedFile {
            shown: beside(&by.shown),
            text: decoded(&real)?,
            path: real,
            kind,
        }))
    }
}

fn decoded(file: &Path) -> Result<String> {
    let name = file.display();
    let mut bytes = Vec::new();
    // UTF-16 takes twice the bytes.
    let most = 2 * MAX_TEXT_BYTES as u64;
    File::open(file)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::input(format!("{name}: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(Error::input(format!("{name}: more than {most} bytes")));
    }
    requirement::decode(&bytes)
        .map_err(|refusal| Error::input(format!("{name}: {}\nhint: {}", refusal.message, refusal.hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &Path) -> Result<Texts> {
        let mut texts = Texts::default();
        super::read(file, IncludeKind::Requirements, SourcePolicy::unknown(), &mut texts).map(|()| texts)
    }

    fn read(file: &Path) -> Result<String> {
        texts(file).map(|texts| texts.requirements)
    }

    fn reported(file: &Path) -> String {
        read(file).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_another_encoding_is_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.txt");
        std::fs::write(&file, b"\xff\xfea\0\n\0").unwrap();
        assert_eq!(read(&file).unwrap().trim(), "a");
        std::fs::write(&file, b"\xe9").unwrap();
        assert!(
            reported(&file).contains("r.txt: not UTF-8 at byte 0"),
            "{}",
            reported(&file)
        );
        read(&folder.path().join("absent.txt")).unwrap_err();
    }

    #[test]
    fn files_below_the_folder_are_read_once_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside.txt");
        let own = folder.path().join("own");
        std::fs::create_dir_all(own.join("more")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(own.join(name), text).unwrap();
        std::fs::write(&outside, "secret\n").unwrap();
        write("dev.txt", "-r base.txt\npytest \\");
        write("base.txt", "six\n-r more/deep.txt\n-r dev.txt\n");
        write("more/deep.txt", "idna\n--requirement ../base.txt\n");
        let text = read(&own.join("dev.txt")).unwrap();
        let file = requirement::parse_file("/r", &text, &Default::default()).unwrap();
        let names: Vec<_> = file.requirements.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["pytest", "six", "idna"]);

        std::os::unix::fs::symlink(&outside, own.join("link.txt")).unwrap();
        for name in ["../outside.txt", "link.txt", outside.to_str().unwrap()] {
            write("bad.txt", &format!("six\n-r {name}\n"));
            let reported = reported(&own.join("bad.txt"));
            assert!(reported.contains("bad.txt line 2: "), "{reported}");
            assert!(reported.contains("lies outside the folder"), "{reported}");
        }
        write("bad.txt", "-r https://host.invalid/r.txt\n");
        assert!(reported(&own.join("bad.txt")).contains("is an address"));
        write("bad.txt", "-r more\n");
        assert!(reported(&own.join("bad.txt")).contains("is not a file"));
        write("bad.txt", "-r absent.txt\n");
        assert!(reported(&own.join("bad.txt")).contains("cannot be read"));
        write("more/deep.txt", "idna\n\n-e .\n");
        let reported = reported(&own.join("dev.txt"));
        assert!(
            reported.contains("more/deep.txt: /requirementsFile line 3: `-e` is an option"),
            "{reported}"
        );
    }

    #[test]
    fn constraints_files_are_read_beside_and_what_they_name_constrains_too() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("r.txt", "six\n-c c.txt\n-r more.txt");
        write("more.txt", "idna\n-c c.txt\n");
        write("c.txt", "six<2\n-r more.txt\n-c c.txt\n");
        write("own.txt", "idna<4 \\");
        let names = |text: &str| {
            let file = requirement::parse_file("/r", text, &Default::default()).unwrap();
            file.requirements.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let own = [folder.path().join("own.txt")];
        let texts = read_all(Some(&folder.path().join("r.txt")), &own, SourcePolicy::unknown()).unwrap();
        assert_eq!(names(&texts.requirements), ["six", "idna"]);
        assert_eq!(names(&texts.constraints), ["six<2", "idna", "idna<4"]);
        write("c.txt", "six<2\n\n-e .\n");
        let reported = reported(&folder.path().join("r.txt"));
        assert!(
            reported.contains("c.txt: /constraints line 3: `-e` is an option"),
            "{reported}"
        );
        write("own.txt", "-c ../other.txt\n");
        let reported = read_all(None, &own, SourcePolicy::unknown()).unwrap_err().to_string();
        assert!(reported.contains("own.txt line 1: `../other.txt` "), "{reported}");
    }

    #[test]
    fn many_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = String::new();
        for number in 0..=MAX_FILES {
            first.push_str(&format!("-r {number}.txt\n"));
            std::fs::write(folder.path().join(format!("{number}.txt")), "a\n").unwrap();
        }
        std::fs::write(folder.path().join("r.txt"), first).unwrap();
        assert!(reported(&folder.path().join("r.txt")).contains("more than 64"));
    }
}
