//! Wheels built in memory: honest ones, and ones whose `RECORD` lies.

use std::io::{Cursor, Write};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::error::TrialError;

/// A wheel under construction.
#[derive(Clone, Debug)]
pub struct Wheel {
    name: String,
    version: String,
    entries: Vec<WheelEntry>,
    record: Vec<String>,
}

#[derive(Clone, Debug)]
struct WheelEntry {
    path: String,
    content: Content,
    /// The `RECORD` line; absent: an honest one.
    line: Option<String>,
}

#[derive(Clone, Debug)]
enum Content {
    File(Vec<u8>),
    Link(String),
}

/// `sha256=…` of a content, as `RECORD` has it.
pub fn record_hash(content: &[u8]) -> String {
    format!("sha256={}", URL_SAFE_NO_PAD.encode(Sha256::digest(content)))
}

impl Wheel {
    /// An empty wheel.
    pub fn new(name: &str, version: &str) -> Wheel {
        Wheel {
            name: name.to_owned(),
            version: version.to_owned(),
            entries: Vec::new(),
            record: Vec::new(),
        }
    }

    /// A package of one module of the same name.
    pub fn module(name: &str, version: &str, text: &str) -> Wheel {
        Wheel::new(name, version).file(&format!("{name}.py"), text)
    }

    /// Adds a file with an honest line in `RECORD`.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Wheel {
        self.entry(path, Content::File(content.as_ref().to_vec()), None)
    }

    /// Adds a file whose line in `RECORD` claims the hash of another content and no size.
    #[must_use]
    pub fn lying_file(self, path: &str, content: impl AsRef<[u8]>, claimed: impl AsRef<[u8]>) -> Wheel {
        let line = format!("{path},{},", record_hash(claimed.as_ref()));
        self.entry(path, Content::File(content.as_ref().to_vec()), Some(line))
    }

    /// Adds a symbolic link, as zip archives can hold them.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Wheel {
        self.entry(path, Content::Link(target.to_owned()), None)
    }

    /// Adds a file that ends up at the root of the environment (the `data` scheme).
    #[must_use]
    pub fn data_file(self, path: &str, content: impl AsRef<[u8]>) -> Wheel {
        let path = format!("{}-{}.data/data/{path}", self.name, self.version);
        self.file(&path, content)
    }

    /// Adds a program (the `scripts` scheme).
    #[must_use]
    pub fn script(self, name: &str, content: impl AsRef<[u8]>) -> Wheel {
        let path = format!("{}-{}.data/scripts/{name}", self.name, self.version);
        self.file(&path, content)
    }

    /// Adds a line to `RECORD` for no file at all.
    #[must_use]
    pub fn record_line(mut self, line: &str) -> Wheel {
        self.record.push(line.to_owned());
        self
    }

    fn entry(mut self, path: &str, content: Content, line: Option<String>) -> Wheel {
        self.entries.push(WheelEntry {
            path: path.to_owned(),
            content,
            line,
        });
        self
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}-{}-py3-none-any.whl", self.name, self.version)
    }

    fn dist_info(&self) -> String {
        format!("{}-{}.dist-info", self.name, self.version)
    }

    /// The text of its `RECORD`.
    pub fn record(&self) -> String {
        let line = |entry: &WheelEntry| match (&entry.line, &entry.content) {
            (Some(line), _) => line.clone(),
            (None, Content::File(content)) => format!("{},{},{}", entry.path, record_hash(content), content.len()),
            (None, Content::Link(_)) => format!("{},,", entry.path),
        };
        let mut lines: Vec<String> = self.entries.iter().map(line).collect();
        lines.extend(self.record.iter().cloned());
        let dist_info = self.dist_info();
        for (name, text) in self.texts() {
            lines.push(format!(
                "{dist_info}/{name},{},{}",
                record_hash(text.as_bytes()),
                text.len()
            ));
        }
        lines.push(format!("{dist_info}/RECORD,,"));
        lines.join("\n") + "\n"
    }

    fn texts(&self) -> [(&'static str, String); 2] {
        let Wheel { name, version, .. } = self;
        [
            (
                "METADATA",
                format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
            ),
            (
                "WHEEL",
                "Wheel-Version: 1.0\nGenerator: trial\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
            ),
        ]
    }

    /// The `METADATA` and the `RECORD` of this wheel as files that another wheel can bring along: path below
    /// `site-packages`, content.
    pub fn installed_texts(&self) -> Vec<(String, String)> {
        let dist_info = self.dist_info();
        let mut texts: Vec<(String, String)> = self
            .texts()
            .map(|(name, text)| (format!("{dist_info}/{name}"), text))
            .into();
        texts.push((format!("{dist_info}/RECORD"), self.record()));
        texts
    }

    /// The archive.
    ///
    /// # Errors
    /// The archive cannot hold a name or a content.
    pub fn build(&self) -> Result<Vec<u8>, TrialError> {
        let failed =
            |error: zip::result::ZipError| TrialError::Other(format!("cannot build {}: {error}", self.file_name()));
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |path: &str, content: &[u8]| {
            archive.start_file(path, options)?;
            archive.write_all(content).map_err(zip::result::ZipError::Io)
        };
        let dist_info = self.dist_info();
        for (name, text) in self.texts() {
            add(&format!("{dist_info}/{name}"), text.as_bytes()).map_err(failed)?;
        }
        for entry in &self.entries {
            if let Content::File(content) = &entry.content {
                add(&entry.path, content).map_err(failed)?;
            }
        }
        add(&format!("{dist_info}/RECORD"), self.record().as_bytes()).map_err(failed)?;
        for entry in &self.entries {
            if let Content::Link(target) = &entry.content {
                archive
                    .add_symlink(entry.path.as_str(), target.as_str(), options)
                    .map_err(failed)?;
            }
        }
        Ok(archive.finish().map_err(failed)?.into_inner())
    }
}

