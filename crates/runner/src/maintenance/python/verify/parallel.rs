//! The same work for many things, by several threads, with the results in the things' order.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that look at environments. Most of their time goes to folders that are not in the page cache, so there are
/// more of them than processors: a disk serves several requests at a time.
pub const THREADS: usize = 8;

/// What `work` makes of each thing.
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
    fn results_stand_in_the_order_of_the_things() {
        let things: Vec<u32> = (0..1000).collect();
        let doubled: Vec<u32> = things.iter().map(|thing| thing * 2).collect();
        assert_eq!(map(&things, |thing| thing * 2), doubled);
        assert!(map(&[], |(): &()| ()).is_empty());
    }
}
