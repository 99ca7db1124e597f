//! The list of faults, by what fails.

mod clock;
mod cluster;
mod crowd;
mod full;
mod kill;
mod readonly;
mod service;
mod unsynced;

use crate::chaos::fault::Fault;

/// Every fault, in the order in which they are tried.
pub fn all() -> Vec<&'static Fault> {
    let parts: [&'static [Fault]; 8] = [
        kill::FAULTS,
        unsynced::FAULTS,
        service::FAULTS,
        full::FAULTS,
        readonly::FAULTS,
        clock::FAULTS,
        crowd::FAULTS,
        cluster::FAULTS,
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chaos::fault::Pledge;

    #[test]
    fn every_fault_id_is_unique_and_needs_no_shell_quoting() {
        let mut ids = BTreeSet::new();
        for fault in all() {
            assert!(ids.insert(fault.id), "{} stands twice", fault.id);
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(fault.id.chars().all(is_plain), "{}", fault.id);
            assert!(fault.tries.ends_with('.') && !fault.sites.is_empty(), "{}", fault.id);
        }
    }

    #[test]
    fn every_promise_has_a_fault() {
        let tested: BTreeSet<Pledge> = all().iter().map(|fault| fault.promise).collect();
        assert_eq!(tested, Pledge::ALL.into_iter().collect());
    }
}
