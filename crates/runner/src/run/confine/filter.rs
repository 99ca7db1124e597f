//! The seccomp filter: an allow-list based on the default profile of container engines, without calls that Python
//! programs do not need.
//!
//! | system call | answer |
//! |---|---|
//! | on the list of [`calls`] | allowed, if its arguments pass |
//! | a way to more rights (namespaces, mounts, tracing, keys, kernel modules, …) | `EPERM`, as without the right to it |
//! | a socket of another family than Unix, IPv4, IPv6 and routing netlink | `EAFNOSUPPORT` |
//! | anything else, `clone3` and io_uring among it | `ENOSYS`, as from an older kernel: libraries do without |
//! | of another architecture (`int 0x80`) | the process ends with SIGSYS |
//!
//! `clone3` passes its flags in memory, which a filter cannot read, so it must seem absent: libc then uses `clone`. The
//! numbers of the x32 architecture have bit 30 set, so none of them is on the list.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError as Error, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::calls;

/// System calls by number, each with its conditions on arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const EPERM: SeccompAction = SeccompAction::Errno(libc::EPERM.unsigned_abs());
const EAFNOSUPPORT: SeccompAction = SeccompAction::Errno(libc::EAFNOSUPPORT.unsigned_abs());
const ENOSYS: SeccompAction = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());

/// Flags of `clone` that make a namespace.
const NAMESPACES: [libc::c_int; 8] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
    CLONE_NEWTIME,
];
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Builds the filter.
///
/// # Errors
/// The compiler's errors, which do not occur with these rules.
pub fn build() -> Result<BpfProgram, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    // Each part passes on the calls that it does not answer.
    let mut program = refuse(arguments()?, EPERM, arch)?;
    program.extend(refuse(families()?, EAFNOSUPPORT, arch)?);
    program.extend(table());
    Ok(program)
}

/// The answer to each number, whatever the arguments.
///
/// The compiler would compare one number after the other. With 300 numbers that costs a task 1 ms, because the kernel
/// evaluates every number when the filter is installed. Ranges with the same answer take a tenth of that.
fn table() -> BpfProgram {
    let number = |numbers: &'static [i64]| numbers.iter().copied();
    let mut answers: BTreeMap<i64, u32> = BTreeMap::new();
    answers.extend(number(calls::ALLOWED).map(|call| (call, SeccompAction::Allow.into())));
    answers.extend(number(calls::ALLOWED_LEGACY).map(|call| (call, SeccompAction::Allow.into())));
    answers.extend(number(calls::DENIED).map(|call| (call, EPERM.into())));
    answers.extend(number(calls::DENIED_LEGACY).map(|call| (call, EPERM.into())));
    let unknown = u32::from(ENOSYS);
    let answer = |call: u32| answers.get(&i64::from(call)).copied().unwrap_or(unknown);
    let last = answers
        .keys()
        .last()
        .and_then(|call| u32::try_from(*call).ok())
        .unwrap_or(0);
    let instruction = |code: u32, skip: u8, k: u32| sock_filter {
        // The codes are all below 256.
        code: u16::try_from(code).unwrap_or(0),
        jt: skip,
        jf: 0,
        k,
    };
    let returns = |k: u32| instruction(libc::BPF_RET | libc::BPF_K, 0, k);
    // The number is the first field of what a filter is given.
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for end in (0..=last).filter(|call| answer(*call) != answer(call + 1)) {
        // A greater number skips the answer to this one and its neighbours below.
        program.push(instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, end));
        program.push(returns(answer(end)));
    }
    program.push(returns(unknown));
    program
}

/// A part that answers calls matching `rules` with `answer`, and passes on the rest.
///
/// A call in `rules` whose arguments match no rule is allowed, so it must be on the allow-list.
fn refuse(rules: Rules, answer: SeccompAction, arch: TargetArch) -> Result<BpfProgram, Error> {
    let mut part: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)?.try_into()?;
    // Drop the last instruction, which answers calls without rules.
    part.pop();
    Ok(part)
}

