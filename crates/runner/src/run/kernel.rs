//! The few system calls that have no safe wrapper: signals as a descriptor, "kill everyone", and what a child does
//! between fork and exec. All of the crate's unsafe code is in this file.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use hybrid_cache_model::Protection;
use hybrid_cache_model::protocol::{Identity, SOFT_OPEN_FILES};
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::FdFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;
use seccompiler::BpfProgram;

/// The signals that ask the runner to stop, and the one that says a child has ended.
const WATCHED: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD];

/// Signals, read from a descriptor instead of interrupting whatever runs.
pub struct Signals(OwnedFd);

/// What the received signals mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReceivedSignals {
    /// A process outside the task asked the runner to stop.
    pub stop: bool,
    /// At least one child ended.
    pub child: bool,
}

impl Signals {
    /// Blocks the watched signals for good and opens the descriptor that reports them.
    ///
    /// # Errors
    /// The kernel refuses it.
    #[expect(unsafe_code, reason = "neither std nor rustix has signal masks and signalfd")]
    pub fn watch() -> io::Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset makes the set whole, before anything reads it; every pointer is to this frame; the
        // descriptor that signalfd returns is new and has no other owner.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in WATCHED {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(Signals(OwnedFd::from_raw_fd(fd)))
            }
        }
    }

    /// Reads all signals since the last call. Never waits.
    #[expect(unsafe_code, reason = "signalfd_siginfo comes as bytes from the kernel")]
    pub fn take(&self) -> ReceivedSignals {
        let mut received = ReceivedSignals::default();
        // Bounded, in case signals arrive faster than they are read.
        for _ in 0..64 {
            let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            // SAFETY: the buffer is this frame's and has `size` bytes.
            let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if usize::try_from(got) != Ok(size) {
                break;
            }
            // SAFETY: plain integers, zeroed first and now filled by the kernel.
            let info = unsafe { info.assume_init() };
            if info.ssi_signo == libc::SIGCHLD.unsigned_abs() {
                received.child = true;
            } else if !from_own_namespace(info.ssi_pid) {
                received.stop = true;
            }
        }
        received
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// True if a signal comes from the task. As the first process of a PID namespace, the runner knows that every visible
/// sender is a process of the task, which must not make its own end look like a cancellation.
fn from_own_namespace(sender_pid: u32) -> bool {
    is_first_process() && sender_pid != 0
}

/// True in the first process of a PID namespace.
pub fn is_first_process() -> bool {
    rustix::process::getpid().is_init()
}

/// Sends a signal to every other process of this PID namespace atomically, so that none can escape by forking.
///
/// Only for its first process; elsewhere it would reach processes outside the task.
#[expect(unsafe_code, reason = "rustix has no way to say pid -1")]
pub fn signal_namespace(signal: Signal) {
    assert!(is_first_process(), "kill(-1) outside a PID namespace of our own");
    // SAFETY: no memory is involved. An error means that no process is left to signal.
    unsafe { libc::kill(-1, signal.as_raw()) };
}

/// Makes SIGTERM end this process, which as the first one of a PID namespace would otherwise ignore it. The kernel then
/// kills the others.
#[expect(unsafe_code, reason = "neither std nor rustix sets signal handlers")]
pub fn end_on_sigterm() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: async-signal-safe, and nothing of this process is used afterwards.
        unsafe { libc::_exit(128 + signal) }
    }
    let handler = end as extern "C" fn(libc::c_int);
    // SAFETY: the handler is a function of the right type that lives as long as the program.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
}

/// Sends SIGTERM to the calling thread, which must have blocked it.
#[cfg(test)]
#[expect(unsafe_code, reason = "rustix sends signals to whole processes only")]
pub fn tell_this_thread() {
    // SAFETY: no memory is involved.
    unsafe { libc::raise(libc::SIGTERM) };
}

/// Undoes [`end_on_sigterm`]: the first process of a PID namespace ignores SIGTERM again.
#[expect(unsafe_code, reason = "neither std nor rustix sets signal handlers")]
pub fn reset_sigterm() {
    // SAFETY: no function of this process is involved.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
}

