//! The files of a trace. The newest is appended to; the oldest are deleted when all together would exceed their bound.
//!
//! Every writer on this machine holds the folder's lock while it appends, so lines never mix. A killed process may leave an
//! incomplete line. The next process begins a new line, and readers of the trace report the incomplete one.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::contents::Contents;
use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::trace::{Header, ResidentVolume};

use crate::trace::config::TraceConfig;
use crate::trace::line::{Line, definition, now_us, volume_contents};

/// Least number of files of a full trace, so that rotation deletes only a part of it.
const MIN_FILES: u64 = 8;
/// Least bytes of a file before the next is begun.
const MIN_FILE_BYTES: u64 = 4096;
/// How long to wait for other writers. Each needs about a millisecond.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// A file system's clock is coarse: a line may seem this much older, in microseconds, than the line before it.
const CLOCK_RESOLUTION_US: u64 = 10_000;
/// A last change further in the future than this, in microseconds, is of a clock that was set back since.
const CLOCK_STEP_US: u64 = 1_000_000;

/// What the first line that could not be written lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nothing: all lines are written.
    Nothing,
    /// A file: the next one needs a header.
    Header,
    /// The description of an environment.
    Definition,
    /// The environment itself, because it is not published yet.
    Environment,
}

/// What may complete lines that lack something.
#[derive(Default)]
pub struct Supplement {
    /// What the volumes hold.
    pub contents: Option<Contents>,
    /// The first line of a new file.
    pub header: Option<Header>,
    /// Leave out environments that the contents do not describe.
    pub leaves_out_undefined: bool,
    /// Leave out environments that are not published yet.
    pub leaves_out_unpublished: bool,
}

/// The folder of a trace.
#[derive(Debug)]
pub struct TraceFolder {
    config: TraceConfig,
    described: DescribedEnvironments,
}

/// The environments that a file describes, as far as its list was read.
#[derive(Debug, Default)]
struct DescribedEnvironments {
    file: PathBuf,
    read_bytes: u64,
    names: HashSet<(Volume, String)>,
}

/// The newest file.
struct Current {
    number: u64,
    path: PathBuf,
    bytes: u64,
}

/// The files of the trace in a folder, oldest first; none if there is no such folder.
///
/// # Errors
/// The folder cannot be read.
pub fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(folder)?.into_iter().map(|(_, path)| path).collect())
}

