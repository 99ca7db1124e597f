//! The preparing container's side of builds: hands orders to the container that builds, and takes files and reports.
//!
//! The two share nothing but a socket that the other side cannot replace. One connection is accepted, which the runner
//! there has opened before any code of a package runs. Everything that comes through it counts as a stranger's: it is
//! bounded, and names of files are plain. The end of either side ends the connection, and with it a build.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hybrid_cache_model::pod::BuildMessage;
use hybrid_cache_model::protocol::{BuildOrder, BuildReport};
use hybrid_cache_model::{Failure, FailureKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::builder::{BUILD_MARGIN, MAX_FILES, is_plain, refused};
use crate::clock::lock;
use crate::store::{IoContext, files};

/// How long to wait for the connection: the kubelet may start the other container later.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for sending an order.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of one message, without those of a file.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;

/// The connection to the container that builds.
pub struct BuildLink {
    state: Mutex<State>,
    /// Folder for the files of builds, one folder for each order.
    folder: PathBuf,
    /// Most bytes of one order's files.
    max_bytes: u64,
}

enum State {
    Listening(UnixListener),
    Connected(UnixStream),
    /// An order failed half-way, or the other side is gone.
    Closed,
}

impl BuildLink {
    /// Opens the socket, on which the other container connects once.
    ///
    /// # Errors
    /// The socket or the folder cannot be created.
    pub fn listen(socket: &Path, folder: &Path, max_bytes: u64) -> Result<BuildLink, Failure> {
        files::ensure_folder(folder)?;
        let listener = listen(socket).io_context("create the socket", socket)?;
        Ok(BuildLink {
            state: Mutex::new(State::Listening(listener)),
            folder: folder.to_owned(),
            max_bytes,
        })
    }

    /// Has the other container run one order, and puts its files into the folder with the order's number.
    ///
    /// # Errors
    /// The other container does not connect or answer in time, it has ended, or it leaves what no build leaves. It gets no further
    /// order then. Or a file cannot be written here; then it runs further orders.
    pub fn run(&self, order: &BuildOrder) -> Result<BuildReport, Failure> {
        let mut state = lock(&self.state);
        let folder = self.folder.join(order.number.to_string());
        std::fs::create_dir(&folder).io_context("create the folder", &folder)?;
        let limit = Duration::from_millis(order.time_ms);
        let connection = match std::mem::replace(&mut *state, State::Closed) {
            // The listener is closed as soon as the runner there is connected: nobody else can connect.
            State::Listening(listener) => accept(&listener, CONNECT_TIMEOUT.min(limit))?,
            State::Connected(connection) => connection,
            State::Closed => return Err(lost(io::ErrorKind::NotConnected.into())),
        };
        let until = Instant::now() + limit + BUILD_MARGIN;
        let (report, kept) = self.exchange(&connection, order, &folder, until)?;
        *state = State::Connected(connection);
        kept.map(|()| report)
    }

    /// Also returns whether all files could be written. If one could not, the rest of the answer is read all the same: the
    /// connection is in order, and the caller may make room and give the order again.
    fn exchange(
        &self,
        connection: &UnixStream,
        order: &BuildOrder,
        folder: &Path,
        until: Instant,
    ) -> Result<(BuildReport, Result<(), Failure>), Failure> {
        let mut text = serde_json::to_vec(order).map_err(|error| lost(error.into()))?;
        text.push(b'\n');
        let sent = connection.set_write_timeout(Some(SEND_TIMEOUT));
        sent.and_then(|()| (&mut &*connection).write_all(&text)).map_err(lost)?;
        let mut reader = BufReader::new(Bounded { connection, until });
        let (mut names, mut left, mut kept) = (Vec::new(), self.max_bytes, Ok(()));
        loop {
            match read_message(&mut reader).map_err(lost)? {
                BuildMessage::File { name, bytes } => {
                    if names.len() == MAX_FILES || !is_plain(&name) || names.contains(&name) || bytes > left {
                        return Err(refused("left files that no build leaves, or too large ones"));
                    }
                    left -= bytes;
                    let written = receive(&mut reader, bytes, &folder.join(&name))?;
                    kept = kept.and(written);
                    names.push(name);
                }
                BuildMessage::Report(report) => return Ok((BuildReport { files: names, ..report }, kept)),
            }
        }
    }
}

/// Opens a socket that has its name only once it takes connections: the other side takes a refused one for the end of this
/// side.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let early = socket.with_file_name(files::unique_name(".socket"));
    let listener = UnixListener::bind(&early)?;
    if let Err(error) = renameat_with(CWD, &early, CWD, socket, RenameFlags::NOREPLACE) {
        drop(std::fs::remove_file(&early));
        return Err(error.into());
    }
    Ok(listener)
}

