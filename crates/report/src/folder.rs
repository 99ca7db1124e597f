//! The folder of one bench run: its files, how they are written so that a crash loses nothing, and how they are read back.
//!
//! ```text
//! run.json         the record without samples, written when the run starts
//! samples.jsonl    one sample a line, of hybrid-cache or, if it has the field `peer`, of a peer, which failed if it has the field
//!                  `reason`, or of a level of cold, if it has the field `level`; flushed at once
//! report.json      the whole record, written at the end: from here on the truth
//! report.md        rendered from it
//! report.html      rendered from it
//! junit.xml        the gate's requirements as test cases, rendered from it
//! metrics.txt      OpenMetrics, rendered from it
//! hdr/*.hlog       HdrHistogram interval logs, one for each scenario and temperature
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hybrid_cache_model::sample::{
    Completion, FailedPeer, LevelSample, LevelsRecord, PeerSample, Provenance, RunRecord, SCHEMA_VERSION, Sample,
};
use serde::Serialize;
use serde_json::Value;

use crate::digest::run_digest;
use crate::gate::{Gate, gate_run};
use crate::{hdr, html, junit, markdown, open_metrics, trace_events};

/// The whole record.
pub const REPORT_FILE: &str = "report.json";
/// The record without its samples, from the start of the run.
pub const HEADER_FILE: &str = "run.json";
/// One sample a line.
pub const SAMPLES_FILE: &str = "samples.jsonl";

/// Why a run's folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was written by a version that this one does not know.
    #[error(
        "{}: schema version {found}, but this program reads version {SCHEMA_VERSION}\n\
         hint: use the revision of hybrid-cache that wrote it, see `provenance.revision` in the file",
        path.display()
    )]
    UnknownSchema {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: String,
    },
    /// The file is not what its name promises.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(" line {line}")).unwrap_or_default())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1, if the file has lines.
        line: Option<usize>,
        /// What is wrong with it.
        message: String,
    },
    /// The folder holds no run.
    #[error(
        "{}: no {REPORT_FILE} and no {SAMPLES_FILE} here\n\
         hint: name the folder that `cargo xtask bench` wrote, such as reports/<run>",
        path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
}

/// Writes every rendering of a record into a folder, which is made if it is missing. Each file appears whole or not
/// at all.
///
/// # Errors
/// The first file that cannot be written.
pub fn write_run(dir: &Path, record: &RunRecord) -> Result<(), FolderError> {
    write_judged(dir, record, &gate_run(record, None))
}

/// The same, with the answer of a gate that was asked for more than the record holds, such as a baseline.
///
/// # Errors
/// The first file that cannot be written.
pub fn write_judged(dir: &Path, record: &RunRecord, gate: &Gate) -> Result<(), FolderError> {
    make_folder(dir)?;
    write_atomically(&dir.join(REPORT_FILE), &json(record))?;
    write_atomically(&dir.join("report.md"), markdown::markdown(record).as_bytes())?;
    write_atomically(&dir.join("report.html"), html::html(record).as_bytes())?;
    write_atomically(&dir.join("junit.xml"), junit::junit(record, gate).as_bytes())?;
    let metrics = open_metrics::open_metrics(record, gate);
    write_atomically(&dir.join("metrics.txt"), metrics.as_bytes())?;
    let logs = hdr::hdr_logs(record);
    if !logs.is_empty() {
        make_folder(&dir.join("hdr"))?;
    }
    for (name, log) in logs {
        write_atomically(&dir.join("hdr").join(name), &log)?;
    }
    Ok(())
}

/// Writes the timelines of a run as a trace that Perfetto and Chrome open. The file appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_trace(path: &Path, record: &RunRecord) -> Result<(), FolderError> {
    let trace = trace_events(record).to_string();
    write_atomically(path, trace.as_bytes())
}

/// Tries whether a file can be written, before work that ends with writing it. Leaves nothing behind.
///
/// # Errors
/// It is a folder, cannot be opened for writing, or its folder does not exist.
pub fn check_writable(path: &Path) -> Result<(), FolderError> {
    match fs::symlink_metadata(path) {
        // Opening a pipe would wait for its reader; where a link leads is seen when it is written.
        Ok(file) if !file.is_file() && !file.is_dir() => Ok(()),
        Ok(_) => File::options().append(true).open(path).map(drop).map_err(at(path)),
        Err(_) => match File::create_new(path) {
            Ok(_) => fs::remove_file(path).map_err(at(path)),
            // Another process has just made it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(at(path)(error)),
        },
    }
}