/// A source distribution whose build runs `code`: its file name and the archive. It brings its own build backend, so that
/// nothing has to be fetched for it.
///
/// # Errors
/// The archive cannot be written.
pub fn source(name: &str, code: &str) -> Result<(String, Vec<u8>), TrialError> {
    let failed = |error: zip::result::ZipError| TrialError::Other(format!("cannot build {name}: {error}"));
    let project = format!(
        "[project]\nname = \"{name}\"\nversion = \"1.0\"\n\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\n\
         backend-path = [\".\"]\n"
    );
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
    let files = [
        ("pyproject.toml", project.as_str()),
        ("PKG-INFO", &metadata),
        ("backend.py", code),
        ("setup.py", code),
    ];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        archive
            .start_file(format!("{name}-1.0/{path}"), SimpleFileOptions::default())
            .map_err(failed)?;
        archive
            .write_all(text.as_bytes())
            .map_err(|error| failed(error.into()))?;
    }
    Ok((
        format!("{name}-1.0.zip"),
        archive.finish().map_err(failed)?.into_inner(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_lists_what_it_holds_and_a_lying_one_something_else() {
        let honest = Wheel::module("six", "1.16.0", "MARK = 1\n");
        assert!(honest.record().starts_with("six.py,sha256="), "{}", honest.record());
        let lying = Wheel::new("six", "1.16.0").lying_file("six.py", "MARK = 2\n", "MARK = 1\n");
        let claim = format!("six.py,{},", record_hash(b"MARK = 1\n"));
        assert!(lying.record().lines().any(|line| line == claim), "{}", lying.record());
        let archive = zip::ZipArchive::new(Cursor::new(lying.build().unwrap())).unwrap();
        let mut names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        names.sort_unstable();
        let dist_info = ["METADATA", "RECORD", "WHEEL"].map(|name| format!("six-1.16.0.dist-info/{name}"));
        assert_eq!(names[..3], dist_info);
        assert_eq!(names[3..], ["six.py"]);
    }
}
