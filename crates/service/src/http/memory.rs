//! Bounds the memory of large bodies and responses by their bytes: there are many connections, and a slow client holds
//! what it sends or reads for as long as its time limits allow.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rejection::Answer;

/// Bodies and responses up to this size are not counted.
pub const SMALL_BYTES: usize = 64 << 10;
/// The unit in which bytes are counted.
const UNIT_BYTES: usize = 4 << 10;
/// Responses that are produced at the same time: their size is not known before.
const BEING_MADE: usize = 8;

/// The memory for large bodies and responses.
#[derive(Debug)]
pub struct Memory {
    free: Arc<Semaphore>,
    units: usize,
    being_made: Semaphore,
}

/// A share of the memory, returned when dropped.
#[derive(Debug)]
pub struct Reservation(OwnedSemaphorePermit);

/// Bytes with their share, which is returned when the last reference to them is dropped.
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
    /// A memory of this many bytes.
    pub fn new(bytes: usize) -> Memory {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Memory {
            free: Arc::new(Semaphore::new(units)),
            units,
            being_made: Semaphore::new(BEING_MADE),
        }
    }

    /// The units of this many bytes. More than the whole memory counts as the whole memory.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES).min(self.units)).unwrap_or(u32::MAX)
    }

    /// Waits until this many bytes are free. It has no time limit of its own, because requests have one.
    pub async fn take(&self, bytes: usize) -> Option<Reservation> {
        let part = Arc::clone(&self.free).acquire_many_owned(self.units(bytes)).await;
        // The semaphore is never closed.
        part.ok().map(Reservation)
    }

    /// Produces a response. If it is large and there is no room, it is dropped and produced again once there is, so
    /// that waiting requests hold nothing.
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

/// The same bytes, which return their share when the last reference is dropped.
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
    async fn a_response_counts_until_its_bytes_are_dropped() {
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
        // One that is larger than the whole memory takes all of it.
        assert_eq!(
            memory.answer(|| make(SMALL_BYTES * 9)).await.unwrap().len(),
            SMALL_BYTES * 9
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_grows_while_it_waits_takes_its_new_size() {
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
