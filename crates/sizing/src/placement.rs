//! Which of several volumes a task uses. The driver's volume sets and the simulated fleet share this rule.
//!
//! Each environment has two volumes, the highest of a ranking that depends on the environment and the volume alone (rendezvous
//! hashing). So a volume that is added or removed moves only its share of the environments. A task goes to the volume that has its
//! environment, or else to the first of the two, unless the load there is too far above the mean; then it goes to the other one.

use crate::number::mix;

/// Number of volumes that an environment may be on.
pub const CHOICES: usize = 2;
/// Largest load of a volume with one more task, relative to the mean.
const MOST_LOAD: f64 = 1.25;
/// Tasks above the mean that a volume may always have.
const LEAST_MARGIN: f64 = 1.0;

/// The volumes of an environment, best first. `key` is a hash of the environment; each volume comes with a hash of its name.
pub fn choices<T>(key: u64, volumes: impl IntoIterator<Item = (T, u64)>) -> [Option<T>; CHOICES] {
    let [mut first, mut second]: [Option<(u64, T)>; CHOICES] = [None, None];
    for (volume, hash) in volumes {
        let rank = mix(mix(key) ^ hash);
        if first.as_ref().is_none_or(|(best, _)| rank > *best) {
            second = first.replace((rank, volume));
        } else if second.as_ref().is_none_or(|(best, _)| rank > *best) {
            second = Some((rank, volume));
        }
    }
    [first, second].map(|ranked| ranked.map(|(_, volume)| volume))
}

/// Which of an environment's volumes takes one more task. `mean` is the mean load of all volumes with this task, `load` that of one
/// volume without it. A volume that has the environment comes before one that does not. If both are overloaded, the task goes
/// to the one with less load. `None` if there is no volume.
pub fn choose<T: Copy>(
    choices: [Option<T>; CHOICES],
    mean: f64,
    load: impl Fn(T) -> f64,
    has_environment: impl Fn(T) -> bool,
) -> Option<T> {
    let mut order: Vec<T> = choices.into_iter().flatten().collect();
    order.sort_by_key(|volume| !has_environment(*volume));
    let most = (mean * MOST_LOAD).max(mean + LEAST_MARGIN);
    let light = order.iter().find(|volume| load(**volume) + 1.0 <= most);
    let lightest = || order.iter().min_by(|one, other| load(**one).total_cmp(&load(**other)));
    light.or_else(lightest).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{Random, float};

    fn volumes(count: u64) -> impl Iterator<Item = (u64, u64)> {
        (0..count).map(|volume| (volume, mix(volume + 1)))
    }

    fn first(key: u64, count: u64) -> u64 {
        choices(key, volumes(count))[0].unwrap()
    }

    #[test]
    fn a_new_volume_takes_its_share_and_nothing_else_moves() {
        const KEYS: u64 = 20_000;
        for count in 1..8 {
            let mut random = Random::seeded(7);
            let keys: Vec<u64> = (0..KEYS).map(|_| random.next()).collect();
            let moved: Vec<&u64> = keys
                .iter()
                .filter(|key| first(**key, count) != first(**key, count + 1))
                .collect();
            assert!(moved.iter().all(|key| first(**key, count + 1) == count));
            let share = float(moved.len() as u64) / float(KEYS);
            let expected = 1.0 / float(count + 1);
            assert!(
                (share / expected - 1.0).abs() < 0.1,
                "{count}: {share} instead of {expected}"
            );
        }
    }

    #[test]
    fn without_a_volume_its_environments_go_to_their_second_choice() {
        for key in 0..1000 {
            let [first, second] = choices(key, volumes(5));
            assert_ne!(first, second);
            let left = choices(key, volumes(5).filter(|(volume, _)| Some(*volume) != first));
            assert_eq!(left[0], second);
        }
        assert_eq!(choices::<u64>(1, []), [None, None]);
        assert_eq!(choices(1, volumes(1)), [Some(0), None]);
    }

    #[test]
    fn the_first_choice_is_left_only_when_it_is_overloaded() {
        let both = [Some(0_usize), Some(1)];
        let chosen = |mean: f64, loads: [f64; 2]| choose(both, mean, |volume| loads[volume], |_| false).unwrap();
        // An idle system allows one task more than the mean.
        assert_eq!(chosen(0.5, [0.0, 0.0]), 0);
        assert_eq!(chosen(1.0, [1.0, 0.0]), 0);
        assert_eq!(chosen(1.5, [2.0, 0.0]), 1);
        assert_eq!(chosen(10.0, [11.5, 3.0]), 0);
        assert_eq!(chosen(10.0, [12.0, 3.0]), 1);
        // Both are overloaded, because others are idle.
        assert_eq!(chosen(10.0, [30.0, 20.0]), 1);
        assert_eq!(chosen(10.0, [20.0, 20.0]), 0);
    }

    #[test]
    fn the_volume_that_has_the_environment_comes_first() {
        let both = [Some(0_usize), Some(1)];
        let chosen = |loads: [f64; 2]| choose(both, 10.0, |volume| loads[volume], |volume| volume == 1);
        assert_eq!(chosen([0.0, 10.0]), Some(1));
        assert_eq!(chosen([0.0, 13.0]), Some(0));
        assert_eq!(choose::<usize>([None, None], 1.0, |_| 0.0, |_| true), None);
    }
}
