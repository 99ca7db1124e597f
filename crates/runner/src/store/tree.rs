//! Lists everything below a folder with the hash of each file, in a form that can itself be hashed.
//!
//! ```text
//! <blake3 of the bytes>  TAB  file | exec  TAB  <path>
//! <target>               TAB  link         TAB  <path>
//!                        TAB  folder       TAB  <path>        (empty folders only)
//! ```
//!
//! There is one line for each entry, sorted by path. The content consists of names, bytes and whether a file is
//! executable; times, owners and other mode bits do not count. Unprintable bytes of names are written as `\xNN`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use hybrid_cache_model::{Failure, FailureKind};

use super::digest::{self, Digests, Inode, Pace, Wanted};
use super::failure::IoContext;
use super::known_files::{Facts, KnownFiles};

/// One file, link or empty folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative to the folder that was read.
    pub path: PathBuf,
    /// The path as one line of text.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its inode.
    pub inode: Inode,
    /// Its size in bytes.
    pub bytes: u64,
    /// The number of its hard links.
    pub links: u64,
}

impl Item {
    fn file(path: PathBuf, inode: Inode, facts: Facts) -> Item {
        Item {
            name: text(&path),
            path,
            kind: Kind::File(facts.executable),
            inode,
            bytes: facts.bytes,
            links: facts.links,
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file; true if it has any execute bit.
    File(bool),
    /// A symbolic link with its target.
    Link(String),
    /// An empty folder.
    Folder,
}

/// All entries below a folder, without their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The folder.
    pub root: PathBuf,
    /// Sorted by name.
    pub items: Vec<Item>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The hash of a file's bytes, a link's target, or nothing.
    pub content: String,
    /// `file`, `exec`, `link` or `folder`.
    pub mode: &'static str,
}

/// The lines of a folder's entries, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each entry's line.
    pub lines: BTreeMap<String, Line>,
}

impl Tree {
    /// Reads everything below `root`, sorted and without following links. `root` may be a file.
    ///
    /// # Errors
    /// A folder cannot be read, or something is neither a file nor a folder nor a link.
    pub fn read(root: &Path) -> Result<Tree, Failure> {
        Tree::read_beside(root, &KnownFiles::default())
    }

    /// Like [`Tree::read`], for folders that share files with others that were read before.
    ///
    /// # Errors
    /// See [`Tree::read`].
    pub fn read_beside(root: &Path, known: &KnownFiles) -> Result<Tree, Failure> {
        let mut tree = Tree {
            root: root.to_owned(),
            items: Vec::new(),
        };
        let mut pending = vec![(PathBuf::new(), None)];
        while let Some((path, entry)) = pending.pop() {
            if let Some((inode, facts)) = entry.and_then(|inode| Some((inode, known.get(inode)?))) {
                tree.items.push(Item::file(path, inode, facts));
                continue;
            }
            let full = tree.full(&path);
            let found = full.symlink_metadata().io_context("look at", &full)?;
            let inode = (found.dev(), found.ino());
            let facts = Facts::from_metadata(&found);
            let mut item = Item::file(path, inode, facts);
            if found.is_dir() {
                let before = pending.len();
                for entry in std::fs::read_dir(&full).io_context("read the folder", &full)? {
                    let entry = entry.io_context("read the folder", &full)?;
                    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                    let inode = is_file.then(|| (found.dev(), entry.ino()));
                    pending.push((item.path.join(entry.file_name()), inode));
                }
                if pending.len() > before {
                    continue;
                }
                item.kind = Kind::Folder;
            } else if found.is_file() {
                known.add(inode, facts, entry);
            } else if found.is_symlink() {
                let target = std::fs::read_link(&full).io_context("read the link", &full)?;
                item.kind = Kind::Link(text(&target));
            } else {
                let message = format!("{} is neither a file nor a folder nor a link", full.display());
                return Err(Failure::new(FailureKind::CacheDamaged, message));
            }
            tree.items.push(item);
        }
        tree.items.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tree)
    }

    /// The full path of an item.
    pub fn full(&self, path: &Path) -> PathBuf {
        // Joining an empty path would add a trailing slash.
        if path.as_os_str().is_empty() {
            self.root.clone()
        } else {
            self.root.join(path)
        }
    }

    /// Adds every file's inode to `wanted`.
    pub fn want(&self, wanted: &mut BTreeMap<Inode, Wanted>) {
        for item in self.items.iter().filter(|item| matches!(item.kind, Kind::File(_))) {
            wanted.entry(item.inode).or_insert_with(|| Wanted {
                path: self.full(&item.path),
                bytes: item.bytes,
                sha256: false,
            });
        }
    }

    /// The listing, with the hashes of its files.
    ///
    /// # Errors
    /// The name of a file that cannot be read, with the reason.
    pub fn listing(&self, digests: &Digests) -> Result<Listing, (String, String)> {
        let mut listing = Listing::default();
        for item in &self.items {
            let (content, mode) = match &item.kind {
                Kind::Folder => (String::new(), "folder"),
                Kind::Link(target) => (target.clone(), "link"),
                Kind::File(executable) => {
                    let hash = match digests.get(&item.inode) {
                        Some(Ok(digest)) => digest.blake3.to_hex().to_string(),
                        Some(Err(error)) => return Err((item.name.clone(), format!("cannot be read: {error}"))),
                        None => return Err((item.name.clone(), "was not hashed".to_owned())),
                    };
                    (hash, if *executable { "exec" } else { "file" })
                }
            };
            listing.lines.insert(item.name.clone(), Line { content, mode });
        }
        Ok(listing)
    }
}

