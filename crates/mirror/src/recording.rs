//! What was fetched, as a folder:
//!
//! ```text
//! FORMAT                    version of this layout
//! entries/<aa>/<digest>     one answer: JSON, named by the digest of its place
//! blobs/<aa>/<sha256>       contents, each once
//! incoming/part-*           files that are being written, each locked by its writer
//! ```
//!
//! A file gets its name when it is whole, so several recorders may write at once: the last answer to one request stays. Nothing
//! here holds a login: addresses have no user, password or query, and no header of a request is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::error::MirrorError;
use crate::link::{self, Link};

/// The layout, as `FORMAT` has it.
const FORMAT: &str = "hybrid-cache mirror 1\n";
/// Largest file of an entry, in bytes.
const MAX_ENTRY_BYTES: u64 = 64 << 10;
/// Most entries.
const MAX_ENTRIES: usize = 500_000;
/// Largest list of links, in bytes.
const MAX_LINKS_BYTES: u64 = 256 << 20;
/// Age from which a file that nobody writes is deleted: its writer locks it at once.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// A content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Its digest, which names its file.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The request.
    pub place: String,
    /// Identity of the upstream's address; `None` for a file that a page has a link to, whose request identifies its address.
    pub upstream: Option<String>,
    /// The answer's status.
    pub status: u16,
    /// The content; `None` if the answer has none.
    pub blob: Option<Blob>,
    /// Its media type.
    pub media_type: String,
    /// How long clients may keep it.
    pub cache_control: Option<String>,
    /// A page once more, compressed.
    pub gzip: Option<Blob>,
    /// The addresses of a page's links, for a recording that goes on later.
    pub links: Option<Blob>,
}

impl Entry {
    fn blobs(&self) -> impl Iterator<Item = &Blob> {
        [&self.blob, &self.gzip, &self.links].into_iter().flatten()
    }
}

/// A folder with what was fetched.
pub struct Recording {
    folder: PathBuf,
    max_bytes: u64,
    bytes: AtomicU64,
    entries: RwLock<HashMap<String, Entry>>,
    links: RwLock<HashMap<String, Link>>,
}

/// A file that is being written. It is deleted unless it is kept.
pub struct Incoming<'a> {
    recording: &'a Recording,
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
}

/// Why a content is not kept.
#[derive(Debug)]
pub enum Unkept {
    /// The disk.
    Io(io::Error),
    /// The recording would be larger than it may be.
    Full,
    /// It is not the content that the index page promises.
    OtherHash,
}

impl std::fmt::Display for Unkept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unkept::Io(error) => write!(f, "it cannot be written: {error}"),
            Unkept::Full => f.write_str("the recording is as large as it may be"),
            Unkept::OtherHash => f.write_str("its sha256 is not the one that its page says"),
        }
    }
}

impl From<io::Error> for Unkept {
    fn from(error: io::Error) -> Unkept {
        Unkept::Io(error)
    }
}

