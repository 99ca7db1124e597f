//! Downloads one file over HTTP: resumable, with a deadline on every wait, checked against its pin before it gets its name.
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use ureq::http::StatusCode;

use crate::progress::Progress;
use crate::tool_error::ToolError;

/// Longest time that a download waits for each answer of its peer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A client with one deadline for connecting and for each wait on the peer.
pub fn agent(proxy: Option<&str>, wait: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(wait))
        .timeout_recv_response(Some(wait))
        .timeout_resolve(Some(wait))
        .http_status_as_error(false);
    if let Some(proxy) = proxy.and_then(|address| ureq::Proxy::new(address).ok()) {
        config = config.proxy(Some(proxy));
    }
    config.build().into()
}

/// Whether the peer has this file; any failure is a no.
pub fn exists(agent: &ureq::Agent, url: &str) -> bool {
    agent.head(url).call().is_ok_and(|answer| answer.status().is_success())
}

/// What to fetch and what it must be.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// What a person calls it, for progress and errors.
    pub what: &'a str,
    /// Addresses that serve the same file, tried in order.
    pub urls: &'a [String],
    /// The pinned digest, in hexadecimal.
    pub sha256: &'a str,
    /// The client. A shared client uses its connections again.
    pub agent: &'a ureq::Agent,
}

/// Fetches into `target`, unless a file with the right digest is there already. What an interrupted try left in
/// `target` + `.part` is continued.
pub fn fetch(wanted: &Wanted<'_>, target: &Path, progress: &dyn Progress) -> Result<PathBuf, ToolError> {
    if target.is_file() && digest(target)? == wanted.sha256 {
        return Ok(target.to_path_buf());
    }
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut problem = "no address is known for it".to_owned();
    // two rounds: a connection cut in the middle continues
    for url in wanted.urls.iter().chain(wanted.urls) {
        match transfer(wanted.agent, url, &part, wanted.what, progress) {
            Ok(()) => return accept(&part, target, wanted),
            Err(Transfer::Local(error)) => return Err(error),
            Err(Transfer::Remote(text)) => problem = text,
        }
    }
    Err(ToolError::Download {
        what: wanted.what.to_owned(),
        problem,
    })
}

/// A failure of this machine ends the attempt; one of the peer lets the next address be tried.
enum Transfer {
    Local(ToolError),
    Remote(String),
}

fn transfer(agent: &ureq::Agent, url: &str, part: &Path, what: &str, progress: &dyn Progress) -> Result<(), Transfer> {
    let local = |action| move |e| Transfer::Local(ToolError::io(action, part)(e));
    let have_bytes = part.metadata().map_or(0, |meta| meta.len());
    let mut request = agent.get(url);
    if have_bytes > 0 {
        request = request.header("range", format!("bytes={have_bytes}-"));
    }
    // a peer that trickles cannot hold us for ever
    let request = request
        .config()
        .timeout_recv_body(Some(Duration::from_secs(600)))
        .build();
    let answer = request.call().map_err(|e| Transfer::Remote(e.to_string()))?;
    let status = answer.status();
    let resumed = status == StatusCode::PARTIAL_CONTENT;
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        // the part is as long as the file, or longer: the digest decides
        return Ok(());
    }
    if !status.is_success() {
        return Err(Transfer::Remote(format!("the server answered {status}")));
    }
    let mut done_bytes = if resumed { have_bytes } else { 0 };
    let total_bytes = done_bytes + answer.body().content_length().unwrap_or(0);
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .map_err(local("open"))?;
    let mut body = answer.into_body().into_reader();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = body.read(&mut buffer).map_err(|e| Transfer::Remote(e.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(local("write"))?;
        done_bytes += read as u64;
        progress.bytes(what, done_bytes, total_bytes.max(done_bytes + 1));
    }
    progress.bytes(what, done_bytes, done_bytes);
    if done_bytes < total_bytes {
        return Err(Transfer::Remote(format!(
            "the connection ended after {done_bytes} of {total_bytes} bytes"
        )));
    }
    file.sync_all().map_err(local("write"))
}

fn accept(part: &Path, target: &Path, wanted: &Wanted<'_>) -> Result<PathBuf, ToolError> {
    let got = digest(part)?;
    if got != wanted.sha256 {
        // kept under another name: it must not be resumed, but a person may want to look at it
        let rejected = target.with_extension("rejected");
        std::fs::rename(part, &rejected).map_err(ToolError::io("rename", part))?;
        return Err(ToolError::Checksum {
            file: rejected,
            expected: wanted.sha256.to_owned(),
            got,
        });
    }
    std::fs::rename(part, target).map_err(ToolError::io("rename", part))?;
    Ok(target.to_path_buf())
}

/// The sha256 of a file, in hexadecimal.
pub fn digest(path: &Path) -> Result<String, ToolError> {
    let mut file = File::open(path).map_err(ToolError::io("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(ToolError::io("read", path))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
