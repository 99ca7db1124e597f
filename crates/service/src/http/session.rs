//! Browsers that have signed in with the token: a cookie that this process alone can make, with an end to it.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use rustix::rand::{GetRandomFlags, getrandom};

const COOKIE: &str = "hybrid_cache_session";
/// How long a browser stays signed in.
const LASTS_S: u64 = 12 * 3600;

/// Makes and knows cookies. Nothing is kept for them: the cookie is its end and a keyed hash of it, and the key dies with
/// the process.
pub struct Sessions {
    key: [u8; 32],
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(…)")
    }
}

impl Sessions {
    /// A new key.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> std::io::Result<Sessions> {
        let mut key = [0; 32];
        let mut filled = 0;
        while filled < key.len() {
            filled += getrandom(&mut key[filled..], GetRandomFlags::empty())?;
        }
        Ok(Sessions { key })
    }

    /// A Set-Cookie header for who has shown the token.
    pub fn cookie(&self) -> String {
        let end = now_s() + LASTS_S;
        let value = format!("{end}.{}", self.seal(end).to_hex());
        format!("{COOKIE}={value}; Path=/; Max-Age={LASTS_S}; HttpOnly; SameSite=Strict")
    }

    /// A Set-Cookie header that signs out.
    pub fn no_cookie() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    /// True where a cookie of this process came along and has not ended.
    pub fn knows(&self, headers: &HeaderMap) -> bool {
        let sent = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = sent
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE && self.is_good(value))
    }

    fn is_good(&self, value: &str) -> bool {
        let Some((end, seal)) = value.split_once('.') else {
            return false;
        };
        let (Ok(end), Ok(seal)) = (end.parse::<u64>(), blake3::Hash::from_hex(seal)) else {
            return false;
        };
        // Hashes compare in constant time.
        self.seal(end) == seal && now_s() < end
    }

    fn seal(&self, end: u64) -> blake3::Hash {
        blake3::keyed_hash(&self.key, &end.to_le_bytes())
    }
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn only_a_cookie_of_this_process_that_has_not_ended_is_known() {
        let (ours, other) = (Sessions::new().unwrap(), Sessions::new().unwrap());
        let cookie = ours.cookie();
        let pair = cookie.split(';').next().unwrap();
        assert!(ours.knows(&headers(&format!("a=b; {pair}; c=d"))));
        assert!(!other.knows(&headers(pair)));
        let ended = format!("{COOKIE}=1000.{}", ours.seal(1000).to_hex());
        assert!(!ours.knows(&headers(&ended)));
        let (_, seal) = pair.split_once('.').unwrap();
        assert!(!ours.knows(&headers(&format!("{COOKIE}=99999999999.{seal}"))));
        assert!(!ours.knows(&headers("hybrid_cache_session")));
    }
}
