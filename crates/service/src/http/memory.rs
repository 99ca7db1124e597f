//! What large bodies and large answers may hold in memory, bounded by their bytes: connections are many, and a client that is
//! slow keeps what it sends or does not read for as long as it may.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rejection::Answer;

/// Bodies and answers up to this size are not counted.
pub const SMALL_BYTES: usize = 64 << 10;
/// Bytes are counted in units of so many.
const UNIT_BYTES: usize = 4 << 10;
/// Answers that are being made at one time: nobody knows their size before.
const BEING_MADE: usize = 8;

/// The bound.
#[derive(Debug)]
pub struct Memory {
    free: Arc<Semaphore>,
    units: usize,
    being_made: Semaphore,
}

/// A part of it, given back when dropped.
#[derive(Debug)]
pub struct Reservation(OwnedSemaphorePermit);

/// Bytes with their part, which is given back once nobody holds the bytes any more.
struct Counted<P> {
    bytes: Bytes,
    _part: P,
}

impl<P> AsRef<[u8]> for Counted<P> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Memory {
    /// So many bytes in all.
    pub fn new(bytes: usize) -> Memory {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Memory {
            free: Arc::new(Semaphore::new(units)),
            units,
            being_made: Semaphore::new(BEING_MADE),
        }
    }

    /// Units of so many bytes. What is larger than the whole bound takes all of it.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES).min(self.units)).unwrap_or(u32::MAX)
    }

    /// Waits until so many bytes may be held. Without a deadline of its own: requests have one.
    pub async fn take(&self, bytes: usize) -> Option<Reservation> {
        let part = Arc::clone(&self.free).acquire_many_owned(self.units(bytes)).await;
        // It is never closed.
        part.ok().map(Reservation)
    }

    /// Makes an answer. One that is large and has no room is dropped and made again once there is, so that those who wait
    /// hold nothing.
    ///
    /// # Errors
    /// Those of `make`.
    pub async fn answer<F: Future<Output = Answer<Bytes>>>(&self, make: impl Fn() -> F) -> Answer<Bytes> {
        let mut part: Option<Reservation> = None;
        loop {
            let bytes = {
                let _turn = self.being_made.acquire().await;
                make().await?
            };
            if bytes.len() <= SMALL_BYTES {
                return Ok(bytes);
            }
            let units = self.units(bytes.len());
            let fits = part.take().filter(|part| part.0.num_permits() >= units as usize);
            let free = || {
                Arc::clone(&self.free)
                    .try_acquire_many_owned(units)
                    .ok()
                    .map(Reservation)
            };
            if let Some(part) = fits.or_else(free) {
                return Ok(hold(bytes, part));
            }
            let wanted = bytes.len();
            drop(bytes);
            part = self.take(wanted).await;
        }
    }
}

/// The same bytes, which give their part back when the last of them is gone.
pub fn hold(bytes: Bytes, part: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Counted { bytes, _part: part })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_until_its_bytes_are_gone_and_the_next_is_made_again_then() {
        let memory = Memory::new(SMALL_BYTES * 3);
        let made = AtomicUsize::new(0);
        let make = |bytes: usize| {
            made.fetch_add(1, Ordering::SeqCst);
            async move { Ok(Bytes::from(vec![0; bytes])) }
        };
        let first = memory.answer(|| make(SMALL_BYTES * 2)).await.unwrap();
        let slice = first.slice(10..20);
        drop(first);
        // Small ones do not wait.
        memory.answer(|| make(SMALL_BYTES)).await.unwrap();
        let mut next = std::pin::pin!(memory.answer(|| make(SMALL_BYTES * 2)));
        assert!(timeout(Duration::from_secs(60), &mut next).await.is_err());
        drop(slice);
        assert_eq!(next.await.unwrap().len(), SMALL_BYTES * 2);
        assert_eq!(made.load(Ordering::SeqCst), 4);
        // One that is larger than everything takes everything.
        assert_eq!(
            memory.answer(|| make(SMALL_BYTES * 9)).await.unwrap().len(),
            SMALL_BYTES * 9
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_grows_while_it_waits_takes_its_new_size() {
        let memory = Memory::new(SMALL_BYTES * 4);
        let held = memory.take(SMALL_BYTES * 3).await;
        let size = AtomicUsize::new(SMALL_BYTES * 2);
        let make = || async { Ok(Bytes::from(vec![0; size.fetch_add(SMALL_BYTES, Ordering::SeqCst)])) };
        let mut answer = std::pin::pin!(memory.answer(make));
        assert!(timeout(Duration::from_secs(60), &mut answer).await.is_err());
        drop(held);
        let answer = answer.await.unwrap();
        assert_eq!(
            memory.free.available_permits() * UNIT_BYTES,
            SMALL_BYTES * 4 - answer.len()
        );
    }
}
