//! The memory limit: the control group that the driver passes, and the order in which the kernel kills processes.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// The runner's oom_score_adj, between the driver's 0 and user code's 1000.
const RUNNER_SCORE: &str = "500";

/// Makes the kernel kill this sandbox before the process that started it, but after the user's program. Memory used by
/// files in `/tmp` is freed only when the whole sandbox ends.
pub fn prefer_to_end_before_the_driver() {
    // Ignore a failure: a kernel without this file has no setting.
    let _ = std::fs::write("/proc/self/oom_score_adj", RUNNER_SCORE);
}

/// Reads the first byte from the socket `input`, and a descriptor if one comes with it. Reads nothing if `input` is not
/// a socket.
pub fn take_descriptor(input: BorrowedFd<'_>) -> (Vec<u8>, Option<OwnedFd>) {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(input, &mut [IoSliceMut::new(&mut byte)], &mut control, flags);
    let Ok(received) = received else {
        return (Vec::new(), None);
    };
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (byte[..received.bytes.min(1)].to_vec(), descriptor)
}

/// Detects whether the kernel killed a process on this machine because memory ran out.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    before: Option<u64>,
}

impl Watch {
    /// Starts watching. Reads one small file.
    pub fn start() -> Watch {
        Watch {
            before: out_of_memory_kills(),
        }
    }

    /// A warning for the user, if the kernel killed a process meanwhile.
    pub fn out_of_memory(self) -> Option<String> {
        (out_of_memory_kills()? > self.before?).then(|| {
            "the kernel ended a process because memory ran out, which this task probably caused; use less memory, or a \
             machine or limit with more"
                .to_owned()
        })
    }
}

/// How many processes the kernel has killed for lack of memory since boot.
fn out_of_memory_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_request_without_a_descriptor_loses_no_byte() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        rustix::io::write(&ours, b"{}").unwrap();
        let (first, descriptor) = take_descriptor(theirs.as_fd());
        assert!(first == b"{" && descriptor.is_none());
        let (read, _write) = std::io::pipe().unwrap();
        assert!(take_descriptor(read.as_fd()).0.is_empty());
    }
}
