//! Random tokens.

use crate::error::Result;
use crate::failed;

/// A token that cannot be guessed: 32 bytes of the system's random source as 64 hexadecimal digits.
///
/// # Errors
/// The system gives no random bytes.
pub fn random_token() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| failed!("reading random bytes: {error}"))?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_64_digits_and_no_two_are_the_same() {
        let [one, other] = [random_token().unwrap(), random_token().unwrap()];
        assert_ne!(one, other);
        assert!(
            one.len() == 64 && one.bytes().all(|digit| digit.is_ascii_hexdigit()),
            "{one}"
        );
    }
}