/// Reads and hashes what is below `root`.
///
/// # Errors
/// Something cannot be read, or is not a file, folder or link.
pub fn read(root: &Path, pace: Pace) -> Result<Listing, Failure> {
    let tree = Tree::read(root)?;
    let mut wanted = BTreeMap::new();
    tree.want(&mut wanted);
    let digests = digest::all(&wanted, pace);
    tree.listing(&digests).map_err(|(name, what)| {
        let path = tree.full(Path::new(&name));
        Failure::new(FailureKind::CacheAccess, format!("{} {what}", path.display()))
    })
}

impl Listing {
    /// The listing as text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, Line { content, mode }) in &self.lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{content}\t{mode}\t{name}");
        }
        text
    }

    /// Parses a listing; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Listing> {
        let mut listing = Listing::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, '\t');
            let (content, mode, name) = (fields.next()?, fields.next()?, fields.next()?);
            let mode = ["file", "exec", "link", "folder"]
                .into_iter()
                .find(|known| *known == mode)?;
            let content = content.to_owned();
            listing.lines.insert(name.to_owned(), Line { content, mode });
        }
        Some(listing)
    }

    /// The hash of the whole listing.
    pub fn hash(&self) -> String {
        blake3::hash(self.to_text().as_bytes()).to_hex().to_string()
    }

    /// The differences of `found` from this listing, by path.
    pub fn differences(&self, found: &Listing) -> Vec<(String, String)> {
        let mut differences = Vec::new();
        for (name, expected) in &self.lines {
            let what = match found.lines.get(name) {
                None => "is missing",
                Some(line) if line == expected => continue,
                Some(line) if line.mode != expected.mode => "is another kind of file",
                Some(_) => "differs from the published content",
            };
            differences.push((name.clone(), what.to_owned()));
        }
        let added = found.lines.keys().filter(|name| !self.lines.contains_key(*name));
        differences.extend(added.map(|name| (name.clone(), "was not published".to_owned())));
        differences
    }
}

/// A path as text without line breaks or tabs. Different paths have different texts.
pub fn text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                // A control character has one or two bytes; write each of them.
                letter if letter.is_control() => {
                    let mut buffer = [0; 4];
                    for byte in letter.encode_utf8(&mut buffer).bytes() {
                        let _ = write!(text, "\\x{byte:02x}");
                    }
                }
                letter => text.push(letter),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::PermissionsExt;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/empty")).unwrap();
        for (name, content) in [("a/f", "one"), ("a b", "two"), ("a.b", "three")] {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        rustix::fs::symlink("a/f", dir.path().join("l")).unwrap();
        dir
    }

    fn listing(dir: &tempfile::TempDir) -> Listing {
        read(dir.path(), Pace::Full).unwrap()
    }

    #[test]
    fn a_listing_reads_back_and_ignores_times_and_owners() {
        let (one, other) = (tree(), tree());
        let first = listing(&one);
        assert_eq!(
            first.lines.keys().collect::<Vec<_>>(),
            ["a b", "a.b", "a/empty", "a/f", "l"]
        );
        assert_eq!(first, listing(&other));
        assert_eq!(Listing::parse(&first.to_text()).unwrap(), first);
        assert!(Listing::parse("no listing").is_none());
    }

    #[test]
    fn every_change_is_named() {
        let base = listing(&tree());
        type Change = fn(&Path);
        let changes: [(&str, Change); 7] = [
            ("a/f", |root| std::fs::write(root.join("a/f"), "onf").unwrap()),
            ("a/f", |root| {
                std::fs::set_permissions(root.join("a/f"), std::fs::Permissions::from_mode(0o755)).unwrap();
            }),
            ("a b", |root| std::fs::remove_file(root.join("a b")).unwrap()),
            ("new", |root| std::fs::write(root.join("new"), "").unwrap()),
            ("newfolder", |root| std::fs::create_dir(root.join("newfolder")).unwrap()),
            ("a/empty", |root| std::fs::remove_dir(root.join("a/empty")).unwrap()),
            ("l", |root| {
                std::fs::remove_file(root.join("l")).unwrap();
                rustix::fs::symlink("a/g", root.join("l")).unwrap();
            }),
        ];
        for (name, change) in changes {
            let changed = tree();
            change(changed.path());
            let differences = base.differences(&listing(&changed));
            assert!(
                differences.len() == 1 && differences[0].0 == name,
                "{name}: {differences:?}"
            );
        }
    }

    #[test]
    fn a_socket_is_refused() {
        let dir = tree();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let failure = read(dir.path(), Pace::Full).unwrap_err();
        assert!(failure.message.contains("socket"), "{failure}");
    }

    #[test]
    fn different_names_are_different_texts() {
        let names: [&[u8]; 6] = [b"a\nb", b"a\\nb", b"a\\x0ab", b"a\xff", b"a\xc3\xbf", b"a\tb"];
        let texts: Vec<String> = names
            .iter()
            .map(|name| text(Path::new(OsStr::from_bytes(name))))
            .collect();
        assert!(texts.iter().all(|text| !text.contains(['\n', '\t'])), "{texts:?}");
        let mut unique = texts.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), texts.len(), "{texts:?}");
    }
}