/// Privileged uses of calls that programs otherwise need.
fn arguments() -> Result<Rules, Error> {
    let mut rules = Rules::new();
    let mut clone = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        clone.push(SeccompRule::new(vec![when(0, SeccompCmpOp::MaskedEq(flag), flag)?])?);
    }
    rules.insert(libc::SYS_clone, clone);
    // A program may only choose the default personality; -1 queries it.
    let personality = vec![when(0, SeccompCmpOp::Ne, 0)?, when(0, SeccompCmpOp::Ne, 0xffff_ffff)?];
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(personality)?]);
    // Both inject characters into a terminal's input.
    let mut ioctl = Vec::new();
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        ioctl.push(SeccompRule::new(vec![when(1, SeccompCmpOp::Eq, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, ioctl);
    Ok(rules)
}

/// Refused socket families, protocols and types.
fn families() -> Result<Rules, Error> {
    const ROUTING: u64 = libc::NETLINK_ROUTE as u64;
    let [unix, ipv4, ipv6, netlink] =
        [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|family| u64::from(family.unsigned_abs()));
    let mut rules = vec![
        SeccompRule::new(vec![
            when(0, SeccompCmpOp::Ne, unix)?,
            when(0, SeccompCmpOp::Ne, ipv4)?,
            when(0, SeccompCmpOp::Ne, ipv6)?,
            when(0, SeccompCmpOp::Ne, netlink)?,
        ])?,
        // getaddrinfo and psutil read this machine's addresses from it; other protocols are for administration.
        SeccompRule::new(vec![
            when(0, SeccompCmpOp::Eq, netlink)?,
            when(2, SeccompCmpOp::Ne, ROUTING)?,
        ])?,
    ];
    // Allow TCP, UDP and ping: other types and protocols would load kernel modules.
    for family in [ipv4, ipv6] {
        let mut protocol = vec![when(0, SeccompCmpOp::Eq, family)?];
        for known in [
            0,
            libc::IPPROTO_ICMP,
            libc::IPPROTO_TCP,
            libc::IPPROTO_UDP,
            libc::IPPROTO_ICMPV6,
        ] {
            protocol.push(when(2, SeccompCmpOp::Ne, u64::from(known.unsigned_abs()))?);
        }
        rules.push(SeccompRule::new(protocol)?);
        for kind in [libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, SOCK_DCCP] {
            let kind = u64::from(kind.unsigned_abs());
            rules.push(SeccompRule::new(vec![
                when(0, SeccompCmpOp::Eq, family)?,
                when(1, SeccompCmpOp::MaskedEq(SOCK_TYPE_MASK), kind)?,
            ])?);
        }
    }
    let pair = SeccompRule::new(vec![when(0, SeccompCmpOp::Ne, unix)?])?;
    Ok(Rules::from([
        (libc::SYS_socket, rules),
        (libc::SYS_socketpair, vec![pair]),
    ]))
}

const SOCK_DCCP: libc::c_int = 6;
/// The other bits of a socket's type are flags.
const SOCK_TYPE_MASK: u64 = 0xf;

/// A condition on one argument. The kernel reads these arguments as 32 bits, so the upper half is ignored.
fn when(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filtered_by_its_arguments_is_allowed_and_nothing_is_on_both_lists() {
        let allowed = |call: &i64| calls::ALLOWED.contains(call) || calls::ALLOWED_LEGACY.contains(call);
        let by_arguments = [arguments().unwrap(), families().unwrap()];
        assert!(by_arguments.iter().flat_map(BTreeMap::keys).all(allowed));
        assert!(!calls::DENIED.iter().chain(calls::DENIED_LEGACY).any(allowed));
        assert!(!allowed(&libc::SYS_clone3) && !allowed(&libc::SYS_io_uring_setup));
    }

    /// What the part without conditions answers, as the kernel would go through it.
    fn answer(program: &BpfProgram, call: u32) -> u32 {
        let mut at = 1;
        loop {
            let instruction = &program[at];
            if u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K {
                return instruction.k;
            }
            at += 1 + usize::from(if call > instruction.k {
                instruction.jt
            } else {
                instruction.jf
            });
        }
    }

    #[test]
    fn every_number_has_its_own_answer() {
        let program = table();
        for call in (0..2000).chain([0x4000_0000, 0x4000_0027, u32::MAX]) {
            let number = i64::from(call);
            let expected = if calls::ALLOWED.contains(&number) || calls::ALLOWED_LEGACY.contains(&number) {
                SeccompAction::Allow
            } else if calls::DENIED.contains(&number) || calls::DENIED_LEGACY.contains(&number) {
                EPERM
            } else {
                ENOSYS
            };
            assert_eq!(answer(&program, call), u32::from(expected), "system call {call}");
        }
        let length = build().unwrap().len();
        assert!(length < 600, "{length} instructions");
    }
}
