//! Builds test wheels, with true or false claims about their content.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::Digest as _;
use zip::write::SimpleFileOptions;

/// A wheel for any platform.
pub struct Wheel {
    name: &'static str,
    version: &'static str,
    files: Vec<(String, Vec<u8>)>,
    edit: fn(String) -> String,
}

impl Wheel {
    pub fn new(name: &'static str, version: &'static str) -> Wheel {
        let info = format!("{name}-{version}.dist-info");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let files = [("METADATA", metadata.as_str()), ("WHEEL", wheel)];
        let files = files.map(|(file, content)| (format!("{info}/{file}"), content.into()));
        Wheel {
            name,
            version,
            files: files.into(),
            edit: |record| record,
        }
    }

    /// A file at `path`, relative to site-packages, in the place of an earlier one.
    pub fn file(mut self, path: &str, content: &str) -> Wheel {
        self.files.retain(|(known, _)| known != path);
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// A file that is installed at `path`, relative to the environment.
    pub fn data(self, path: &str, content: &str) -> Wheel {
        let path = format!("{}-{}.data/data/{path}", self.name, self.version);
        self.file(&path, content)
    }

    /// Changes the true RECORD before it is written.
    pub fn claiming(mut self, edit: fn(String) -> String) -> Wheel {
        self.edit = edit;
        self
    }

    /// Writes the wheel into `folder`.
    pub fn write(self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let info = format!("{}-{}.dist-info", self.name, self.version);
        let path = folder.join(format!("{}-{}-py3-none-any.whl", self.name, self.version));
        let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        let mut record = format!("{info}/RECORD,,\n");
        for (path, content) in &self.files {
            writeln!(record, "{path},{},{}", claim(content), content.len()).unwrap();
            zip.start_file(path, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.start_file(format!("{info}/RECORD"), SimpleFileOptions::default())
            .unwrap();
        zip.write_all((self.edit)(record).as_bytes()).unwrap();
        zip.finish().unwrap();
    }
}

/// The hash of `content` in the form of a RECORD.
pub fn claim(content: &[u8]) -> String {
    format!(
        "sha256={}",
        BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(content))
    )
}

/// The hash of a wheel in `folder`, as `--hash` takes it.
pub fn hash_of(folder: &Path, name: &str, version: &str) -> String {
    let bytes = std::fs::read(folder.join(format!("{name}-{version}-py3-none-any.whl"))).unwrap();
    let mut text = String::from("sha256:");
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
