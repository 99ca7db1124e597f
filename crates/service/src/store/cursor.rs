//! The cursor of a list: a task's position in the order of submission, sealed for one tenant.
//!
//! The order of submission counts the tasks of all tenants, so its number is both bound to the tenant and hidden. A
//! cursor is a keyed hash of tenant and number, and the number encrypted with a pad that the hash chooses. The key
//! belongs to the database.

use hybrid_cache_model::Tenant;

use crate::error::ServiceError;

const PREFIX: &str = "c2";

/// Makes and reads cursors.
#[derive(Clone)]
pub struct Cursors {
    key: [u8; 32],
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors(…)")
    }
}

impl Cursors {
    /// Cursors with a database's key.
    pub fn new(key: [u8; 32]) -> Cursors {
        Cursors { key }
    }

    /// The cursor after the task with this number.
    pub fn write(&self, tenant: &Tenant, seq: i64) -> String {
        let seal = self.hash("seal", tenant, seq.cast_unsigned());
        format!(
            "{PREFIX}{seal:016x}{:016x}",
            seq.cast_unsigned() ^ self.hash("pad", tenant, seal)
        )
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// The text is not a cursor of this tenant.
    pub fn read(&self, tenant: &Tenant, text: &str) -> Result<i64, ServiceError> {
        let is_number = |digits: &&str| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = text.strip_prefix(PREFIX).filter(is_number);
        let halves = digits.and_then(|digits| {
            let (seal, padded) = digits.split_at(16);
            Some((
                u64::from_str_radix(seal, 16).ok()?,
                u64::from_str_radix(padded, 16).ok()?,
            ))
        });
        let seq = halves.and_then(|(seal, padded)| {
            let seq = padded ^ self.hash("pad", tenant, seal);
            (self.hash("seal", tenant, seq) == seal).then_some(seq.cast_signed())
        });
        seq.filter(|seq| *seq >= 0).ok_or(ServiceError::Parameter {
            name: "cursor",
            message: "it is not a cursor of this service".to_owned(),
        })
    }

    fn hash(&self, what: &str, tenant: &Tenant, number: u64) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // Neither the label nor a tenant's name holds a line break.
        hasher.update(format!("{what}\n{tenant}\n{number}").as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_works_for_its_tenant_only_and_hides_the_number() {
        let cursors = Cursors::new([7; 32]);
        let (ours, other): (Tenant, Tenant) = (Tenant::default(), "other".parse().unwrap());
        for seq in [0, 1, i64::MAX] {
            let cursor = cursors.write(&ours, seq);
            assert_eq!(cursors.read(&ours, &cursor).unwrap(), seq);
            assert!(cursors.read(&other, &cursor).is_err());
            assert!(Cursors::new([8; 32]).read(&ours, &cursor).is_err());
            assert!(!cursor.contains("000000001"), "{cursor}");
        }
        let forged = cursors.write(&ours, 5).replace("c2", "c20");
        for text in [
            "",
            "c2",
            "c1000000000000000a",
            "c2+0000000000000000000000000000000",
            "5",
            &forged,
        ] {
            assert!(cursors.read(&ours, text).is_err(), "{text}");
        }
    }
}
