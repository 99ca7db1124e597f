//! Reads a requirements file that a command line names, with the files below its folder that it names by `-r`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hybrid_cache_model::requirement::{self, Include, MAX_TEXT_BYTES};

use crate::{Error, Result};

/// Most files that one file brings in.
const MAX_FILES: usize = 64;

/// The text of the file and of those that it names, as one requirements file. UTF-8 and UTF-16 are read.
///
/// # Errors
/// A file cannot be read, lies outside the first one's folder, or has lines that a task may not have; all of them together
/// are larger than a task may send.
pub fn read(file: &Path) -> Result<String> {
    let text = decoded(file)?;
    // A pipe has no real path, and names no other file.
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut reader = Reader {
        folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
        read: BTreeSet::from([path.clone()]),
        text: String::new(),
    };
    reader.add(file, &path, &text)?;
    Ok(reader.text)
}

struct Reader {
    /// The folder that no file may lie outside of.
    folder: PathBuf,
    /// Files that are read once only, by their real paths: a circle ends here.
    read: BTreeSet<PathBuf>,
    text: String,
}

impl Reader {
    /// Adds a file and the files that it names. `shown` is how people know it.
    fn add(&mut self, shown: &Path, path: &Path, text: &str) -> Result<()> {
        let mut waiting = vec![(shown.to_owned(), path.to_owned(), text.to_owned())];
        while let Some((shown, path, text)) = waiting.pop() {
            let (own, includes) = requirement::split_includes(&text);
            // Checked here, because a message names a file's own lines.
            if let Err(errors) = requirement::parse_file("/requirementsFile", &own) {
                return Err(Error::input(format!("{}: {errors}", shown.display())));
            }
            self.text.push_str(&own);
            // Nothing at the end of one file continues in the next one.
            self.text.push_str("\n\n");
            if self.text.len() > MAX_TEXT_BYTES {
                let message = format!("with {}, more than {MAX_TEXT_BYTES} bytes", shown.display());
                return Err(Error::input(message));
            }
            for include in includes.iter().rev() {
                waiting.extend(self.included(&shown, &path, include)?);
            }
        }
        Ok(())
    }

    /// A file that another one names, unless it was read before.
    fn included(&mut self, by: &Path, path: &Path, include: &Include) -> Result<Option<(PathBuf, PathBuf, String)>> {
        let refuse = |why: String| {
            let place = format!(
                "{} line {}: `{}`",
                by.display(),
                include.line,
                include.file.escape_debug()
            );
            Err(Error::input(format!("{place} {why}")))
        };
        let beside = |path: &Path| path.parent().unwrap_or(Path::new("/")).join(&include.file);
        if include.file.contains("://") {
            return refuse("is an address\nhint: only files below the first file's folder are read".to_owned());
        }
        let real = match beside(path).canonicalize() {
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
        if !self.read.insert(real.clone()) {
            return Ok(None);
        }
        if self.read.len() > MAX_FILES {
            return refuse(format!("is one file more than {MAX_FILES}"));
        }
        Ok(Some((beside(by), real.clone(), decoded(&real)?)))
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

    fn told(file: &Path) -> String {
        read(file).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_another_encoding_is_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.txt");
        std::fs::write(&file, b"\xff\xfea\0\n\0").unwrap();
        assert_eq!(read(&file).unwrap().trim(), "a");
        std::fs::write(&file, b"\xe9").unwrap();
        assert!(told(&file).contains("r.txt: not UTF-8 at byte 0"), "{}", told(&file));
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
        let file = requirement::parse_file("/r", &text).unwrap();
        let names: Vec<_> = file.requirements.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["pytest", "six", "idna"]);

        std::os::unix::fs::symlink(&outside, own.join("link.txt")).unwrap();
        for name in ["../outside.txt", "link.txt", outside.to_str().unwrap()] {
            write("bad.txt", &format!("six\n-r {name}\n"));
            let told = told(&own.join("bad.txt"));
            assert!(told.contains("bad.txt line 2: "), "{told}");
            assert!(told.contains("lies outside the folder"), "{told}");
        }
        write("bad.txt", "-r https://host.invalid/r.txt\n");
        assert!(told(&own.join("bad.txt")).contains("is an address"));
        write("bad.txt", "-r more\n");
        assert!(told(&own.join("bad.txt")).contains("is not a file"));
        write("bad.txt", "-r absent.txt\n");
        assert!(told(&own.join("bad.txt")).contains("cannot be read"));
        write("more/deep.txt", "idna\n\n-e .\n");
        let told = told(&own.join("dev.txt"));
        assert!(
            told.contains("more/deep.txt: /requirementsFile line 3: `-e` is an option"),
            "{told}"
        );
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
        assert!(told(&folder.path().join("r.txt")).contains("more than 64"));
    }
}
