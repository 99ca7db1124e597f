//! New ids of tasks, from the system's random source.

use std::io;

use hybrid_cache_api::TaskId;

use crate::random;

/// A new id.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_task_id() -> io::Result<TaskId> {
    random::bytes().map(TaskId::from_random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_well_formed_and_differ() {
        let [one, other] = [new_task_id().unwrap(), new_task_id().unwrap()];
        assert_ne!(one, other);
        assert_eq!(TaskId::parse(one.as_str()), Some(one));
    }
}
