//! The list of attacks, by target.

mod access;
mod builds;
mod damage;
mod kernel;
mod limits;
mod locks;
mod network;
mod output;
mod packages;
mod record;
mod service;
mod sources;
mod tenants;

use crate::attack::Attack;

/// Every attack, in the order in which they are tried.
pub fn all() -> Vec<&'static Attack> {
    let parts: [&'static [Attack]; 13] = [
        record::ATTACKS,
        packages::ATTACKS,
        builds::ATTACKS,
        sources::ATTACKS,
        access::ATTACKS,
        kernel::ATTACKS,
        locks::ATTACKS,
        network::ATTACKS,
        limits::ATTACKS,
        damage::ATTACKS,
        output::ATTACKS,
        service::ATTACKS,
        tenants::ATTACKS,
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hybrid_cache_model::Protection;

    use super::*;

    #[test]
    fn every_attack_id_is_unique_and_needs_no_shell_quoting() {
        let mut ids = BTreeSet::new();
        for attack in all() {
            assert!(ids.insert(attack.id), "{} stands twice", attack.id);
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(attack.id.chars().all(is_plain), "{}", attack.id);
            assert!(attack.tries.ends_with('.') && !attack.sites.is_empty(), "{}", attack.id);
        }
    }

    #[test]
    fn every_protection_has_an_attack() {
        let tested: BTreeSet<Protection> = all().iter().map(|attack| attack.promise).collect();
        let missing: Vec<_> = Protection::ALL.iter().filter(|one| !tested.contains(one)).collect();
        assert!(missing.is_empty(), "no attack tests {missing:?}");
    }
}