fn numbered(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for entry in listed {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix("trace-").and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

impl TraceFolder {
    /// The folder of this configuration. Creates nothing.
    pub fn new(config: TraceConfig) -> TraceFolder {
        TraceFolder {
            config,
            described: DescribedEnvironments::default(),
        }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.config.folder
    }

    /// Appends as many lines as can be written, in order, and removes them from the queue. Returns what the next line lacks.
    ///
    /// # Errors
    /// The folder cannot be written. Lines that were removed from the queue may be lost.
    pub fn append(&mut self, queue: &mut VecDeque<Line>, supplement: &mut Supplement) -> io::Result<Lack> {
        if queue.is_empty() {
            return Ok(Lack::Nothing);
        }
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.config.folder)?;
        let _alone = self.lock()?;
        loop {
            let current = match self.current()? {
                Some(current) if current.bytes < self.file_bytes() => current,
                full => match supplement.header.take() {
                    Some(header) => self.begin(full.map_or(1, |full| full.number + 1), header)?,
                    None => return Ok(Lack::Header),
                },
            };
            if let Some(lack) = self.append_to(&current, queue, supplement)? {
                return Ok(lack);
            }
        }
    }

    fn lock(&self) -> io::Result<File> {
        let file = open(
            OpenOptions::new().append(true).create(true),
            &self.config.folder.join("lock"),
        )?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    let waited = format!("another process held the lock for {} s", LOCK_TIMEOUT.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, waited));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    fn file_bytes(&self) -> u64 {
        (self.config.max_bytes / MIN_FILES).max(MIN_FILE_BYTES)
    }

    fn current(&self) -> io::Result<Option<Current>> {
        let last = numbered(&self.config.folder)?.pop();
        let Some((number, path)) = last else { return Ok(None) };
        let bytes = path.metadata()?.len();
        Ok(Some(Current { number, path, bytes }))
    }

    /// Appends to a file. `None` once it is full.
    fn append_to(
        &mut self,
        current: &Current,
        queue: &mut VecDeque<Line>,
        supplement: &Supplement,
    ) -> io::Result<Option<Lack>> {
        let mut file = open(OpenOptions::new().read(true).append(true), &current.path)?;
        self.described.read(&current.path)?;
        let mut text = Vec::new();
        if !ends_a_line(&mut file, current.bytes)? {
            text.push(b'\n');
        }
        let mut least_us = last_change_us(&file);
        let (mut names, mut room) = (Vec::new(), self.file_bytes().saturating_sub(current.bytes));
        let lack = loop {
            let Some(line) = queue.front_mut() else {
                break Some(Lack::Nothing);
            };
            if let Some(lack) = self.described.complete(line, supplement) {
                break Some(lack);
            }
            let Some(mut line) = queue.pop_front() else {
                break Some(Lack::Nothing);
            };
            line.at_us = line.at_us.max(least_us);
            least_us = line.at_us;
            for (volume, name) in described_by(&line) {
                self.described.names.insert((volume, name.clone()));
                names.extend_from_slice(format!("{} {name}\n", volume.name()).as_bytes());
            }
            let Some(request) = line.into_request() else { continue };
            let begun = text.len();
            serde_json::to_writer(&mut text, &request)?;
            text.push(b'\n');
            room = room.saturating_sub((text.len() - begun) as u64);
            if room == 0 {
                break None;
            }
        };
        if let Err(error) = file.write_all(&text) {
            // Readers would report an incomplete line as a fault.
            drop(file.set_len(current.bytes));
            self.described = DescribedEnvironments::default();
            return Err(error);
        }
        self.described.write(&current.path, &names)?;
        Ok(lack)
    }

    /// Begins a file, and deletes old ones that leave it no room.
    fn begin(&mut self, number: u64, mut header: Header) -> io::Result<Current> {
        let path = self.config.folder.join(format!("trace-{number:06}.jsonl"));
        let text = loop {
            let mut text = hybrid_cache_sizing::trace::Writer::default().header(header.clone())?;
            text.push('\n');
            // A header that lists too much would fill the file at once.
            if text.len() as u64 <= self.file_bytes() / 2 || !forget_oldest(&mut header) {
                break text;
            }
        };
        let mut names = String::new();
        for (volume, resident) in [(Volume::Python, &header.python), (Volume::System, &header.system)] {
            for one in resident.iter().flat_map(|resident| &resident.environments) {
                names.push_str(&format!("{} {}\n", volume.name(), one.environment));
            }
        }
        let files = numbered(&self.config.folder)?;
        let mut allowed = self.config.max_bytes.saturating_sub(self.file_bytes());
        for (_, old) in files.iter().rev() {
            let held: u64 = [old.clone(), list_of(old)]
                .iter()
                .map(|path| path.metadata().map_or(0, |found| found.len()))
                .sum();
            let fits = allowed >= held;
            allowed = if fits { allowed - held } else { 0 };
            if !fits {
                fs::remove_file(old)?;
                // The list may never have been written.
                let _ = fs::remove_file(list_of(old));
            }
        }
        let fresh = self.config.folder.join(".trace.new");
        for (text, target) in [(names.as_bytes(), list_of(&path)), (text.as_bytes(), path.clone())] {
            open(OpenOptions::new().write(true).create(true).truncate(true), &fresh)?.write_all(text)?;
            fs::rename(&fresh, target)?;
        }
        Ok(Current {
            number,
            bytes: text.len() as u64,
            path,
        })
    }
}

impl DescribedEnvironments {
    /// Reads what was added to a file's list.
    fn read(&mut self, file: &Path) -> io::Result<()> {
        if self.file != file {
            *self = DescribedEnvironments {
                file: file.to_owned(),
                ..DescribedEnvironments::default()
            };
        }
        let mut list = match File::open(list_of(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        list.seek(SeekFrom::Start(self.read_bytes))?;
        let mut text = String::new();
        self.read_bytes += list.read_to_string(&mut text)? as u64;
        for line in text.lines() {
            let Some((volume, name)) = line.split_once(' ') else {
                continue;
            };
            let volume = Volume::ALL.into_iter().find(|known| known.name() == volume);
            self.names.extend(volume.map(|volume| (volume, name.to_owned())));
        }
        Ok(())
    }

    /// Adds to a file's list. The trace is written first, because an environment may be described twice.
    fn write(&mut self, file: &Path, names: &[u8]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        open(OpenOptions::new().append(true).create(true), &list_of(file))?.write_all(names)?;
        self.read_bytes += names.len() as u64;
        Ok(())
    }

    /// Adds to a line what it lacks, and removes what the file describes already. Returns what is still missing.
    fn complete(&self, line: &mut Line, supplement: &Supplement) -> Option<Lack> {
        for (volume, asked) in Volume::ALL.into_iter().zip(&mut line.uses) {
            let Some(asked) = asked else { continue };
            let Some(name) = &asked.environment else {
                if supplement.leaves_out_unpublished {
                    continue;
                }
                return Some(Lack::Environment);
            };
            if self.names.contains(&(volume, name.clone())) {
                asked.made_of = None;
            } else if asked.made_of.is_none() {
                let listed = supplement
                    .contents
                    .as_ref()
                    .and_then(|contents| volume_contents(contents, volume));
                match listed.and_then(|listed| listed.find(name).map(|found| definition(listed, found))) {
                    Some(made_of) => asked.made_of = Some(made_of),
                    None if supplement.leaves_out_undefined => asked.environment = None,
                    None => return Some(Lack::Definition),
                }
            }
        }
        None
    }
}

/// The environments that a line describes.
fn described_by(line: &Line) -> Vec<(Volume, String)> {
    let uses = Volume::ALL.into_iter().zip(&line.uses);
    let defined = uses.filter_map(|(volume, asked)| {
        let asked = asked.as_ref().filter(|asked| asked.made_of.is_some())?;
        Some((volume, asked.environment.clone()?))
    });
    defined.collect()
}

/// Removes the least recently used quarter of the environments from a header. False if there is none.
fn forget_oldest(header: &mut Header) -> bool {
    let mut forgot = false;
    let volumes: [&mut Option<ResidentVolume>; 2] = [&mut header.python, &mut header.system];
    for resident in volumes.into_iter().flatten() {
        let environments = &mut resident.environments;
        environments.sort_by_key(|one| std::cmp::Reverse(one.used_us));
        forgot |= !environments.is_empty();
        environments.truncate(environments.len() * 3 / 4);
    }
    forgot
}

/// The list beside a file.
fn list_of(file: &Path) -> PathBuf {
    file.with_extension("known")
}

/// Opens a file for this user alone, because it shows what tasks asked for.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).open(path)
}

fn ends_a_line(file: &mut File, bytes: u64) -> io::Result<bool> {
    let Some(last) = bytes.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte == [b'\n'])
}

/// The earliest time of the next line: not before the file's last change, so that no line is older than the one before it.
fn last_change_us(file: &File) -> u64 {
    let changed = file.metadata().and_then(|found| found.modified());
    let since = changed
        .ok()
        .and_then(|changed| changed.duration_since(SystemTime::UNIX_EPOCH).ok());
    let changed_us = u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
    if changed_us > now_us().saturating_add(CLOCK_STEP_US) {
        return 0;
    }
    changed_us.saturating_add(CLOCK_RESOLUTION_US)
}

#[cfg(test)]
mod tests;
