//! The bound on memory: a control group that the driver hands over, and who ends first where memory runs out.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Between the driver's 0 and the 1000 of user code.
const RUNNER_SCORE: &str = "500";

/// Makes the kernel end this sandbox before the process that started it, but after the user's program, which is the
/// better choice. Memory that a program filled `/tmp` with is free only when the whole sandbox has ended.
pub fn prefer_to_end_before_the_driver() {
    // A kernel without it has no choice to influence.
    let _ = std::fs::write("/proc/self/oom_score_adj", RUNNER_SCORE);
}

/// Takes the first byte that comes by the socket `input`, and the descriptor that may come with it. Nothing is taken
/// where `input` is no socket.
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

/// Notices whether the kernel ended a process on this machine because memory ran out.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    before: Option<u64>,
}

impl Watch {
    /// Begins to watch; costs one small file.
    pub fn start() -> Watch {
        Watch {
            before: out_of_memory_kills(),
        }
    }

    /// What a user should know of a program that was killed meanwhile.
    pub fn out_of_memory(self) -> Option<String> {
        (out_of_memory_kills()? > self.before?).then(|| {
            "the kernel ended a process because memory ran out, which this task probably caused; use less memory, or a \
             machine or limit with more"
                .to_owned()
        })
    }
}

/// How many processes the kernel has ended for that since it was started.
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
