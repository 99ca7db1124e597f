//! A task service of the bench's own: `serve` as a child, on a port and in a folder of its own, for one run.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use super::Interruption;
use crate::exit::Expected;
use crate::flags::{self, DriverName};
use crate::local;

/// Longest until it listens: tools are brought and the runner is built before.
const START: Duration = Duration::from_secs(900);
/// Longest until it has ended after it was asked to.
const END: Duration = Duration::from_secs(30);
/// Its last lines, for whoever wants to know why it ended.
const LINES: usize = 20;
const LISTENING: &str = "listening on ";

/// The service. Dropped, it ends, and its folder goes.
pub struct Own {
    child: Child,
    folder: PathBuf,
    said: Arc<Mutex<VecDeque<String>>>,
    /// Where it listens.
    pub url: String,
    /// The token that it wants.
    pub token_file: PathBuf,
}

impl Own {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// It ends before, does not listen in time, or somebody pressed Ctrl-C.
    pub fn start(flags: &flags::Bench, interruption: &Interruption) -> Result<Own> {
        let root = match &flags.local.cache_dir {
            Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?,
            None => local::default_root()?,
        };
        let folder = make_folder(&root.join("load"))?;
        let token_file = folder.join("token");
        write_token(&token_file)?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command
            .args(arguments(flags, &folder, &token_file))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for the bench, which ends it; where the bench is killed, the kernel does.
            .process_group(0);
        let mut child = command.spawn().context("starting the service")?;
        interruption.process.store(child.id(), Ordering::Relaxed);
        let said = Arc::default();
        let told = listen(&mut child, Arc::clone(&said));
        let mut own = Own {
            child,
            folder,
            said,
            url: String::new(),
            token_file,
        };
        own.url = own.wait_for_address(&told, &interruption.is)?;
        Ok(own)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_address(&mut self, told: &mpsc::Receiver<String>, interrupted: &AtomicBool) -> Result<String> {
        let until = Instant::now() + START;
        loop {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Expected::interrupted("interrupted before the first task arrived"));
            }
            match told.recv_timeout(Duration::from_millis(200)) {
                Ok(url) => return Ok(url),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("the service does not listen within {} s", START.as_secs())
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let ended = self.child.wait().context("waiting for the service")?;
                    let told = format!("the service ended before it listened ({ended})\n{}", self.last_words());
                    // Its own exit code says whether something is missing here or wrong.
                    return Err(match ended.code() {
                        Some(2) => Expected::usage(told),
                        Some(4) => Expected::prerequisite(told),
                        _ => anyhow::anyhow!(told),
                    });
                }
            }
        }
    }

    /// What it said last.
    pub fn last_words(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to ask.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            sleep(Duration::from_millis(20));
        }
        // What cannot be deleted goes with the next run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Reads all it says, so that it never waits for a reader; its address is told apart.
fn listen(child: &mut Child, said: Arc<Mutex<VecDeque<String>>>) -> mpsc::Receiver<String> {
    let (address, told) = mpsc::channel();
    let Some(stderr) = child.stderr.take() else { return told };
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix(LISTENING) {
                // Nobody waits for it where the start was given up.
                let _ = address.send(url.trim().to_owned());
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_back(line);
            if said.len() > LINES {
                said.pop_front();
            }
        }
    });
    told
}

/// A folder named after this process, below one that only holds such; those of processes that are gone are deleted.
fn make_folder(above: &Path) -> Result<PathBuf> {
    let cannot = || format!("making a folder in {}", above.display());
    fs::create_dir_all(above).with_context(cannot)?;
    for entry in fs::read_dir(above).with_context(cannot)?.filter_map(Result::ok) {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Best effort: the run does not need its room.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = above.join(std::process::id().to_string());
    // Of an earlier process with this number.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).with_context(cannot)?;
    Ok(folder)
}

fn write_token(file: &Path) -> Result<()> {
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("drawing a token")?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    let written = opened.and_then(|mut file| std::io::Write::write_all(&mut file, token.as_bytes()));
    written.with_context(|| format!("writing {}", file.display()))
}

/// The command line of `serve` that says what the bench's says.
fn arguments(flags: &flags::Bench, folder: &Path, token_file: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "serve",
        "--with-parent",
        "--listen",
        "127.0.0.1:0",
        "--grace",
        "5",
        "--data-dir",
    ]
    .map(OsString::from)
    .to_vec();
    words.push(folder.join("data").into());
    words.extend(["--token-file".into(), token_file.into()]);
    let mut say = |flag: &str, value: OsString| words.extend([flag.into(), value]);
    let named = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        OsString::from(value().map(|value| value.get_name().to_owned()).unwrap_or_default())
    };
    let flags::Local {
        cache_dir,
        provider,
        source,
        network: _,
        no_network: _,
        private_index,
        no_trace,
        bounds,
    } = &flags.local;
    say("--driver", named(&|| flags.driver.to_possible_value()));
    say("--provider", named(&|| provider.to_possible_value()));
    say("--source", named(&|| source.to_possible_value()));
    say("--network", named(&|| flags.local.network().to_possible_value()));
    if let Some(folder) = cache_dir {
        say("--cache-dir", folder.into());
    }
    let sizes = [
        ("--tmp-size", bounds.tmp_size),
        ("--shm-size", bounds.shm_size),
        ("--memory", bounds.memory),
        ("--max-processes", bounds.max_processes),
        ("--max-open-files", bounds.max_open_files),
    ];
    for (flag, size) in sizes {
        if let Some(size) = size {
            say(flag, size.to_string().into());
        }
    }
    if flags.driver != DriverName::Local {
        match &flags.cluster.context {
            Some(context) => {
                say("--context", context.into());
                say("--namespace", flags.cluster.namespace.clone().into());
            }
            None => say("--name", flags.cluster.name.clone().into()),
        }
    }
    for (flag, is_given) in [("--private-index", *private_index), ("--no-trace", *no_trace)] {
        if is_given {
            words.push(flag.into());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::{Command, Flags};

    #[test]
    fn the_service_is_told_what_the_bench_was_told() {
        let typed = "xtask bench --load 5 --driver kube --context here --namespace there --network none --private-index \
                     --memory 1MiB --cache-dir /caches --source debnix";
        let Command::Bench(bench) = Flags::try_parse_from(typed.split(' ')).unwrap().command else {
            panic!("this is bench");
        };
        let words = arguments(&bench, Path::new("/folder"), Path::new("/token"));
        let told = std::iter::once("xtask".into()).chain(words);
        let Command::Serve(serve) = Flags::try_parse_from(told).unwrap().command else {
            panic!("this is serve");
        };
        assert_eq!(serve.driver, DriverName::Kube);
        assert_eq!(serve.cluster.context.as_deref(), Some("here"));
        assert_eq!(serve.cluster.namespace, "there");
        assert_eq!(serve.local.network(), flags::NetworkName::None);
        assert_eq!(serve.local.source, flags::SourceName::Debnix);
        assert_eq!(serve.local.bounds.memory, Some(1 << 20));
        assert!(serve.local.private_index);
        assert_eq!(serve.data_dir.as_deref(), Some(Path::new("/folder/data")));
        assert_eq!(serve.token_file.as_deref(), Some(Path::new("/token")));
    }

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