/// Takes over a descriptor that the runner was started with.
///
/// # Errors
/// `number` is a standard stream or not open.
#[expect(unsafe_code, reason = "a number on the command line becomes an owned descriptor")]
pub fn take_descriptor(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD touches no memory; it fails for numbers that are not open.
    let is_open = number > 2 && unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    if !is_open {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and called once, while the command line is read: nothing else in this process has opened a
    // descriptor that outlives that moment.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes every descriptor except the standard streams close-on-exec, including those that the starter forgot to close.
#[expect(unsafe_code, reason = "neither std nor rustix has close_range")]
pub fn hide_descriptors() {
    // SAFETY: no memory is involved, and nothing is closed before an exec. A kernel before 5.11 refuses; what the
    // runner itself opens is close-on-exec anyway.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
}

/// Closes every descriptor except the standard streams, which the starter may have forgotten to close.
///
/// Call this only at the beginning of a program, before it owns descriptors.
#[expect(unsafe_code, reason = "neither std nor rustix has close_range")]
pub fn close_descriptors() {
    // SAFETY: no memory is involved, and by the condition above no closed descriptor has an owner. A kernel before 5.9 refuses.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// What the child does to itself before it becomes the user's program.
#[derive(Debug)]
pub struct ChildSetup {
    /// The user and group to become.
    pub identity: Option<Identity>,
    /// Processes and threads it may have at one time.
    pub processes: u64,
    /// Files that one process may have open.
    pub open_files: u64,
    /// Its working directory.
    pub folder: PathBuf,
    /// The file of a control group that processes enter by writing to it.
    pub memory_group: Option<OwnedFd>,
    /// The Landlock ruleset.
    pub ruleset: Option<OwnedFd>,
    /// The system call filter; empty for none.
    pub filter: BpfProgram,
    /// A descriptor that it keeps, under the same number.
    pub kept: Option<OwnedFd>,
}

/// Makes `command` set its child up as `setup` says.
#[expect(
    unsafe_code,
    reason = "pre_exec is unsafe, as the child of a process with threads must not allocate"
)]
pub fn on_exec(command: &mut Command, setup: ChildSetup) {
    let child = TaskChild::new(setup);
    // SAFETY: `TaskChild::become_task` only makes system calls on memory that was laid out before the fork; it neither
    // allocates nor takes a lock, so that a thread which held one while forking can do no harm.
    unsafe { command.pre_exec(move || child.become_task().map_err(io::Error::from)) };
}

/// The setup with all strings allocated before the fork.
struct TaskChild {
    setup: ChildSetup,
    folder: CString,
    uid_map: String,
    gid_map: String,
}

impl TaskChild {
    fn new(setup: ChildSetup) -> TaskChild {
        let own = |id: u32| format!("{id} {id} 1");
        let (uid, gid) = setup.identity.map_or((0, 0), |identity| (identity.uid, identity.gid));
        TaskChild {
            // A path with NUL cannot exist; an empty path makes chdir fail, as it should.
            folder: CString::new(setup.folder.as_os_str().as_bytes()).unwrap_or_default(),
            uid_map: own(uid),
            gid_map: own(gid),
            setup,
        }
    }

    fn become_task(&self) -> rustix::io::Result<()> {
        // A new session has no controlling terminal and one process group to kill.
        rustix::process::setsid()?;
        unblock_signals();
        limit(Resource::Core, 0, 0)?;
        if Protection::MemoryLimit.is_on()
            && let Some(group) = &self.setup.memory_group
        {
            // 0 stands for the writing process.
            rustix::io::write(group, b"0")?;
        }
        if Protection::OomFirst.is_on() {
            end_first_when_memory_runs_out();
        }
        if let Some(identity) = self.setup.identity {
            become_identity(identity)?;
            self.count_processes_alone();
        }
        // After the change of user, because root without capabilities may not enter the task's folder.
        rustix::process::chdir(&self.folder)?;
        if Protection::ProcessLimit.is_on() {
            limit(Resource::Nproc, self.setup.processes, self.setup.processes)?;
        }
        if Protection::OpenFilesLimit.is_on() {
            let hard = self.setup.open_files;
            limit(Resource::Nofile, SOFT_OPEN_FILES.min(hard), hard)?;
        }
        if let Some(kept) = &self.setup.kept {
            rustix::io::fcntl_setfd(kept, FdFlags::empty())?;
        }
        rustix::thread::set_no_new_privs(true)?;
        // A dead runner cannot clean up. After the change of user, which resets this.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if let Some(ruleset) = &self.setup.ruleset {
            restrict_files(ruleset.as_fd())?;
        }
        // Last, because the filter refuses some of the calls above.
        restrict_calls(&self.setup.filter)
    }

    /// Enters a user namespace if permitted. Since Linux 5.14 processes are counted per namespace, so the limit is not
    /// shared with other processes of the same user.
    fn count_processes_alone(&self) {
        const UID_MAP: &CStr = c"/proc/self/uid_map";
        // After a change of user the files of /proc/self belong to root until the process is dumpable again.
        if rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).is_err() {
            return;
        }
        if rustix::fs::access(UID_MAP, Access::WRITE_OK).is_err() {
            return;
        }
        // The flags do not include CLONE_FILES, so other threads notice nothing.
        if unshare_user().is_ok() {
            write_once(c"/proc/self/setgroups", "deny");
            write_once(UID_MAP, &self.uid_map);
            write_once(c"/proc/self/gid_map", &self.gid_map);
        }
    }
}