impl Recording {
    /// Opens a recording to add to it; what is damaged is left out, to be fetched again.
    ///
    /// # Errors
    /// The folder cannot be written, or holds something else.
    pub fn to_record(folder: &Path, max_bytes: u64) -> Result<Recording, MirrorError> {
        let format = folder.join("FORMAT");
        if !format.exists() {
            if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(MirrorError::NotARecording {
                    path: folder.to_owned(),
                    what: ": it is not empty and has no file FORMAT".to_owned(),
                });
            }
            for part in ["entries", "blobs", "incoming"] {
                let path = folder.join(part);
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
                made.map_err(MirrorError::folder(&path))?;
            }
            write_whole(&folder.join("incoming"), &format, FORMAT.as_bytes()).map_err(MirrorError::folder(&format))?;
        }
        let recording = Recording::read(folder, max_bytes)?;
        recording.sweep();
        let damaged: BTreeSet<String> = recording.damaged().into_keys().collect();
        for sha256 in &damaged {
            let path = recording.path_of(sha256);
            if path.exists() {
                fs::remove_file(&path).map_err(MirrorError::folder(&path))?;
            }
        }
        recording.forget(&damaged)?;
        recording.read_links()?;
        recording.count();
        Ok(recording)
    }

    /// Opens a recording to serve it.
    ///
    /// # Errors
    /// There is none, or a file of it is damaged.
    pub fn to_replay(folder: &Path) -> Result<Recording, MirrorError> {
        let path = folder.to_owned();
        if !folder.join("FORMAT").exists() {
            return Err(MirrorError::Empty { path });
        }
        let recording = Recording::read(folder, u64::MAX)?;
        if recording.entries().is_empty() {
            return Err(MirrorError::Empty { path });
        }
        if let Some(what) = recording.damaged().into_values().next() {
            return Err(MirrorError::Damaged { path, what });
        }
        Ok(recording)
    }

    fn read(folder: &Path, max_bytes: u64) -> Result<Recording, MirrorError> {
        let format = folder.join("FORMAT");
        let found = read_bounded(&format, 1024).map_err(MirrorError::folder(&format))?;
        if found != FORMAT.as_bytes() {
            return Err(MirrorError::NotARecording {
                path: folder.to_owned(),
                what: format!(": FORMAT has {:?}", String::from_utf8_lossy(&found).trim()),
            });
        }
        let recording = Recording {
            folder: folder.to_owned(),
            max_bytes,
            bytes: AtomicU64::new(0),
            entries: RwLock::default(),
            links: RwLock::default(),
        };
        let entries = folder.join("entries");
        let mut found = recording.entries_mut();
        for path in files_of_folders(&entries).map_err(MirrorError::folder(&entries))? {
            // One that cannot be read is one that was not recorded.
            let entry = read_bounded(&path, MAX_ENTRY_BYTES).ok();
            let entry = entry.and_then(|text| serde_json::from_slice::<Entry>(&text).ok());
            let is_sound = |entry: &Entry| {
                let is_named = path.file_name().is_some_and(|name| *name == *name_of(&entry.place));
                is_named
                    && entry
                        .blobs()
                        .all(|blob| link::sha256(&blob.sha256).as_ref() == Some(&blob.sha256))
            };
            if let Some(entry) = entry.filter(is_sound)
                && found.len() < MAX_ENTRIES
            {
                found.insert(entry.place.clone(), entry);
            }
        }
        drop(found);
        Ok(recording)
    }

    /// Digests of contents that are not what was recorded, each with what is wrong.
    fn damaged(&self) -> BTreeMap<String, String> {
        let entries = self.entries();
        let blobs: BTreeMap<_, _> = entries
            .values()
            .flat_map(|entry| entry.blobs().map(|blob| (blob.sha256.clone(), entry.place.clone())))
            .collect();
        let problem = |sha256: &str| match digest(&self.path_of(sha256)) {
            Ok(found) if found == *sha256 => None,
            Ok(_) => Some("a file of it has changed".to_owned()),
            Err(error) => Some(format!("a file of it cannot be read: {error}")),
        };
        let all = blobs.into_iter();
        all.filter_map(|(sha256, place)| Some((problem(&sha256)?, sha256, place)))
            .map(|(problem, sha256, place)| (sha256, format!("{problem} ({place})")))
            .collect()
    }

    /// Deletes the answers that have one of these contents, so that a replay takes them for not recorded.
    fn forget(&self, damaged: &BTreeSet<String>) -> Result<(), MirrorError> {
        let is_whole = |entry: &Entry| !entry.blobs().any(|blob| damaged.contains(&blob.sha256));
        let mut entries = self.entries_mut();
        for place in entries
            .values()
            .filter(|entry| !is_whole(entry))
            .map(|entry| &entry.place)
        {
            let path = self.path_of_entry(place);
            match fs::remove_file(&path) {
                // Another recorder has done it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(MirrorError::folder(&path))?,
            }
        }
        entries.retain(|_, entry| is_whole(entry));
        Ok(())
    }

    fn read_links(&self) -> Result<(), MirrorError> {
        let lists: Vec<Blob> = self
            .entries()
            .values()
            .filter_map(|entry| entry.links.clone())
            .collect();
        for blob in lists {
            let path = self.path_of(&blob.sha256);
            let text = read_bounded(&path, MAX_LINKS_BYTES).map_err(MirrorError::folder(&path))?;
            self.learn(serde_json::from_slice(&text).unwrap_or_default());
        }
        Ok(())
    }

    fn count(&self) {
        let entries = self.entries();
        let sizes: BTreeMap<_, _> = entries
            .values()
            .flat_map(Entry::blobs)
            .map(|blob| (&blob.sha256, blob.bytes))
            .collect();
        self.bytes.store(sizes.values().sum(), Ordering::Relaxed);
    }

    /// Deletes what recorders have left behind that were killed.
    fn sweep(&self) {
        for entry in fs::read_dir(self.folder.join("incoming"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let age = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_BEHIND));
            let file = File::open(entry.path()).ok().filter(|_| is_old);
            let is_free = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if file.is_some_and(|file| is_free(&file)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Digest of the list of answers: which requests, with which contents.
    pub fn digest(&self) -> String {
        let entries = self.entries();
        let sorted: BTreeMap<_, _> = entries.iter().collect();
        let mut hash = blake3::Hasher::new();
        for (place, entry) in sorted {
            let sha256 = entry.blob.as_ref().map_or("-", |blob| blob.sha256.as_str());
            hash.update(format!("{place}\0{}\0{sha256}\n", entry.status).as_bytes());
        }
        hash.finalize().to_hex()[..32].to_owned()
    }

    /// Bytes of all contents.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn find(&self, place: &str) -> Option<Entry> {
        self.entries().get(place).cloned()
    }

    pub(crate) fn link(&self, id: &str) -> Option<Link> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(id).cloned()
    }

    pub(crate) fn learn(&self, found: Vec<Link>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.extend(found.into_iter().map(|link| (link.id(), link)));
    }

    pub(crate) fn open(&self, blob: &Blob) -> io::Result<File> {
        File::open(self.path_of(&blob.sha256))
    }

    /// Begins a file.
    pub(crate) fn incoming(&self) -> io::Result<Incoming<'_>> {
        let file = tempfile::Builder::new()
            .prefix("part-")
            .tempfile_in(self.folder.join("incoming"))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Incoming {
            recording: self,
            file,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    pub(crate) fn keep_bytes(&self, bytes: &[u8]) -> Result<Blob, Unkept> {
        let mut incoming = self.incoming()?;
        incoming.write(bytes)?;
        incoming.keep(None)
    }

    /// Keeps an answer, whose contents are kept already.
    pub(crate) fn keep(&self, entry: Entry) -> Result<(), Unkept> {
        let path = self.path_of_entry(&entry.place);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let text = serde_json::to_vec(&entry).map_err(io::Error::other)?;
        write_whole(&self.folder.join("incoming"), &path, &text)?;
        self.entries_mut().insert(entry.place.clone(), entry);
        Ok(())
    }

    fn path_of_entry(&self, place: &str) -> PathBuf {
        let name = name_of(place);
        self.folder.join("entries").join(&name[..2]).join(name)
    }

    fn path_of(&self, sha256: &str) -> PathBuf {
        let folder = sha256.get(..2).unwrap_or_default();
        self.folder.join("blobs").join(folder).join(sha256)
    }

    fn entries(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming<'_> {
    /// The file, to read what is in it already.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Unkept> {
        let count = bytes.len() as u64;
        let before = self.recording.bytes.fetch_add(count, Ordering::Relaxed);
        self.bytes += count;
        if before.saturating_add(count) > self.recording.max_bytes {
            return Err(Unkept::Full);
        }
        self.hash.update(bytes);
        Ok(self.file.write_all(bytes)?)
    }

    /// Gives the file its name.
    pub fn keep(mut self, expected: Option<&str>) -> Result<Blob, Unkept> {
        let sha256 = hexadecimal(&std::mem::take(&mut self.hash).finalize());
        if expected.is_some_and(|expected| expected != sha256) {
            return Err(Unkept::OtherHash);
        }
        let blob = Blob {
            sha256,
            bytes: self.bytes,
        };
        let path = self.recording.path_of(&blob.sha256);
        if path.metadata().is_ok_and(|found| found.len() == blob.bytes) {
            return Ok(blob);
        }
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        self.file.as_file().sync_data()?;
        fs::rename(self.file.path(), &path)?;
        self.bytes = 0;
        Ok(blob)
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.recording.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn name_of(place: &str) -> String {
    blake3::hash(place.as_bytes()).to_hex().to_string()
}

/// Whole or not at all.
fn write_whole(incoming: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("part-").tempfile_in(incoming)?;
    file.write_all(text)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

fn files_of_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(folder)? {
        for file in fs::read_dir(folder?.path())? {
            found.push(file?.path());
        }
    }
    Ok(found)
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
