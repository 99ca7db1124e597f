//! `pod-build`: runs code of packages for the preparing container of the same pod.
//!
//! This container mounts no cache but the store with the task's system packages, and nothing that it writes is shared.
//! The runner connects to the preparing container before any code of a package runs, and what a build leaves goes
//! through that connection. Between two orders it ends all processes and deletes all files of the first.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hybrid_cache_model::pod::{BUILDS_SOCKET, BuildMessage, ImageRecord, PodRequest, SCRATCH_FOLDER};
use hybrid_cache_model::protocol::{BUILD_OUTPUT_BYTES, BuildOrder, BuildReport, Limits, RunRequest};
use hybrid_cache_model::{End, Failure, FailureKind};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::build_link::Bounded;
use super::requests::{read_for_task, run_request};
use crate::builder::{self, BUILD_MARGIN};
use crate::clock::Recorder;
use crate::run::FromDriver;
use crate::run::kernel::Signals;
use crate::run::{SIGKILL, memory};
use crate::store::{IoContext, files, folder};

/// How often to try to connect: the other container may start later.
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time for sending a message, or a part of a file, that the preparing container does not take.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes of an order: a program, every byte of it escaped.
const MAX_ORDER_BYTES: u64 = 16 << 20;
/// What to do about a build that lacks memory.
const RAISE: &str = "raise the memory limit of the preparing container's resources, which the building one has too";
/// The folders in which a program can leave files.
const WRITABLE: [&str; 3] = [SCRATCH_FOLDER, "/tmp", "/dev/shm"];

/// Runs orders until the preparing container has ended or needs no more.
///
/// # Errors
/// The requests cannot be read, or the preparing container does not open its socket.
pub fn build(recorder: &Recorder) -> Result<(), Failure> {
    let (image, request) = read_for_task()?;
    let signals = Signals::watch().map_err(cannot)?;
    let limit = Duration::from_millis(request.prepare_ms);
    let Some(connection) = connect(Path::new(BUILDS_SOCKET), Instant::now() + limit, &signals)? else {
        return Ok(());
    };
    connection.set_write_timeout(Some(SEND_TIMEOUT)).map_err(cannot)?;
    // The preparation has begun by now, and asks for nothing once its time is over.
    let until = Instant::now() + limit + BUILD_MARGIN;
    // The connection lasts as long as this process: `FromDriver` borrows it for each build.
    let connection: &'static UnixStream = Box::leak(Box::new(connection));
    while let Some(order) = next_order(connection, &signals, until).map_err(cannot)? {
        let watch = memory::Watch::start();
        let mut report = match clean() {
            Ok(()) => run(connection, &image, &request, &order, recorder),
            Err(failure) => builder::failed(failure),
        };
        if let (End::Signaled { signal: SIGKILL }, Some(warning)) = (&report.end, watch.out_of_memory()) {
            let message = format!("building a package that has no wheel failed: {warning}");
            report = builder::failed(Failure::new(FailureKind::NoWheel, message).hint(RAISE));
        }
        if send(connection, &BuildMessage::Report(report)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Connects; `None` if the preparing container has ended already, or this one should end.
fn connect(socket: &Path, until: Instant, signals: &Signals) -> Result<Option<UnixStream>, Failure> {
    loop {
        match UnixStream::connect(socket) {
            Ok(connection) => return Ok(Some(connection)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < until => {}
            Err(error) => return Err(error).io_context("connect to", socket),
        }
        if signals.take().stop {
            return Ok(None);
        }
        thread::sleep(CONNECT_INTERVAL);
    }
}

/// The next order; `None` if there is none before `until`.
fn next_order(connection: &UnixStream, signals: &Signals, until: Instant) -> io::Result<Option<BuildOrder>> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut polled = [
            PollFd::new(connection, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_order = !polled[0].revents().is_empty();
        if signals.take().stop {
            return Ok(None);
        }
        if has_order {
            break;
        }
    }
    let mut line = Vec::new();
    // Nothing follows an order before it is answered, so the buffer holds no part of the next one.
    let reader = Bounded { connection, until };
    BufReader::new(reader.take(MAX_ORDER_BYTES)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Deletes what an earlier order left.
fn clean() -> Result<(), Failure> {
    for folder in WRITABLE.map(Path::new) {
        for path in folder::entries(folder)? {
            files::delete(&path)?;
        }
    }
    Ok(())
}

fn run(
    connection: &'static UnixStream,
    image: &ImageRecord,
    request: &PodRequest,
    order: &BuildOrder,
    recorder: &Recorder,
) -> BuildReport {
    let request = request_for(image, request, order);
    let from_driver = FromDriver::new(None, Some(connection.as_fd()));
    let mut take = |name: &str, file: File, bytes: u64| {
        let name = name.to_owned();
        let sent = send(connection, &BuildMessage::File { name, bytes }).and_then(|()| {
            let copied = io::copy(&mut file.take(bytes), &mut &*connection)?;
            if copied == bytes {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        });
        sent.map_err(cannot)
    };
    builder::run(&request, from_driver, recorder, &mut take)
}

/// The program of an order as a task without Python packages.
fn request_for(image: &ImageRecord, request: &PodRequest, order: &BuildOrder) -> RunRequest {
    RunRequest {
        task: order.program(&request.task),
        limits: Limits {
            time_ms: order.time_ms.min(request.prepare_ms),
            output_bytes: BUILD_OUTPUT_BYTES,
            ..request.limits.clone()
        },
        readable: vec![image.uv.clone()],
        ..run_request(image, request, order.environments())
    }
}

fn send(connection: &UnixStream, message: &BuildMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    (&mut &*connection).write_all(&line)
}

fn cannot(error: io::Error) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("the preparing container cannot be served: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_an_order_has_an_end() {
        let (here, there) = UnixStream::pair().unwrap();
        let signals = Signals::watch().unwrap();
        let began = Instant::now();
        let soon = || Instant::now() + Duration::from_millis(50);
        assert_eq!(next_order(&here, &signals, soon()).unwrap(), None);
        let order = BuildOrder {
            number: 1,
            code: String::new(),
            system: Vec::new(),
            time_ms: 1,
        };
        let mut line = serde_json::to_vec(&order).unwrap();
        line.push(b'\n');
        (&there).write_all(&line).unwrap();
        assert_eq!(next_order(&here, &signals, soon()).unwrap(), Some(order));
        // Nor does half an order hold it up.
        (&there).write_all(b"{").unwrap();
        assert!(next_order(&here, &signals, soon()).is_err());
        drop(there);
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
