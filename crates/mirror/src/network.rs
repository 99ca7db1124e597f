//! The network of a replay: a bandwidth that all connections share, and a round-trip time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time's worth of bytes that may be sent at once, so that a timer that is late costs no bandwidth.
const BURST: Duration = Duration::from_millis(10);
/// Time's worth of bytes of one piece, so that connections take turns.
const PIECE: Duration = Duration::from_millis(5);

/// A network as a replay imitates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayNetwork {
    /// Bits a second, for all connections together; at least 1,000.
    pub bits_per_s: u64,
    /// Time from a request to the first byte of its answer; a new connection takes as long once more.
    pub round_trip: Duration,
}

/// Lets bytes pass at the rate of a network: each piece waits until those before it have gone.
pub struct Pacer {
    bytes_per_s: u64,
    /// When everything that was let through until now has gone.
    busy_until: Mutex<Option<Instant>>,
}

impl Pacer {
    pub fn new(bits_per_s: u64) -> Pacer {
        Pacer {
            bytes_per_s: (bits_per_s / 8).max(1),
            busy_until: Mutex::new(None),
        }
    }

    /// Bytes to send at once.
    pub fn piece(&self) -> usize {
        let bytes = u128::from(self.bytes_per_s) * PIECE.as_micros() / 1_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX).clamp(512, 64 << 10)
    }

    /// Waits until so many bytes have gone.
    pub async fn pass(&self, bytes: usize) {
        let nanos =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(self.bytes_per_s);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let ends = {
            let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let begins = busy_until.map_or(now, |until| until.max(earliest));
            let ends = begins + takes;
            *busy_until = Some(ends);
            ends
        };
        tokio::time::sleep_until(ends).await;
    }
}
