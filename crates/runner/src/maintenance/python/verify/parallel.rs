//! Maps a list with several threads and keeps the order.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of threads that examine environments. It exceeds the number of processors, because most of the time goes
/// to reading folders from disk, and a disk serves several requests at once.
pub const THREADS: usize = 8;

/// The result of `work` for each item.
pub fn map<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(at) else { return done };
            done.push((at, work(thing)));
        }
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(things.len())).map(|_| scope.spawn(some)).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.flatten().collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let things: Vec<u32> = (0..1000).collect();
        let doubled: Vec<u32> = things.iter().map(|thing| thing * 2).collect();
        assert_eq!(map(&things, |thing| thing * 2), doubled);
        assert!(map(&[], |(): &()| ()).is_empty());
    }
}
