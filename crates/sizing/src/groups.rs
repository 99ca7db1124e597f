//! Groups parts that always occur together, because they are used at the same times.

use std::collections::HashMap;

use crate::Weight;
use crate::number::{mix, narrow};
use crate::trace::VolumeCatalog;

/// The groups of a volume's parts, and the groups of each environment.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// Usage of each group.
    pub weights: Vec<Weight>,
    /// The groups of all environments, one environment after the other.
    members: Vec<u32>,
    /// Index in `members` at which each environment begins, and the end as the last entry.
    begins: Vec<usize>,
    /// Usage of each environment with all its parts.
    pub environments: Vec<Weight>,
}

impl Groups {
    /// Groups the parts of a catalog. An environment's own usage is added to the parts that only this environment has.
    pub fn from_catalog(catalog: &VolumeCatalog) -> Groups {
        let environments = catalog.environments();
        // A part is identified by the sum of random numbers of its environments. Two different sets have the same sum with a
        // probability of 2^-128.
        let number = |environment: usize| {
            let low = mix(environment as u64 * 2 + 1);
            let high = mix(low ^ 0x5bd1_e995_9d1d_c4a7);
            (u128::from(high) << 64) | u128::from(low)
        };
        let mut signatures = vec![0u128; catalog.parts().len()];
        for (at, environment) in environments.iter().enumerate() {
            for part in &environment.parts {
                let signature = &mut signatures[*part as usize];
                *signature = signature.wrapping_add(number(at));
            }
        }
        let mut groups = Groups::default();
        let mut known: HashMap<u128, u32> = HashMap::new();
        // For each group, the last environment that it was added to, so that it is added only once.
        let mut added: Vec<usize> = Vec::new();
        // A part is counted with the first environment that has it.
        let mut counted = vec![false; signatures.len()];
        groups.begins.push(0);
        for (at, environment) in environments.iter().enumerate() {
            let own = (number(at), environment.own);
            let parts = environment.parts.iter().map(|part| {
                let first = !std::mem::replace(&mut counted[*part as usize], true);
                let weight = if first {
                    catalog.parts()[*part as usize]
                } else {
                    Weight::default()
                };
                (signatures[*part as usize], weight)
            });
            for (signature, weight) in std::iter::once(own).chain(parts) {
                let group = *known.entry(signature).or_insert_with(|| {
                    groups.weights.push(Weight::default());
                    added.push(usize::MAX);
                    narrow(groups.weights.len() - 1)
                });
                groups.weights[group as usize] += weight;
                if std::mem::replace(&mut added[group as usize], at) != at {
                    groups.members.push(group);
                }
            }
            groups.begins.push(groups.members.len());
        }
        groups.environments = (0..narrow(environments.len())).map(|at| catalog.weight(at)).collect();
        groups
    }

    /// The groups of one environment.
    pub fn groups_of(&self, environment: u32) -> &[u32] {
        let at = environment as usize;
        &self.members[self.begins[at]..self.begins[at + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Environment;

    #[test]
    fn parts_that_occur_together_are_one_group_and_no_byte_is_lost() {
        let mut catalog = VolumeCatalog::default();
        let parts: Vec<u32> = (0..6)
            .map(|at| catalog.part(&at.to_string(), Weight::new(1 << at, 1)))
            .collect();
        for (key, has) in [("a", vec![0, 1, 2, 3]), ("b", vec![0, 1, 4]), ("c", vec![4, 5])] {
            catalog.environment(Environment {
                key: key.to_owned(),
                own: Weight::new(100, 10),
                parts: has.into_iter().map(|at: usize| parts[at]).collect(),
                ..Environment::default()
            });
        }
        let groups = Groups::from_catalog(&catalog);
        // The groups are {0,1}, {2,3 and a's own}, {4}, {b's own}, {5 and c's own}.
        assert_eq!(groups.weights.len(), 5);
        assert_eq!(groups.weights.iter().copied().sum::<Weight>(), catalog.union());
        for at in 0..3 {
            let sum: Weight = groups
                .groups_of(at)
                .iter()
                .map(|group| groups.weights[*group as usize])
                .sum();
            assert_eq!(
                (sum, groups.environments[at as usize]),
                (catalog.weight(at), catalog.weight(at))
            );
        }
    }
}
