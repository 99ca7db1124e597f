//! The files of a trace: one is appended to, older ones go when all together would exceed their bound.
//!
//! Every writer on this machine holds the folder's lock while it appends, so lines never mix. A process that is killed may
//! leave a line that ends in the middle; the next one begins a new line, and whoever reads the trace is told of the torn one.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::contents::Contents;
use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::trace::{Header, ResidentVolume};

use super::TraceConfig;
use super::line::{Line, definition, now_us, of_volume};

/// A trace has so many files at least, so that rotation takes only a part of it.
const FILES: u64 = 8;
/// Least size of a file, in bytes.
const LEAST_FILE_BYTES: u64 = 4096;
/// How long to wait for other writers; each needs about a millisecond.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// A file system's clock is coarse: a line written after another one may seem this much older.
const COARSE_US: u64 = 10_000;
/// A last change further ahead than this is of a clock that was set back since.
const CLOCK_STEP_US: u64 = 1_000_000;

/// What the first line that could not be written lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nothing: all lines are written.
    Nothing,
    /// A file: the next one needs a header.
    Header,
    /// What an environment is made of.
    Definition,
    /// The environment itself, which is being published.
    Environment,
}

/// What is at hand for lines that lack something.
#[derive(Default)]
pub struct Given {
    /// What the volumes hold.
    pub contents: Option<Contents>,
    /// The first line of a new file.
    pub header: Option<Header>,
    /// True leaves out environments that these contents do not have.
    pub leaves_out_undefined: bool,
    /// True leaves out environments that are not published yet.
    pub leaves_out_unpublished: bool,
}

/// The folder of a trace.
#[derive(Debug)]
pub struct TraceFolder {
    config: TraceConfig,
    known: Known,
}

/// The environments that a file defines, as far as its list was read.
#[derive(Debug, Default)]
struct Known {
    of: PathBuf,
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
    /// The folder of that configuration; touches nothing.
    pub fn new(config: TraceConfig) -> TraceFolder {
        TraceFolder {
            config,
            known: Known::default(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.config.folder
    }

    /// Appends as many lines as can be written, in their order, and takes them off the queue. Says what the next one lacks.
    ///
    /// # Errors
    /// The folder cannot be written; lines that are off the queue may be lost.
    pub fn append(&mut self, queue: &mut VecDeque<Line>, given: &mut Given) -> io::Result<Lack> {
        if queue.is_empty() {
            return Ok(Lack::Nothing);
        }
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.config.folder)?;
        let _alone = self.lock()?;
        loop {
            let current = match self.current()? {
                Some(current) if current.bytes < self.file_bytes() => current,
                full => match given.header.take() {
                    Some(header) => self.begin(full.map_or(1, |full| full.number + 1), header)?,
                    None => return Ok(Lack::Header),
                },
            };
            if let Some(lack) = self.append_to(&current, queue, given)? {
                return Ok(lack);
            }
        }
    }

    fn lock(&self) -> io::Result<File> {
        let file = open(
            OpenOptions::new().append(true).create(true),
            &self.config.folder.join("lock"),
        )?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    let waited = format!("another process held the lock for {} s", LOCK_WAIT.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, waited));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    fn file_bytes(&self) -> u64 {
        (self.config.max_bytes / FILES).max(LEAST_FILE_BYTES)
    }

    fn current(&self) -> io::Result<Option<Current>> {
        let last = numbered(&self.config.folder)?.pop();
        let Some((number, path)) = last else { return Ok(None) };
        let bytes = path.metadata()?.len();
        Ok(Some(Current { number, path, bytes }))
    }

    /// Appends to a file. `None` once it is full.
    fn append_to(&mut self, current: &Current, queue: &mut VecDeque<Line>, given: &Given) -> io::Result<Option<Lack>> {
        let mut file = open(OpenOptions::new().read(true).append(true), &current.path)?;
        self.known.read(&current.path)?;
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
            if let Some(lack) = self.known.complete(line, given) {
                break Some(lack);
            }
            let Some(mut line) = queue.pop_front() else {
                break Some(Lack::Nothing);
            };
            line.at_us = line.at_us.max(least_us);
            least_us = line.at_us;
            for (volume, name) in defined(&line) {
                self.known.names.insert((volume, name.clone()));
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
            // Half a line would only be reported as a fault by whoever reads it.
            drop(file.set_len(current.bytes));
            self.known = Known::default();
            return Err(error);
        }
        self.known.write(&current.path, &names)?;
        Ok(lack)
    }

    /// Begins a file, and removes old ones that it has no room beside.
    fn begin(&mut self, number: u64, mut header: Header) -> io::Result<Current> {
        let path = self.config.folder.join(format!("trace-{number:06}.jsonl"));
        let text = loop {
            let mut text = hybrid_cache_sizing::trace::Writer::default().header(header.clone())?;
            text.push('\n');
            // One that lists more than fits would be full at once.
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
                // It may never have been written.
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

impl Known {
    /// Reads what a file's list has that was not read yet.
    fn read(&mut self, file: &Path) -> io::Result<()> {
        if self.of != file {
            *self = Known {
                of: file.to_owned(),
                ..Known::default()
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

    /// Adds to a file's list. The trace is written before it: an environment that is defined twice does no harm.
    fn write(&mut self, file: &Path, names: &[u8]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        open(OpenOptions::new().append(true).create(true), &list_of(file))?.write_all(names)?;
        self.read_bytes += names.len() as u64;
        Ok(())
    }

    /// Gives a line what it lacks, and takes out what the file has said already. Says what is missing still.
    fn complete(&self, line: &mut Line, given: &Given) -> Option<Lack> {
        for (volume, asked) in Volume::ALL.into_iter().zip(&mut line.uses) {
            let Some(asked) = asked else { continue };
            let Some(name) = &asked.environment else {
                if given.leaves_out_unpublished {
                    continue;
                }
                return Some(Lack::Environment);
            };
            if self.names.contains(&(volume, name.clone())) {
                asked.made_of = None;
            } else if asked.made_of.is_none() {
                let listed = given.contents.as_ref().and_then(|contents| of_volume(contents, volume));
                match listed.and_then(|listed| listed.find(name).map(|found| definition(listed, found))) {
                    Some(made_of) => asked.made_of = Some(made_of),
                    None if given.leaves_out_undefined => asked.environment = None,
                    None => return Some(Lack::Definition),
                }
            }
        }
        None
    }
}

/// The environments that a line defines.
fn defined(line: &Line) -> Vec<(Volume, String)> {
    let uses = Volume::ALL.into_iter().zip(&line.uses);
    let defined = uses.filter_map(|(volume, asked)| {
        let asked = asked.as_ref().filter(|asked| asked.made_of.is_some())?;
        Some((volume, asked.environment.clone()?))
    });
    defined.collect()
}

/// Takes a quarter of the environments out of a header, the least recently used ones. False if there is none.
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

/// What tasks asked for is nobody's business.
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

/// No line is older than the one before it, whoever wrote that: at least the time of the file's last change.
fn last_change_us(file: &File) -> u64 {
    let changed = file.metadata().and_then(|found| found.modified());
    let since = changed
        .ok()
        .and_then(|changed| changed.duration_since(SystemTime::UNIX_EPOCH).ok());
    let changed_us = u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
    if changed_us > now_us().saturating_add(CLOCK_STEP_US) {
        return 0;
    }
    changed_us.saturating_add(COARSE_US)
}

#[cfg(test)]
mod tests;