/// Writes every rendering with the answer of the gate that was asked for, if any, and appends the digest to `summary`.
///
/// # Errors
/// The first file that cannot be written.
pub fn write_all(
    dir: &Path,
    record: &RunRecord,
    gate: Option<&Gate>,
    summary: Option<&Path>,
) -> Result<(), FolderError> {
    match gate {
        Some(gate) => write_judged(dir, record, gate)?,
        None => write_run(dir, record)?,
    }
    summary.map_or(Ok(()), |file| append_digest(file, &run_digest(record, gate)))
}

/// Writes what is known when a run starts, so that samples survive a crash together with their provenance.
///
/// # Errors
/// The file cannot be written.
pub fn write_header(dir: &Path, record: &RunRecord) -> Result<(), FolderError> {
    make_folder(dir)?;
    // Until the end is reached, the run counts as interrupted: a crash cannot correct it any more.
    let header = RunRecord {
        samples: Vec::new(),
        peers: Vec::new(),
        failed_peers: Vec::new(),
        levels: record.levels.as_deref().map(|_| Box::new(LevelsRecord::default())),
        completion: Completion::Interrupted,
        ..record.clone()
    };
    write_atomically(&dir.join(HEADER_FILE), &json(&header))
}

/// Reads a run: its report, or, if a crash left none, its samples and its header.
///
/// # Errors
/// The folder holds no run, a file cannot be read, is malformed, or has another schema version.
pub fn load(dir: &Path) -> Result<RunRecord, FolderError> {
    if let Some(text) = read(&dir.join(REPORT_FILE))? {
        return parse_record(&dir.join(REPORT_FILE), &text);
    }
    let path = dir.join(SAMPLES_FILE);
    let Some(text) = read(&path)? else {
        return Err(FolderError::NotARun { path: dir.to_owned() });
    };
    let mut record = match read(&dir.join(HEADER_FILE))? {
        Some(header) => parse_record(&dir.join(HEADER_FILE), &header)?,
        None => unknown_record(),
    };
    record.completion = Completion::Interrupted;
    let torn = parse_samples(&path, &text, &mut record)?;
    record
        .provenance
        .notes
        .push(format!("read from {SAMPLES_FILE}: the run left no {REPORT_FILE}"));
    if torn {
        record
            .provenance
            .notes
            .push(format!("the last line of {SAMPLES_FILE} is torn and was left out"));
    }
    Ok(record)
}

/// Appends a digest to a file that may hold text of others, as a job's summary does; it is made if it is missing.
fn append_digest(path: &Path, digest: &str) -> Result<(), FolderError> {
    let mut file = File::options().append(true).create(true).open(path).map_err(at(path))?;
    // A heading needs an empty line before it.
    let is_first = file.metadata().map_err(at(path))?.len() == 0;
    let text = if is_first {
        digest.to_owned()
    } else {
        format!("\n{digest}")
    };
    file.write_all(text.as_bytes()).map_err(at(path))
}

/// The growing `samples.jsonl` of a run.
#[derive(Debug)]
pub struct SampleLog {
    path: PathBuf,
    file: File,
}

impl SampleLog {
    /// Starts a log; its folder is made if it is missing.
    ///
    /// # Errors
    /// The file exists already (samples of two runs must not mix) or cannot be created.
    pub fn create(path: &Path) -> Result<SampleLog, FolderError> {
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(at(path))?;
        Ok(SampleLog {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends one sample; it is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn append(&mut self, sample: &Sample) -> Result<(), FolderError> {
        self.append_line(sample)
    }

    /// Appends one run of a peer; it is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn append_peer(&mut self, sample: &PeerSample) -> Result<(), FolderError> {
        self.append_line(&Line {
            schema: SCHEMA_VERSION,
            sample,
        })
    }

    /// Appends one run of a peer that failed; it is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn append_failed_peer(&mut self, sample: &FailedPeer) -> Result<(), FolderError> {
        self.append_line(&Line {
            schema: SCHEMA_VERSION,
            sample,
        })
    }

    /// Appends one run at a level of cold; it is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn append_level(&mut self, sample: &LevelSample) -> Result<(), FolderError> {
        self.append_line(&Line {
            schema: SCHEMA_VERSION,
            sample,
        })
    }

    fn append_line(&mut self, line: &impl Serialize) -> Result<(), FolderError> {
        let mut line = serde_json::to_vec(line)
            .map_err(io::Error::from)
            .map_err(at(&self.path))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(at(&self.path))?;
        self.file.sync_data().map_err(at(&self.path))
    }
}