fn accept(listener: &UnixListener, limit: Duration) -> Result<UnixStream, Failure> {
    let timeout = Timespec::try_from(limit).ok();
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(0) => {
            let message = format!(
                "the container that builds packages did not start within {} s",
                limit.as_secs()
            );
            Err(Failure::new(FailureKind::Deadline, message).hint("see its log: kubectl logs -c build"))
        }
        Ok(_) => listener.accept().map(|(connection, _)| connection).map_err(lost),
        Err(error) => Err(lost(error.into())),
    }
}

fn read_message(reader: &mut impl BufRead) -> io::Result<BuildMessage> {
    let mut line = Vec::new();
    reader.take(MAX_MESSAGE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

/// Reads the bytes of one file. Returns whether they could be written.
///
/// # Errors
/// They do not come.
fn receive(reader: &mut impl Read, bytes: u64, path: &Path) -> Result<Result<(), Failure>, Failure> {
    let mut copy = Copy {
        file: File::create_new(path).io_context("create", path),
        path,
    };
    let copied = io::copy(&mut reader.take(bytes), &mut copy).map_err(lost)?;
    if copied < bytes {
        return Err(lost(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(copy.file.map(drop))
}

/// A file that takes everything, and remembers what it could not write.
struct Copy<'a> {
    file: Result<File, Failure>,
    path: &'a Path,
}

impl Write for Copy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(file) = &mut self.file
            && let Err(failure) = file.write_all(bytes).io_context("write", self.path)
        {
            self.file = Err(failure);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lost(error: io::Error) -> Failure {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return Failure::new(
            FailureKind::Deadline,
            "the container that builds packages did not answer in time",
        );
    }
    let message = format!("the container that builds packages ended before it answered: {error}");
    Failure::new(FailureKind::NoWheel, message)
        .hint("it may have used up its memory or disk: raise the limits of the preparing container's resources, which it has too")
}

/// Reads until an instant.
pub(super) struct Bounded<'a> {
    pub(super) connection: &'a UnixStream,
    pub(super) until: Instant,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        // A timeout of zero would be none.
        self.connection
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        (&mut &*self.connection).read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::thread;

    use hybrid_cache_model::End;

    use super::*;

    fn order(number: u32, time_ms: u64) -> BuildOrder {
        BuildOrder {
            number,
            code: String::new(),
            system: Vec::new(),
            time_ms,
        }
    }

    fn line(message: &BuildMessage) -> Vec<u8> {
        let mut text = serde_json::to_vec(message).unwrap();
        text.push(b'\n');
        text
    }

    fn file(name: &str, text: &str) -> Vec<u8> {
        let bytes = text.len() as u64;
        let mut all = line(&BuildMessage::File {
            name: name.into(),
            bytes,
        });
        all.extend(text.bytes());
        all
    }

    fn report(code: i32) -> Vec<u8> {
        let end = End::Exited { code };
        line(&BuildMessage::Report(BuildReport {
            end,
            files: vec!["forged".into()],
        }))
    }

    /// Runs two orders, to which the other side answers with these bytes.
    fn exchange(answers: [Vec<u8>; 2]) -> (tempfile::TempDir, [Result<BuildReport, Failure>; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let link = BuildLink::listen(&socket, &dir.path().join("builds"), 1 << 10).unwrap();
        let other = thread::spawn(move || {
            let connection = UnixStream::connect(socket).unwrap();
            let mut orders = BufReader::new(connection.try_clone().unwrap());
            for answer in answers {
                let mut order = String::new();
                if orders.read_line(&mut order).unwrap_or(0) == 0 {
                    return;
                }
                // It fails once the link has given up.
                let _ = (&connection).write_all(&answer);
            }
        });
        let reports = [1, 2].map(|number| link.run(&order(number, 10_000)));
        drop(link);
        other.join().unwrap();
        (dir, reports)
    }

    #[test]
    fn orders_of_one_connection_leave_files_in_folders_of_their_own() {
        let first = [
            file("answer.json", "{}"),
            file("a-1-py3-none-any.whl", "wheel"),
            report(0),
        ]
        .concat();
        let (dir, reports) = exchange([first, report(1)]);
        let [Ok(one), Ok(two)] = reports else {
            panic!("{reports:?}")
        };
        assert_eq!(one.files, ["answer.json", "a-1-py3-none-any.whl"]);
        assert!(one.end.is_success() && two.end == End::Exited { code: 1 } && two.files.is_empty());
        let wheel = dir.path().join("builds/1/a-1-py3-none-any.whl");
        assert_eq!(std::fs::read_to_string(wheel).unwrap(), "wheel");
    }

    #[test]
    fn a_file_that_cannot_be_written_here_does_not_end_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, folder) = (dir.path().join("socket"), dir.path().join("builds"));
        let link = BuildLink::listen(&socket, &folder, 1 << 20).unwrap();
        let first = folder.join("1");
        let other = thread::spawn(move || {
            let connection = UnixStream::connect(socket).unwrap();
            let mut orders = BufReader::new(connection.try_clone().unwrap());
            let mut order = String::new();
            while orders.read_line(&mut order).unwrap_or(0) > 0 {
                // Without its folder no file of the first order can be written.
                let _ = std::fs::remove_dir(&first);
                let answer = [file("large", &"x".repeat(1 << 19)), file("small", "s"), report(0)].concat();
                (&connection).write_all(&answer).unwrap();
                order.clear();
            }
        });
        std::fs::write(folder.join("2"), "in the place of a folder").unwrap();
        for number in [1, 2] {
            let failure = link.run(&order(number, 10_000)).unwrap_err();
            assert!(failure.message.starts_with("could not create"), "{failure}");
        }
        let report = link.run(&order(3, 10_000)).unwrap();
        assert_eq!(report.files, ["large", "small"]);
        assert_eq!(std::fs::metadata(folder.join("3/large")).unwrap().len(), 1 << 19);
        drop(link);
        other.join().unwrap();
    }

    #[test]
    fn what_no_build_leaves_is_refused_and_ends_the_connection() {
        let many = (0..=MAX_FILES)
            .map(|number| file(&number.to_string(), ""))
            .collect::<Vec<_>>();
        for answer in [
            file("../escaped", "x"),
            file(".hidden", "x"),
            file("a/b", "x"),
            file("large", &"x".repeat(1 << 11)),
            many.concat(),
            file("twice", "x").repeat(2),
            b"no json\n".to_vec(),
        ] {
            let (dir, reports) = exchange([answer, report(0)]);
            let [Err(_), Err(second)] = &reports else {
                panic!("{reports:?}")
            };
            assert!(second.to_string().contains("ended before it answered"), "{second}");
            assert!(!dir.path().join("builds/escaped").exists());
        }
    }

    #[test]
    fn a_socket_that_can_be_found_takes_connections() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (sender, connected) = std::sync::mpsc::channel();
        let until = Instant::now() + Duration::from_secs(3);
        let count = thread::scope(|scope| {
            // Looks for each socket without a pause, so that it finds it at the first moment.
            scope.spawn(move || {
                for number in 0_usize.. {
                    let found = loop {
                        match UnixStream::connect(path.join(number.to_string())) {
                            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < until => {}
                            other => break other.map(drop),
                        }
                    };
                    if Instant::now() >= until || sender.send(found).is_err() {
                        return;
                    }
                }
            });
            let mut count = 0;
            while Instant::now() < until {
                let socket = dir.path().join(count.to_string());
                let _link = BuildLink::listen(&socket, &dir.path().join("builds"), 1).unwrap();
                count += 1;
                // The other side is at its end too.
                let Ok(found) = connected.recv() else { break };
                found.unwrap();
            }
            count
        });
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, count + 1, "a socket each, and the folder");
    }

    #[test]
    fn a_second_connection_is_refused_and_silence_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let link = BuildLink::listen(&socket, &dir.path().join("builds"), 1).unwrap();
        let failure = link.run(&order(1, 50)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Deadline, "{failure}");
        assert!(UnixStream::connect(&socket).is_err());
        let elsewhere = dir.path().join("link");
        symlink(&socket, &elsewhere).unwrap();
        assert!(BuildLink::listen(&elsewhere, dir.path(), 1).is_err());
    }
}