fn unshare_user() -> rustix::io::Result<()> {
    enter_new(UnshareFlags::NEWUSER)
}

/// Enters new namespaces.
///
/// # Errors
/// The kernel refuses them.
#[expect(
    unsafe_code,
    reason = "unsafe only where descriptors are unshared, which these flags do not"
)]
pub fn enter_new(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the process keeps its descriptors, whatever else the caller asks for.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(UnshareFlags::FILES)) }
}

/// Becomes another user permanently, without supplementary groups.
///
/// # Errors
/// The kernel refuses it.
pub fn become_identity(identity: Identity) -> rustix::io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(identity.uid),
        rustix::fs::Gid::from_raw(identity.gid),
    );
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Sets one limit, at most to the inherited hard limit.
fn limit(resource: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let inherited = rustix::process::getrlimit(resource).maximum;
    let value = |wanted: u64| Some(inherited.map_or(wanted, |inherited| inherited.min(wanted)));
    rustix::process::setrlimit(
        resource,
        Rlimit {
            current: value(soft),
            maximum: value(hard),
        },
    )
}

/// Makes the kernel kill this process and its children first when memory runs out. Without Landlock a program could
/// undo this.
fn end_first_when_memory_runs_out() {
    // The /proc files of a process that is not dumpable belong to root, and this may be another user. The following
    // exec makes the process dumpable anyway.
    if rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).is_ok() {
        write_once(c"/proc/self/oom_score_adj", "1000");
    }
}

/// Applies the Landlock ruleset to this process and its children.
#[expect(
    unsafe_code,
    reason = "the crate's own call takes a value that allocates and cannot be shared"
)]
fn restrict_files(ruleset: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // SAFETY: the call takes a descriptor and flags, and touches no memory of this process.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if answer == 0 { Ok(()) } else { Err(last_error()) }
}

/// Installs the system call filter, if it has instructions.
fn restrict_calls(filter: &BpfProgram) -> rustix::io::Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    // Two system calls on memory that was laid out before the fork.
    seccompiler::apply_filter(filter).map_err(|_| last_error())
}

fn last_error() -> rustix::io::Errno {
    let error = io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::INVAL)
}

fn write_once(path: &CStr, text: &str) {
    if let Ok(fd) = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        // Best effort: without the mapping the task runs as the namespace's overflow user.
        let _ = rustix::io::write(fd, text.as_bytes());
    }
}

#[expect(unsafe_code, reason = "rustix has no signal masks")]
fn unblock_signals() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes the set whole before sigprocmask reads it; both pointers are to this frame.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}
