//! A task service of this run: a child process with its own port and folder.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hybrid_cache_tools::{Error, ErrorClass, ErrorContext, Result, failed, random_token};
use rustix::process::{Pid, Signal, kill_process};

use super::interruption::Interruption;
use super::options::ServiceProgram;

/// Longest time until the service listens; it first provides tools and builds the runner.
const START_TIMEOUT: Duration = Duration::from_secs(900);
/// Longest time until the service has ended after SIGTERM.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of last lines that are kept, to show why the service ended.
const MAX_KEPT_LINES: usize = 20;
const ADDRESS_PREFIX: &str = "listening on ";

/// The service. Dropping it ends the process and deletes its folder.
pub struct OwnService {
    child: Child,
    folder: PathBuf,
    said: Arc<Mutex<VecDeque<String>>>,
    /// Address of the service.
    pub url: String,
    /// File with the token that the service requires.
    pub token_file: PathBuf,
}

impl OwnService {
    /// Starts the service and waits until it listens.
    ///
    /// # Errors
    /// The service ends early, does not listen in time, or the user pressed Ctrl-C.
    pub fn start(program: &ServiceProgram, interruption: &Interruption) -> Result<OwnService> {
        let folder = make_folder(&program.folder)?;
        let token_file = folder.join("token");
        write_token(&token_file)?;
        let mut command = (program.command)(&folder.join("data"), &token_file);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C goes to the bench, which ends the service; if the bench is killed, the kernel ends it.
            .process_group(0);
        let mut child = command.spawn().context("starting the service")?;
        interruption.process.store(child.id(), Ordering::Relaxed);
        let said = Arc::default();
        let lines = listen(&mut child, Arc::clone(&said));
        let mut own = OwnService {
            child,
            folder,
            said,
            url: String::new(),
            token_file,
        };
        own.url = own.wait_for_address(&lines, program.class, &interruption.is)?;
        Ok(own)
    }

    /// Process id of the service.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_address(
        &mut self,
        lines: &mpsc::Receiver<String>,
        class: fn(Option<i32>) -> ErrorClass,
        interrupted: &AtomicBool,
    ) -> Result<String> {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Error::interrupted("interrupted before the first task arrived"));
            }
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(url) => return Ok(url),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(failed!(
                        "the service does not listen within {} s",
                        START_TIMEOUT.as_secs()
                    ));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let ended = self.child.wait().context("waiting for the service")?;
                    let message = format!("the service ended before it listened ({ended})\n{}", self.last_lines());
                    return Err(match class(ended.code()) {
                        ErrorClass::Input => Error::input(message),
                        ErrorClass::Prerequisite => Error::prerequisite(message),
                        _ => Error::failed(message),
                    });
                }
            }
        }
    }

    /// The last lines of the service's output.
    pub fn last_lines(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for OwnService {
    fn drop(&mut self) {
        // If the process has ended already, there is nothing to signal.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + SHUTDOWN_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            sleep(Duration::from_millis(20));
        }
        // The next run deletes what cannot be deleted now.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Reads all output of the service, so that the service never blocks on its pipe, and sends its address separately.
fn listen(child: &mut Child, said: Arc<Mutex<VecDeque<String>>>) -> mpsc::Receiver<String> {
    let (address, lines) = mpsc::channel();
    let Some(stderr) = child.stderr.take() else {
        return lines;
    };
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix(ADDRESS_PREFIX) {
                // There is no receiver if the start was given up.
                let _ = address.send(url.trim().to_owned());
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_back(line);
            if said.len() > MAX_KEPT_LINES {
                said.pop_front();
            }
        }
    });
    lines
}

/// Creates a folder named after this process in a parent folder that holds only such folders; deletes those of processes that have
/// ended.
fn make_folder(above: &Path) -> Result<PathBuf> {
    let cannot = || format!("making a folder in {}", above.display());
    fs::create_dir_all(above).with_context(cannot)?;
    for entry in fs::read_dir(above).with_context(cannot)?.filter_map(Result::ok) {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Best effort: the run does not need the space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = above.join(std::process::id().to_string());
    // This folder belongs to an earlier process with the same id.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).with_context(cannot)?;
    Ok(folder)
}

fn write_token(file: &Path) -> Result<()> {
    let token = random_token()?;
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    let written = opened.and_then(|mut file| std::io::Write::write_all(&mut file, token.as_bytes()));
    written.with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_go() {
        let above = tempfile::tempdir().unwrap();
        for name in ["4294967295", "notes"] {
            fs::create_dir(above.path().join(name)).unwrap();
        }
        let folder = make_folder(above.path()).unwrap();
        assert!(folder.is_dir() && above.path().join("notes").is_dir());
        assert!(!above.path().join("4294967295").exists());
    }
}