/// What names no schema by itself as a line of its own: every line names one.
#[derive(Serialize)]
struct Line<'a, T> {
    schema: u32,
    #[serde(flatten)]
    sample: &'a T,
}

/// The record as `report.json` holds it: indented, for people and diffs.
fn json(record: &RunRecord) -> Vec<u8> {
    // A RunRecord holds no map with other keys than strings, the one thing that serde_json refuses.
    let mut text = serde_json::to_vec_pretty(record).unwrap_or_default();
    text.push(b'\n');
    text
}

fn parse_record(path: &Path, text: &str) -> Result<RunRecord, FolderError> {
    let value = serde_json::from_str(text).map_err(malformed(path, None))?;
    check_schema(path, &value)?;
    serde_json::from_value(value).map_err(malformed(path, None))
}

/// Adds every whole line to the record; true if a torn one was left out behind them.
fn parse_samples(path: &Path, text: &str, record: &mut RunRecord) -> Result<bool, FolderError> {
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = match serde_json::from_str(line) {
            Ok(value) => value,
            // Only a line without its end can have been torn by a crash; any other one was damaged.
            Err(_) if !line.ends_with('\n') => return Ok(true),
            Err(error) => return Err(malformed(path, Some(index + 1))(error)),
        };
        check_schema(path, &value)?;
        let malformed = malformed(path, Some(index + 1));
        if value.get("peer").is_some() && value.get("reason").is_some() {
            record
                .failed_peers
                .push(serde_json::from_value(value).map_err(malformed)?);
        } else if value.get("peer").is_some() {
            record.peers.push(serde_json::from_value(value).map_err(malformed)?);
        } else if value.get("level").is_some() {
            let sample = serde_json::from_value(value).map_err(malformed)?;
            record.levels.get_or_insert_default().samples.push(sample);
        } else {
            record.samples.push(serde_json::from_value(value).map_err(malformed)?);
        }
    }
    Ok(false)
}

fn check_schema(path: &Path, value: &Value) -> Result<(), FolderError> {
    match value.get("schema") {
        Some(version) if version.as_u64() == Some(u64::from(SCHEMA_VERSION)) => Ok(()),
        Some(version) => Err(FolderError::UnknownSchema {
            path: path.to_owned(),
            found: version.to_string(),
        }),
        None => Err(FolderError::Malformed {
            path: path.to_owned(),
            line: None,
            message: "it names no schema version, so it is not a record of a run".to_owned(),
        }),
    }
}

/// A record for samples whose header was lost.
fn unknown_record() -> RunRecord {
    let unknown = || "unknown".to_owned();
    let provenance = Provenance {
        driver: unknown(),
        started_at: unknown(),
        revision: unknown(),
        dirty: false,
        command: unknown(),
        kernel: unknown(),
        os: unknown(),
        arch: unknown(),
        cpu: unknown(),
        // No load is above this, so that an unknown number of processors makes no sample noisy.
        cpus: u32::MAX,
        memory_bytes: 0,
        file_systems: std::collections::BTreeMap::new(),
        interpreter: unknown(),
        index: unknown(),
        system_provider: unknown(),
        system_source: unknown(),
        tools: Vec::new(),
        cluster: None,
        service: None,
        mirror: None,
        notes: vec![format!(
            "no {HEADER_FILE}: where and with what this was measured is not known"
        )],
    };
    RunRecord {
        schema: SCHEMA_VERSION,
        completion: Completion::Interrupted,
        provenance,
        scenarios: Vec::new(),
        usage: Vec::new(),
        samples: Vec::new(),
        peers: Vec::new(),
        failed_peers: Vec::new(),
        absent_peers: Vec::new(),
        against: None,
        blocks: Vec::new(),
        until: None,
        load: None,
        levels: None,
    }
}

/// The file's text, bytes that a crash tore apart replaced; `None` if there is not one file.
fn read(path: &Path) -> Result<Option<String>, FolderError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn make_folder(path: &Path) -> Result<(), FolderError> {
    fs::create_dir_all(path).map_err(at(path))
}

pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{}", std::process::id()));
    // A file that is there was left by a process of the same number, or is a link of somebody else.
    let _ = fs::remove_file(&staged);
    let written = File::create_new(&staged)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&staged);
    }
    written.map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> FolderError {
    move |source| FolderError::Io {
        path: path.to_owned(),
        source,
    }
}

fn malformed(path: &Path, line: Option<usize>) -> impl Fn(serde_json::Error) -> FolderError {
    move |error| FolderError::Malformed {
        path: path.to_owned(),
        line,
        message: error.to_string(),
    }
}
