//! Where tasks go, under load and while a set is down.

use super::*;
use crate::kube::config::tests::{config, with_sets};

fn sets(count: usize) -> Arc<VolumeSets> {
    Arc::new(VolumeSets::new(&with_sets(config(), count)))
}

fn wish(number: u64) -> Wish {
    Wish::Environment {
        key: key::of_name(&format!("environment {number}")),
        known_on: Vec::new(),
    }
}

/// An environment whose first choice is this set.
fn of_set(sets: &Arc<VolumeSets>, place: usize) -> Wish {
    let now = Instant::now();
    (0..)
        .map(wish)
        .find(|wish| sets.place(wish, now).place() == place)
        .unwrap()
}

fn tasks(sets: &VolumeSets) -> Vec<u64> {
    sets.status().iter().map(|set| set.tasks).collect()
}

fn is_down(sets: &VolumeSets, place: usize) -> bool {
    sets.status()[place].is_down
}

#[test]
fn an_environment_stays_on_its_set_and_many_spread_evenly() {
    let (sets, now) = (sets(3), Instant::now());
    let places = |number: u64| sets.place(&wish(number), now).place();
    for number in 0..50 {
        assert_eq!(places(number), places(number));
    }
    let held: Vec<SetTicket> = (0..900).map(|number| sets.place(&wish(number), now)).collect();
    assert!(
        tasks(&sets).iter().all(|tasks| (240..=376).contains(tasks)),
        "{:?}",
        tasks(&sets)
    );
    drop(held);
    assert_eq!(tasks(&sets), [0, 0, 0]);
}

#[test]
fn a_popular_environment_uses_two_sets_and_no_third() {
    let (sets, now) = (sets(4), Instant::now());
    let popular = wish(1);
    let _held: Vec<SetTicket> = (0..40).map(|_| sets.place(&popular, now)).collect();
    let mut tasks = tasks(&sets);
    tasks.sort_unstable();
    assert_eq!(tasks[..2], [0, 0]);
    assert!(tasks[2] >= 19, "{tasks:?}");
}

#[test]
fn an_environment_is_used_where_it_is_known_to_be() {
    let (sets, now) = (sets(2), Instant::now());
    let Wish::Environment { key, .. } = of_set(&sets, 0) else {
        unreachable!("it asks for an environment")
    };
    let known = |known_on: Vec<usize>| sets.place(&Wish::Environment { key, known_on }, now).place();
    assert_eq!([known(vec![]), known(vec![1]), known(vec![0, 1])], [0, 1, 0]);
}

#[test]
fn tasks_without_packages_go_where_the_fewest_are_and_take_turns() {
    let (sets, now) = (sets(3), Instant::now());
    let one_after_the_other: Vec<usize> = (0..6).map(|_| sets.place(&Wish::Any, now).place()).collect();
    assert_eq!(one_after_the_other, [0, 1, 2, 0, 1, 2]);
    let _busy = [sets.enter(0), sets.enter(1)];
    assert_eq!(sets.place(&Wish::Any, now).place(), 2);
    assert!(sets.mark_down(2, now));
    assert_ne!(sets.place(&Wish::Any, now + RETRY_PAUSE).place(), 2);
}

#[test]
fn a_set_that_is_down_is_avoided_tried_by_one_task_and_up_with_its_first_node() {
    let (sets, now) = (sets(2), Instant::now());
    let wish = of_set(&sets, 1);
    let at = |after: Duration| sets.place(&wish, now + after).place();
    assert!(sets.mark_down(1, now) && is_down(&sets, 1));
    assert_eq!(at(RETRY_PAUSE / 2), 0);
    assert_eq!([at(RETRY_PAUSE), at(RETRY_PAUSE)], [1, 0], "one task tries it");
    sets.note_scheduled(1, now);
    assert!(is_down(&sets, 1), "a pod from before says nothing");
    assert!(sets.mark_down(1, now + RETRY_PAUSE), "the try failed");
    assert_eq!(at(RETRY_PAUSE * 3 / 2), 0);
    assert_eq!(at(RETRY_PAUSE * 2), 1);
    sets.note_scheduled(1, now + RETRY_PAUSE * 2);
    assert_eq!([at(RETRY_PAUSE * 2), at(RETRY_PAUSE * 2)], [1, 1]);
    assert!(!is_down(&sets, 1));
}

#[test]
fn the_last_set_that_is_up_never_goes_down() {
    let now = Instant::now();
    assert!(!sets(1).mark_down(0, now));
    let sets = sets(2);
    assert!(sets.mark_down(0, now) && sets.mark_down(0, now));
    assert!(!sets.mark_down(1, now));
    assert_eq!(sets.place(&of_set(&sets, 1), now).place(), 1);
    sets.note_scheduled(0, now + RETRY_PAUSE);
    assert!(sets.mark_down(1, now));
}

#[test]
fn a_set_is_found_by_its_name_and_an_unknown_place_is_the_first() {
    let sets = sets(2);
    assert_eq!((sets.find("1"), sets.find("7")), (Some(1), None));
    assert_eq!(sets.enter(7).place(), 0);
}
