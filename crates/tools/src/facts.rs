//! Facts about this machine that are slow to find out, remembered with what they depend on.
//!
//! Finding the tools starts pip, apt, the interpreter and cargo, which takes half a second. Their answers depend on variables,
//! configuration files and programs. A fact is kept under a [`Fingerprint`] of those, together with its witnesses: the state of
//! files that are known only after it was found out. If the fingerprint has changed or a witness has, the fact is found out again.
//!
//! ```text
//! .tools/.facts/<kind>-<fingerprint>.json      for its owner alone: an address may hold a password
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkout::Checkout;
use crate::{environment, process};

/// After this time a fact is found out again even if no file has changed: it may depend on the network.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of kept facts of one kind: one for each set of variables that a user has in use.
const MAX_KEPT_FACTS: usize = 8;
/// Changes at each start of the machine, and with it what the kernel allows.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What differs between two states of a file; `None` is a file that does not exist.
type State = Option<(u64, u64, i64, i64, i64, i64)>;

fn state(path: &Path) -> State {
    let data = fs::metadata(path).ok()?;
    Some((
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
        data.ctime(),
        data.ctime_nsec(),
    ))
}

/// The state of a file or folder at the time when a fact was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    path: PathBuf,
    state: State,
}

impl Witness {
    /// Its state now.
    pub fn new(path: impl Into<PathBuf>) -> Witness {
        let path = path.into();
        let state = state(&path);
        Witness { path, state }
    }

    fn holds(&self) -> bool {
        state(&self.path) == self.state
    }
}

/// A digest of what a fact depends on.
pub struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    /// Of nothing but this program and this start of the machine.
    pub fn from_program() -> Fingerprint {
        let mut fingerprint = Fingerprint(blake3::Hasher::new());
        fingerprint.file(Path::new("/proc/self/exe"));
        fingerprint.text(&fs::read_to_string(BOOT_ID).unwrap_or_default());
        fingerprint
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    /// Names and values of the variables that `wanted` accepts.
    pub fn variables(&mut self, wanted: impl Fn(&str) -> bool) {
        for (name, value) in environment::all() {
            if name.to_str().is_some_and(&wanted) {
                self.bytes(name.as_bytes());
                self.bytes(value.as_bytes());
            }
        }
    }

    /// The state of a file, there or not.
    pub fn file(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
        self.text(&format!("{:?}", state(path)));
    }

    /// The state of a folder and of all files in it.
    pub fn folder(&mut self, path: &Path) {
        self.file(path);
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files.iter().for_each(|file| self.file(file));
    }

    /// The file that a program's name stands for.
    pub fn program(&mut self, name: &str) -> Option<PathBuf> {
        let found = process::find(name);
        match &found {
            Some(path) => self.file(path),
            None => self.text(name),
        }
        found
    }

    fn hexadecimal(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

#[derive(Serialize)]
struct WrittenFact<'a, T> {
    witnesses: &'a [Witness],
    fact: &'a T,
}

#[derive(Deserialize)]
struct ReadFact<T> {
    witnesses: Vec<Witness>,
    fact: T,
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.path(".tools/.facts")
}

fn file(checkout: &Checkout, kind: &str, fingerprint: &Fingerprint) -> PathBuf {
    folder(checkout).join(format!("{kind}-{}.json", fingerprint.hexadecimal()))
}

/// A fact that was kept, if all that it depends on is as it was.
pub fn recall<T: DeserializeOwned>(checkout: &Checkout, kind: &str, fingerprint: &Fingerprint) -> Option<T> {
    let file = file(checkout, kind, fingerprint);
    let age = fs::metadata(&file).ok()?.modified().ok()?.elapsed().ok()?;
    let read: ReadFact<T> = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
    (age < MAX_AGE && read.witnesses.iter().all(Witness::holds)).then_some(read.fact)
}

/// Keeps a fact. If the checkout cannot be written, it is found out again next time.
pub fn keep<T: Serialize>(checkout: &Checkout, kind: &str, fingerprint: &Fingerprint, witnesses: &[Witness], fact: &T) {
    let written = WrittenFact { witnesses, fact };
    // Keeping is only a gain of time.
    let _ = serde_json::to_vec(&written)
        .map_err(io::Error::other)
        .and_then(|text| write(&file(checkout, kind, fingerprint), &text));
    make_room(checkout, kind);
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut staged = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    staged.write_all(text)?;
    staged.persist(file)?;
    Ok(())
}

/// Deletes the oldest facts of a kind.
fn make_room(checkout: &Checkout, kind: &str) {
    let entries = fs::read_dir(folder(checkout)).into_iter().flatten().flatten();
    let is_of_kind = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(&format!("{kind}-")));
    let mut kept: Vec<_> = entries
        .filter(|entry| is_of_kind(&entry.file_name()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort();
    for (_, path) in kept.iter().rev().skip(MAX_KEPT_FACTS) {
        let _ = fs::remove_file(path);
    }
}

/// Forgets all facts: what is true now is found out when it is needed next.
pub fn forget(checkout: &Checkout) {
    let _ = fs::remove_dir_all(folder(checkout));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(root: &Path) -> Checkout {
        fs::create_dir_all(root.join("bench-scenarios")).unwrap();
        Checkout::open(root).unwrap()
    }

    #[test]
    fn a_fact_holds_until_its_witness_or_what_it_depends_on_changes() {
        let folder = tempfile::tempdir().unwrap();
        let checkout = checkout(folder.path());
        let (settings, witness) = (folder.path().join("settings"), folder.path().join("witness"));
        let fingerprint = || {
            let mut fingerprint = Fingerprint::from_program();
            fingerprint.file(&settings);
            fingerprint
        };
        let recalled = || recall::<String>(&checkout, "test", &fingerprint());
        let find = |fact: &str| {
            let witnesses = [Witness::new(&witness)];
            keep(&checkout, "test", &fingerprint(), &witnesses, &fact);
        };
        assert_eq!(recalled(), None);
        find("first");
        assert_eq!(recalled().as_deref(), Some("first"));
        fs::write(&settings, "other").unwrap();
        assert_eq!(recalled(), None, "a settings file appeared");
        find("second");
        fs::write(&witness, "there now").unwrap();
        assert_eq!(recalled(), None, "the witness appeared");
        find("third");
        fs::write(&witness, "there then").unwrap();
        assert_eq!(
            recalled(),
            None,
            "the witness changed within the same second, to the same length"
        );
        find("fourth");
        forget(&checkout);
        assert_eq!(recalled(), None, "it was forgotten");
    }

    #[test]
    fn few_facts_are_kept_and_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let checkout = checkout(root.path());
        for number in 0..3 * MAX_KEPT_FACTS {
            let mut fingerprint = Fingerprint::from_program();
            fingerprint.text(&number.to_string());
            keep(&checkout, "test", &fingerprint, &[], &number);
        }
        let files: Vec<_> = fs::read_dir(folder(&checkout)).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), MAX_KEPT_FACTS);
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
