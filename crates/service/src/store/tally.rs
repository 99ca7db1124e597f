//! The number of tasks in each state, updated with each commit.

use hybrid_cache_api::StateName;
use std::collections::BTreeMap;

use hybrid_cache_model::Tenant;

use crate::state::State;

/// The database's words, in the order of [`StateCounts`].
pub const STORED: [&str; 6] = ["saved", "queued", "starting", "running", "ended", "cancelled"];

/// What a saved task takes beside its text: its row and its index entries.
const ROW_BYTES: u64 = 1024;

/// Tasks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    tasks: [u64; 6],
    /// Bytes of the texts of saved tasks.
    saved_bytes: u64,
}

impl StateCounts {
    /// Tasks that no client has run.
    pub fn saved(&self) -> u64 {
        self.tasks[0]
    }

    /// Bytes of disk that these take.
    pub fn saved_bytes(&self) -> u64 {
        self.saved_bytes + self.saved() * ROW_BYTES
    }

    /// Tasks in the queue.
    pub fn waiting(&self) -> u64 {
        self.tasks[1]
    }

    /// Tasks that the driver has or is about to get.
    pub fn under_way(&self) -> u64 {
        self.tasks[2] + self.tasks[3]
    }

    /// Tasks that have not ended.
    pub fn open(&self) -> u64 {
        self.tasks[..4].iter().sum()
    }

    /// Tasks that have ended or were cancelled.
    pub fn last(&self) -> u64 {
        self.tasks[4] + self.tasks[5]
    }

    /// By the states that clients see.
    pub fn by_name(&self) -> [(StateName, u64); 5] {
        let [saved, queued, starting, running, ended, cancelled] = self.tasks;
        [
            (StateName::Saved, saved),
            (StateName::Queued, queued + starting),
            (StateName::Running, running),
            (StateName::Ended, ended),
            (StateName::Cancelled, cancelled),
        ]
    }
}

/// Tasks by state, in total and for each tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    all: StateCounts,
    tenants: BTreeMap<Tenant, StateCounts>,
    /// Grows with each commit that changes a task.
    pub version: u64,
    /// Changes that leave the counts unchanged.
    touched: u64,
}

impl Tally {
    /// The counts of all tenants.
    pub fn all(&self) -> &StateCounts {
        &self.all
    }

    /// The counts of one tenant.
    pub fn for_tenant(&self, tenant: &Tenant) -> StateCounts {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// The tenants that have tasks.
    pub fn tenants(&self) -> impl Iterator<Item = (&Tenant, &StateCounts)> {
        self.tenants.iter()
    }

    /// The tenants with waiting tasks, in turn, beginning after this one.
    pub fn next_waiting(&self, after: Option<&Tenant>) -> Option<&Tenant> {
        let waits = || self.tenants.iter().filter(|(_, counts)| counts.waiting() > 0);
        let behind = waits().find(|(tenant, _)| after.is_none_or(|after| *tenant > after));
        behind.or_else(|| waits().next()).map(|(tenant, _)| tenant)
    }

    fn change(&mut self, tenant: &Tenant, stored: &str, change: impl Fn(u64) -> u64) {
        let Some(place) = STORED.iter().position(|known| *known == stored) else {
            return;
        };
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), StateCounts::default());
        }
        for counts in [Some(&mut self.all), self.tenants.get_mut(tenant)]
            .into_iter()
            .flatten()
        {
            counts.tasks[place] = change(counts.tasks[place]);
        }
    }

    /// Adds tasks that are found when the database is opened.
    pub fn add(&mut self, tenant: &Tenant, stored: &str, count: u64) {
        self.change(tenant, stored, |known| known + count);
    }

    /// Counts the text of a saved task.
    pub fn save(&mut self, tenant: &Tenant, bytes: u64) {
        self.change_bytes(tenant, |known| known + bytes);
    }

    /// Removes the text of a task that is no longer only saved.
    pub fn unsave(&mut self, tenant: &Tenant, bytes: u64) {
        self.change_bytes(tenant, |known| known.saturating_sub(bytes));
    }

    fn change_bytes(&mut self, tenant: &Tenant, change: impl Fn(u64) -> u64) {
        for counts in [Some(&mut self.all), self.tenants.get_mut(tenant)]
            .into_iter()
            .flatten()
        {
            counts.saved_bytes = change(counts.saved_bytes);
        }
    }

    /// An equal share of something for each tenant that has saved tasks, including this one.
    pub fn share(&self, whole: u64, tenant: &Tenant) -> u64 {
        let others = |(other, counts): &(&Tenant, &StateCounts)| *other != tenant && counts.saved() > 0;
        whole / (self.tenants().filter(others).count() as u64 + 1)
    }

    /// Counts a task's transition.
    pub fn step(&mut self, tenant: &Tenant, before: Option<&State>, after: Option<&State>) {
        if let Some(before) = before {
            self.change(tenant, before.stored(), |known| known.saturating_sub(1));
        }
        if let Some(after) = after {
            self.add(tenant, after.stored(), 1);
        }
        self.touched += 1;
    }

    /// Notes a change of a task that leaves its state unchanged.
    pub fn touch(&mut self) {
        self.touched += 1;
    }

    /// Counts a task's deletion.
    pub fn remove(&mut self, tenant: &Tenant, stored: &str) {
        self.change(tenant, stored, |known| known.saturating_sub(1));
        self.touched += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_take_turns_and_each_has_its_own_counts() {
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<Tenant>().unwrap());
        let mut tally = Tally::default();
        assert_eq!(tally.next_waiting(None), None);
        tally.add(&a, "queued", 100);
        tally.add(&b, "saved", 1);
        tally.add(&c, "queued", 1);
        assert_eq!(tally.next_waiting(None), Some(&a));
        assert_eq!(tally.next_waiting(Some(&a)), Some(&c));
        assert_eq!(tally.next_waiting(Some(&c)), Some(&a));
        tally.remove(&c, "queued");
        assert_eq!(tally.next_waiting(Some(&a)), Some(&a));
        assert_eq!(
            (
                tally.for_tenant(&a).waiting(),
                tally.for_tenant(&c).waiting(),
                tally.all().waiting()
            ),
            (100, 0, 100)
        );
    }
}
