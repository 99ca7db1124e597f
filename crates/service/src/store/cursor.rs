//! Where a list goes on: a task's place in the order of submission, opaque to clients.

use crate::error::ServiceError;

const PREFIX: &str = "c1";

/// The cursor behind the task with this number.
pub fn write(seq: i64) -> String {
    format!("{PREFIX}{seq:016x}")
}

/// Reads a cursor.
///
/// # Errors
/// It is none of ours.
pub fn read(text: &str) -> Result<i64, ServiceError> {
    let is_number = |digits: &&str| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = text.strip_prefix(PREFIX).filter(is_number);
    let number = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
    number.filter(|seq| *seq >= 0).ok_or(ServiceError::Parameter {
        name: "cursor",
        message: "it is no cursor of this service".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is() {
        for seq in [0, 1, i64::MAX] {
            assert_eq!(read(&write(seq)).unwrap(), seq);
        }
        for text in [
            "",
            "c1",
            "c1ffffffffffffffff",
            "c2000000000000000a",
            "c1+00000000000000a",
            "5",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
