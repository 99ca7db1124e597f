//! The ledger of a volume: what each environment is made of, how much that takes, and when it was last used.
//!
//! ```text
//! <volume>/ledger
//!   hybrid-cache ledger 1 <inode of this file>
//!   <check> part <id> <mark> <bytes> <inodes> <entries> <path of the part>
//!   <check> env <used> <stamp> <bytes> <inodes> <entries> <ids of its parts, with commas> <path of the environment>
//!   <check> rest <bytes> <inodes> <entries>
//!   <check> gone <path of a part or an environment>
//! ```
//!
//! A part is something that environments can share: an unpacked wheel, a folder of bytecode, a store path. Parts never
//! change, so each is measured once. `used` is in microseconds since 1970. `stamp` identifies the lease (on the system
//! volume the index entry), so that a new one with the same name is noticed. `mark` is an inode in the part; an
//! environment that links to this inode uses the part. `rest` is everything else.
//!
//! The volume is authoritative; the ledger is a cache of measurements. Opening the ledger lists the environments and
//! parts, measures those that the ledger lacks, drops those that are gone, and takes a later time of use from the
//! lease. So any line may be lost: a line torn by a crash or by a second writer fails its checksum and is measured
//! again. Everything is measured again if the file is missing, has another version, or is a copy (its inode differs).
//! Writers append whole lines under a lock. The file is rewritten when dead lines outnumber the others.

mod lease_times;
mod open;
mod python;
mod system;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;

use crate::store::IoContext;
use crate::store::files::unique_name;
use crate::store::measure::DiskUsage;

pub use open::{OpenLedger, python as open_python, system as open_system};
pub use python::rest as python_rest;
pub(crate) use python::{LOOSE, distributions};
pub use system::rest as system_rest;

/// Name of the file.
pub const LEDGER_FILE: &str = "ledger";
/// Prefix of a ledger file that is still being written.
pub const UNFINISHED: &str = ".ledger-";
const HEADER: &str = "hybrid-cache ledger 1";
/// The file is not rewritten for fewer dead lines than this.
const MAX_DEAD_LINES: usize = 256;
/// A larger file is not trusted: a ledger has some 200 bytes for each part and 1 KiB for each environment.
const MAX_LEDGER_BYTES: u64 = 256 << 20;

/// Id of a part: the first 8 bytes of the hash of its path.
pub type PartId = u64;

/// Something that environments share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path, relative to the volume.
    pub name: String,
    /// An inode in it; an environment that links to this inode uses the part. 0 if the path is enough.
    pub mark: u64,
    /// Its disk usage.
    pub size: DiskUsage,
}

impl Part {
    /// True for a folder of a bytecode pool.
    pub fn is_bytecode(&self) -> bool {
        let name = match self.name.strip_prefix("tenants/") {
            Some(own) => own.split_once('/').map_or("", |(_, inside)| inside),
            None => &self.name,
        };
        name.starts_with("bytecode/")
    }
}

/// An environment, or an entry of the system index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path, relative to the volume.
    pub name: String,
    /// Last known use, in microseconds since 1970.
    pub used_us: u64,
    /// Identifies the lease, so that a new environment with the same name is noticed.
    pub stamp: u64,
    /// Its disk usage without its parts.
    pub own: DiskUsage,
    /// Its parts. A part that is not in the ledger counts as zero.
    pub parts: Vec<PartId>,
}

/// The measurements of one volume.
#[derive(Debug, Default)]
pub struct Ledger {
    parts: BTreeMap<PartId, Part>,
    members: BTreeMap<String, Member>,
    rest: Option<DiskUsage>,
    /// Parts that are still being written; they are not saved.
    unfinished: BTreeSet<PartId>,
    changes: Vec<String>,
    lines: usize,
    is_sound: bool,
}

/// The id of the part at `name`.
pub fn id(name: &str) -> PartId {
    let hash = blake3::hash(name.as_bytes());
    let first: [u8; 8] = std::array::from_fn(|at| hash.as_bytes()[at]);
    u64::from_be_bytes(first)
}

impl Ledger {
    /// Reads the ledger at `path`. Lines that are unreadable or fail their checksum are left out.
    pub fn read(path: &Path) -> Ledger {
        let mut ledger = Ledger::default();
        let Ok(found) = path.metadata() else { return ledger };
        if found.len() > MAX_LEDGER_BYTES {
            return ledger;
        }
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let mut lines = text.lines();
        if lines.next() != Some(header(found.ino()).as_str()) {
            return ledger;
        }
        ledger.is_sound = true;
        for line in lines {
            ledger.lines += 1;
            if let Some(line) = checked(line) {
                // Ignore a kind of line that this version does not know.
                let _ = ledger.apply(line);
            }
        }
        ledger
    }

