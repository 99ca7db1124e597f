//! Checks what a program gets beside its text: arguments, standard input and time.

use crate::requirement::Refusal;
use crate::task_error::{Faults, TaskErrors};

/// Most arguments of one program.
pub const MAX_ARGS: usize = 1024;
/// Longest argument in bytes. Linux takes 128 KiB.
pub const MAX_ARG_BYTES: usize = 64 << 10;
/// Most bytes of all arguments together.
pub const MAX_ARGS_BYTES: usize = 256 << 10;
/// Largest standard input in bytes.
pub const MAX_STDIN_BYTES: usize = 1 << 20;
/// Longest time limit of a task, in seconds.
pub const MAX_TIMEOUT_SECONDS: u64 = 7 * 24 * 3600;

/// Checks the three fields.
pub(crate) fn check(args: &[String], stdin: &str, timeout_seconds: Option<u64>) -> Result<(), TaskErrors> {
    let mut faults = Faults::default();
    for (number, arg) in args.iter().enumerate() {
        if let Err(refusal) = check_arg(number + 1, arg) {
            faults.push(refusal.at("/args", None));
        }
    }
    let bytes: usize = args.iter().map(String::len).sum();
    if args.len() > MAX_ARGS || bytes > MAX_ARGS_BYTES {
        let message = format!(
            "{} arguments with {bytes} bytes, at most {MAX_ARGS} with {MAX_ARGS_BYTES} bytes are accepted",
            args.len()
        );
        faults.push(Refusal::new(message, "give the bulk as `stdin`").at("/args", None));
    }
    if stdin.len() > MAX_STDIN_BYTES {
        let message = format!(
            "the standard input has {} bytes, at most {MAX_STDIN_BYTES} are accepted",
            stdin.len()
        );
        faults.push(Refusal::new(message, "let the program read the bulk as data").at("/stdin", None));
    }
    if timeout_seconds.is_some_and(|seconds| !(1..=MAX_TIMEOUT_SECONDS).contains(&seconds)) {
        let message = "the time limit is out of range".to_owned();
        let hint = format!("give 1 to {MAX_TIMEOUT_SECONDS} seconds, or leave the field out");
        faults.push(Refusal::new(message, hint).at("/timeoutSeconds", None));
    }
    faults.result(())
}

fn check_arg(number: usize, arg: &str) -> Result<(), Refusal> {
    if arg.contains('\0') {
        let message = format!("argument {number} holds a NUL character");
        return Err(Refusal::new(
            message,
            "an argument cannot hold NUL characters; give the text as `stdin`",
        ));
    }
    if arg.len() > MAX_ARG_BYTES {
        let message = format!(
            "argument {number} has {} bytes, at most {MAX_ARG_BYTES} are accepted",
            arg.len()
        );
        return Err(Refusal::new(message, "give the text as `stdin`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_accepted() {
        let args = ["", "-x", "--help", "ü\n"].map(str::to_owned);
        assert_eq!(check(&args, "\0", Some(MAX_TIMEOUT_SECONDS)), Ok(()));
        assert_eq!(check(&[], &"x".repeat(MAX_STDIN_BYTES), None), Ok(()));
    }

    #[test]
    fn every_fault_is_named() {
        let args = ["a".to_owned(), "b\0".to_owned(), "c".repeat(MAX_ARG_BYTES + 1)];
        let errors = check(&args, &"x".repeat(MAX_STDIN_BYTES + 1), Some(0)).unwrap_err();
        let reported = errors.to_string();
        assert_eq!(errors.total(), 4, "{reported}");
        for words in [
            "/args: argument 2 holds",
            "argument 3 has 65537",
            "/stdin: the standard input has 1048577",
            "/timeoutSeconds: ",
            "1 to 604800",
        ] {
            assert!(reported.contains(words), "{reported}");
        }
        let many = vec![String::new(); MAX_ARGS + 1];
        assert!(
            check(&many, "", None)
                .unwrap_err()
                .to_string()
                .contains("1025 arguments")
        );
        let large = vec!["x".repeat(MAX_ARG_BYTES); 5];
        assert!(
            check(&large, "", None)
                .unwrap_err()
                .to_string()
                .contains("327680 bytes")
        );
    }
}
