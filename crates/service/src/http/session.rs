//! Sessions of browsers that signed in with a token: a cookie that only this process can make, and that expires.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use hybrid_cache_model::Tenant;

use crate::random;

const COOKIE: &str = "hybrid_cache_session";
/// How long a session lasts.
const LASTS_S: u64 = 12 * 3600;

/// Makes and checks session cookies. Nothing is stored: a cookie holds its expiry, its tenant and a keyed hash of both,
/// and the key dies with the process.
pub struct Sessions {
    key: [u8; 32],
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(…)")
    }
}

impl Sessions {
    /// Sessions with a new key.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> std::io::Result<Sessions> {
        Ok(Sessions { key: random::bytes()? })
    }

    /// A Set-Cookie header for a browser that sent a token of this tenant.
    pub fn cookie(&self, tenant: &Tenant) -> String {
        let end = now_s() + LASTS_S;
        let value = format!("{end}.{tenant}.{}", self.seal(end, tenant).to_hex());
        format!("{COOKIE}={value}; Path=/; Max-Age={LASTS_S}; HttpOnly; SameSite=Strict")
    }

    /// A Set-Cookie header that signs out.
    pub fn no_cookie() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    /// The tenant of a cookie that this process made and that has not expired.
    pub fn tenant(&self, headers: &HeaderMap) -> Option<Tenant> {
        let sent = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = sent
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| self.open(value).filter(|_| name == COOKIE))
    }

    fn open(&self, value: &str) -> Option<Tenant> {
        let (end, rest) = value.split_once('.')?;
        let (tenant, seal) = rest.split_once('.')?;
        let (end, tenant) = (end.parse().ok()?, tenant.parse().ok()?);
        let seal = blake3::Hash::from_hex(seal).ok()?;
        // Hashes compare in constant time.
        (self.seal(end, &tenant) == seal && now_s() < end).then_some(tenant)
    }

    fn seal(&self, end: u64, tenant: &Tenant) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&end.to_le_bytes()).update(tenant.as_str().as_bytes());
        hasher.finalize()
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
    fn only_an_unexpired_cookie_of_this_process_is_accepted() {
        let (ours, other) = (Sessions::new().unwrap(), Sessions::new().unwrap());
        let tenant: Tenant = "team-a".parse().unwrap();
        let cookie = ours.cookie(&tenant);
        let known = |headers: &HeaderMap| ours.tenant(headers);
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(known(&headers(&format!("a=b; {pair}; c=d"))), Some(tenant.clone()));
        assert_eq!(other.tenant(&headers(pair)), None);
        let ended = format!("{COOKIE}=1000.team-a.{}", ours.seal(1000, &tenant).to_hex());
        assert_eq!(known(&headers(&ended)), None);
        let (_, sealed) = pair.split_once('.').unwrap();
        assert_eq!(known(&headers(&format!("{COOKIE}=99999999999.{sealed}"))), None);
        assert_eq!(known(&headers(&pair.replace("team-a", "team-b"))), None);
        assert_eq!(known(&headers(&pair.replace(COOKIE, "other"))), None);
        assert_eq!(known(&headers("hybrid_cache_session")), None);
    }
}