    /// All parts, by number.
    pub fn parts(&self) -> &BTreeMap<PartId, Part> {
        &self.parts
    }

    /// All environments, by path.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// The disk usage of everything that is neither part nor environment; `None` if not measured yet.
    pub fn rest(&self) -> Option<DiskUsage> {
        self.rest
    }

    /// All environments, least recently used first; those used in the same microsecond are sorted by name.
    pub fn oldest_first(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self.members.values().cloned().collect();
        members.sort_by(|one, other| (one.used_us, &one.name).cmp(&(other.used_us, &other.name)));
        members
    }

    /// The number of environments that use each part.
    pub fn uses(&self) -> BTreeMap<PartId, u32> {
        let mut uses = BTreeMap::new();
        for id in self.members.values().flat_map(|member| &member.parts) {
            *uses.entry(*id).or_default() += 1;
        }
        uses
    }

    /// The disk usage of everything in the ledger.
    pub fn held(&self) -> DiskUsage {
        let mut held = self.rest.unwrap_or_default();
        let parts = self.parts.values().map(|part| part.size);
        parts
            .chain(self.members.values().map(|member| member.own))
            .for_each(|size| held += size);
        held
    }

    /// The disk usage without the parts that no environment uses.
    pub fn live(&self) -> DiskUsage {
        let uses = self.uses();
        let mut live = self.held();
        for (id, part) in &self.parts {
            if !uses.contains_key(id) {
                live -= part.size;
            }
        }
        live
    }

    /// The parts that no environment uses.
    pub fn unused(&self) -> Vec<Part> {
        let uses = self.uses();
        let unused = self.parts.iter().filter(|(id, _)| !uses.contains_key(id));
        unused.map(|(_, part)| part.clone()).collect()
    }

    /// Adds a part that has been measured.
    pub fn add_part(&mut self, part: Part) {
        let Part { name, mark, size } = &part;
        let number = id(name);
        self.change(format!("part {number:016x} {mark} {} {name}", numbers(*size)));
        self.unfinished.remove(&number);
        self.parts.insert(number, part);
    }

    /// Adds a part that is still being written. It counts until the next refresh and is never saved.
    pub fn add_unfinished(&mut self, part: Part) {
        let number = id(&part.name);
        self.unfinished.insert(number);
        self.parts.insert(number, part);
    }

    /// True if the part is complete and has been measured.
    pub fn is_measured(&self, id: PartId) -> bool {
        self.parts.contains_key(&id) && !self.unfinished.contains(&id)
    }

    /// Adds an environment, or updates it.
    pub fn add_member(&mut self, member: Member) {
        if self.members.get(&member.name) == Some(&member) {
            return;
        }
        let parts: Vec<String> = member.parts.iter().map(|id| format!("{id:016x}")).collect();
        let parts = if parts.is_empty() {
            "-".to_owned()
        } else {
            parts.join(",")
        };
        let Member {
            name,
            used_us,
            stamp,
            own,
            ..
        } = &member;
        self.change(format!("env {used_us} {stamp} {} {parts} {name}", numbers(*own)));
        self.members.insert(member.name.clone(), member);
    }

    /// Sets the disk usage of everything that is neither part nor environment.
    pub fn set_rest(&mut self, rest: DiskUsage) {
        if self.rest != Some(rest) {
            self.change(format!("rest {}", numbers(rest)));
            self.rest = Some(rest);
        }
    }

    /// Removes a part or an environment.
    pub fn forget(&mut self, name: &str) {
        let was_unfinished = self.unfinished.remove(&id(name));
        let was_part = self.parts.remove(&id(name)).is_some() && !was_unfinished;
        if self.members.remove(name).is_some() || was_part {
            self.change(format!("gone {name}"));
        }
    }

