//! Hashes many files with several threads, each inode once, and prefetches the next files meanwhile.
//!
//! Files are read in the order of their inodes, which is roughly their order on disk. A thread opens a batch, tells the
//! kernel that it will read all of it, and then reads it. On a cold page cache the disk therefore has several requests
//! at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Advice, Mode, OFlags};
use sha2::Digest as _;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Files in a batch, which each thread has open at once.
const BATCH_FILES: usize = 64;
/// A batch takes no more files after this many bytes.
const BATCH_BYTES: u64 = 32 << 20;
/// The user's program may already be running and comes first. This is not the lowest priority, because other tasks may
/// wait for the publication.
const NICE: i32 = 10;

/// Device and number of an inode.
pub type Inode = (u64, u64);

/// The priority of hashing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Normal priority.
    Full,
    /// Low processor priority.
    Background,
}

/// One inode to hash.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// One of its names.
    pub path: PathBuf,
    /// Its size in bytes, as far as is known.
    pub bytes: u64,
    /// True to compute a SHA-256 in addition to blake3.
    pub sha256: bool,
}

/// The hashes of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The hash that keys are made of.
    pub blake3: blake3::Hash,
    /// The hash that `RECORD` files use, if requested.
    pub sha256: Option<[u8; 32]>,
}

/// Each inode's hashes, or why it cannot be read.
pub type Digests = BTreeMap<Inode, Result<Digest, String>>;

/// Hashes every inode.
pub fn all(wanted: &BTreeMap<Inode, Wanted>, pace: Pace) -> Digests {
    let batches = batches(wanted);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let digests = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(batches.len()) {
            scope.spawn(|| {
                if pace == Pace::Background {
                    // On Linux this sets the priority of the calling thread only. Ignore a refusal.
                    let _ = rustix::process::setpriority_process(None, NICE);
                }
                let mut block = vec![0; BLOCK_BYTES];
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = hash_batch(batch, &mut block);
                    digests
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .extend(done);
                }
            });
        }
    });
    digests.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

type Batch<'a> = Vec<(Inode, &'a Wanted)>;

fn batches(wanted: &BTreeMap<Inode, Wanted>) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    let mut bytes = u64::MAX;
    for (inode, file) in wanted {
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_FILES && bytes < BATCH_BYTES => batch.push((*inode, file)),
            _ => {
                bytes = 0;
                batches.push(vec![(*inode, file)]);
            }
        }
        bytes += file.bytes;
    }
    batches
}

fn hash_batch(batch: &Batch<'_>, block: &mut [u8]) -> Vec<(Inode, Result<Digest, String>)> {
    let opened: Vec<_> = batch.iter().map(|(_, file)| open(file)).collect();
    let mut digests = Vec::new();
    for ((inode, wanted), file) in batch.iter().zip(opened) {
        let digest = file.and_then(|file| hash(file, wanted.sha256, block));
        digests.push((*inode, digest.map_err(|error| error.to_string())));
    }
    digests
}

fn open(wanted: &Wanted) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(&wanted.path, flags, Mode::empty())?;
    // Ignore a refusal: this is only advice.
    let _ = rustix::fs::fadvise(&file, 0, NonZero::new(wanted.bytes), Advice::WillNeed);
    Ok(File::from(file))
}

fn hash(mut file: File, sha256: bool, block: &mut [u8]) -> io::Result<Digest> {
    let mut own = blake3::Hasher::new();
    let mut theirs = sha256.then(sha2::Sha256::new);
    loop {
        let read = match file.read(block) {
            Ok(0) => break,
            Ok(read) => &block[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        own.update(read);
        if let Some(theirs) = &mut theirs {
            theirs.update(read);
        }
    }
    Ok(Digest {
        blake3: own.finalize(),
        sha256: theirs.map(|theirs| theirs.finalize().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn many_files_are_hashed_and_an_unreadable_one_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let mut wanted = BTreeMap::new();
        let mut expected = BTreeMap::new();
        for number in 0..200_u32 {
            let path = dir.path().join(number.to_string());
            let content = number.to_string().repeat(if number == 7 { 3 << 20 } else { 10 });
            std::fs::write(&path, &content).unwrap();
            let inode = (path.metadata().unwrap().dev(), path.metadata().unwrap().ino());
            expected.insert(inode, blake3::hash(content.as_bytes()));
            let (bytes, sha256) = (content.len() as u64, number == 7);
            wanted.insert(inode, Wanted { path, bytes, sha256 });
        }
        let gone = Wanted {
            path: dir.path().join("gone"),
            bytes: 0,
            sha256: false,
        };
        wanted.insert((0, 0), gone);
        let mut digests = all(&wanted, Pace::Full);
        assert!(digests.remove(&(0, 0)).unwrap().is_err());
        let found: BTreeMap<Inode, blake3::Hash> = digests
            .iter()
            .map(|(inode, digest)| (*inode, digest.as_ref().unwrap().blake3))
            .collect();
        assert_eq!(found, expected);
        let sha256 = digests.values().filter_map(|digest| digest.as_ref().unwrap().sha256);
        let seven = sha2::Sha256::digest("7".repeat(3 << 20).as_bytes());
        assert_eq!(sha256.collect::<Vec<_>>(), [<[u8; 32]>::from(seven)]);
    }
}