    /// Removes the environments whose paths are not in `there`.
    pub fn keep_members(&mut self, there: &BTreeSet<String>) {
        let gone = self.members.keys().filter(|name| !there.contains(*name));
        let gone: Vec<String> = gone.cloned().collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// Removes the parts for which `is_there` is false.
    pub fn keep_parts(&mut self, is_there: impl Fn(PartId, &Part) -> bool) {
        let gone = self.parts.iter().filter(|(id, part)| !is_there(**id, part));
        let gone: Vec<String> = gone.map(|(_, part)| part.name.clone()).collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// Writes the changes since it was read. The caller holds the ledger's lock.
    ///
    /// # Errors
    /// The volume cannot be written. The next refresh then measures the unsaved items again.
    pub fn save(&mut self, path: &Path) -> Result<(), Failure> {
        let live = self.parts.len() + self.members.len() + 1;
        let lines = self.lines + self.changes.len();
        if !self.is_sound || lines > 2 * live + MAX_DEAD_LINES {
            return self.rewrite(path);
        }
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().append(true).open(path).io_context("open", path)?;
        file.write_all(sealed(&self.changes).as_bytes())
            .io_context("append to", path)?;
        self.lines = lines;
        self.changes.clear();
        Ok(())
    }

    fn rewrite(&mut self, path: &Path) -> Result<(), Failure> {
        let temporary = path.with_file_name(unique_name(&format!(".{LEDGER_FILE}")));
        let file = File::create_new(&temporary).io_context("write", &temporary)?;
        let written = self.write_to(file).and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            // It may not exist; report the first error.
            drop(std::fs::remove_file(&temporary));
        }
        written.io_context("write", path)
    }

    fn write_to(&mut self, mut file: File) -> std::io::Result<()> {
        let (members, parts) = (std::mem::take(&mut self.members), std::mem::take(&mut self.parts));
        let rest = self.rest.take();
        self.changes.clear();
        for part in parts.into_values() {
            if self.unfinished.contains(&id(&part.name)) {
                self.add_unfinished(part);
            } else {
                self.add_part(part);
            }
        }
        members.into_values().for_each(|member| self.add_member(member));
        rest.into_iter().for_each(|rest| self.set_rest(rest));
        self.lines = self.changes.len();
        self.is_sound = true;
        let head = header(file.metadata()?.ino());
        let lines = std::mem::take(&mut self.changes);
        file.write_all(format!("{head}\n{}", sealed(&lines)).as_bytes())?;
        file.sync_all()
    }

    fn change(&mut self, line: String) {
        // A name with a line break cannot be saved: it is measured again each time.
        if !line.contains(['\n', '\r']) {
            self.changes.push(line);
        }
    }

    /// Applies one line; `None` if its form is unknown.
    fn apply(&mut self, line: &str) -> Option<()> {
        let (kind, line) = line.split_once(' ')?;
        match kind {
            "part" => {
                let [_, mark, bytes, inodes, entries, name] = fields(line)?;
                let size = parse_size([bytes, inodes, entries])?;
                let (name, mark) = (name.to_owned(), mark.parse().ok()?);
                self.parts.insert(id(&name), Part { name, mark, size });
            }
            "env" => {
                let [used_us, stamp, bytes, inodes, entries, parts, name] = fields(line)?;
                let parts = parts.split(',').filter(|part| *part != "-");
                let member = Member {
                    name: name.to_owned(),
                    used_us: used_us.parse().ok()?,
                    stamp: stamp.parse().ok()?,
                    own: parse_size([bytes, inodes, entries])?,
                    parts: parts
                        .map(|part| PartId::from_str_radix(part, 16).ok())
                        .collect::<Option<_>>()?,
                };
                self.members.insert(member.name.clone(), member);
            }
            "rest" => self.rest = Some(parse_size(fields(line)?)?),
            "gone" => {
                self.parts.remove(&id(line));
                self.members.remove(line);
            }
            _ => return None,
        }
        Some(())
    }
}

fn header(inode: u64) -> String {
    format!("{HEADER} {inode}")
}

fn numbers(size: DiskUsage) -> String {
    format!("{} {} {}", size.bytes, size.inodes, size.entries)
}

fn parse_size(fields: [&str; 3]) -> Option<DiskUsage> {
    let [bytes, inodes, entries] = fields.map(|field| field.parse().ok());
    Some(DiskUsage {
        bytes: bytes?,
        inodes: inodes?,
        entries: entries?,
    })
}

/// The fields of a line; the last one may have spaces in it.
fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    let fields: Vec<&str> = line.splitn(N, ' ').collect();
    fields.try_into().ok()
}

fn check(line: &str) -> String {
    let mut hex = blake3::hash(line.as_bytes()).to_hex().to_string();
    hex.truncate(8);
    hex
}

fn sealed(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {line}", check(line));
        text
    })
}

/// The line without its checksum; `None` if the checksum does not match.
fn checked(line: &str) -> Option<&str> {
    let (found, line) = line.split_once(' ')?;
    (found == check(line)).then_some(line)
}

/// The path of a volume's ledger.
fn path(root: &Path) -> PathBuf {
    root.join(LEDGER_FILE)
}

#[cfg(test)]
mod tests;
