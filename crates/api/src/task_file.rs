//! A task that a user keeps in a file: a Python program, or the JSON document that the API takes.

use std::io::Read;
use std::path::Path;

use hybrid_cache_model::TaskSpec;

use crate::body;
use crate::problem::Problem;

/// Largest file, in bytes: it holds the largest code with every character escaped, and the other fields.
pub const MAX_TASK_FILE_BYTES: u64 = 8 << 20;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskFile {
    /// A task with all its fields.
    Task(Box<TaskSpec>),
    /// A program alone.
    Program(String),
}

/// Why a file holds no task. Its text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TaskFileError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// It is larger than [`MAX_TASK_FILE_BYTES`].
    #[error("{0}: more than {MAX_TASK_FILE_BYTES} bytes")]
    TooLarge(String),
    /// It is not UTF-8.
    #[error("{0}: not UTF-8 at byte {1}\nhint: save the file as UTF-8")]
    NotUtf8(String, usize),
    /// An option has another form, or contradicts another one.
    #[error("{0}")]
    Option(String),
    /// A document is not a task.
    #[error("{name}{}: {}\nhint: {}", place(problem), problem.detail, hint(name, problem))]
    NotATask {
        /// The file.
        name: String,
        /// What is wrong.
        problem: Box<Problem>,
    },
}

fn place(problem: &Problem) -> String {
    let pointer = problem.pointer.as_deref().unwrap_or_default();
    match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!(":{line}:{column}"),
        _ if pointer.is_empty() => String::new(),
        _ => format!(": {pointer}"),
    }
}

fn hint(name: &str, problem: &Problem) -> String {
    let json = Path::new(name).extension().is_some_and(|ending| ending == "json");
    match &problem.hint {
        Some(hint) => hint.clone(),
        None if problem.line.is_some() && !json => {
            "a task file is a JSON document; the name of a Python program ends in `.py`".to_owned()
        }
        None => "docs/api.md describes the fields of a task".to_owned(),
    }
}

/// Reads a file of this name. One that ends in `.py` is a program.
///
/// # Errors
/// It cannot be read, is too large, or holds neither.
pub fn read(name: &Path, from: impl Read) -> Result<TaskFile, TaskFileError> {
    let shown = name.display().to_string();
    let mut bytes = Vec::new();
    if let Err(error) = from.take(MAX_TASK_FILE_BYTES + 1).read_to_end(&mut bytes) {
        return Err(TaskFileError::Io(shown, error));
    }
    if bytes.len() as u64 > MAX_TASK_FILE_BYTES {
        return Err(TaskFileError::TooLarge(shown));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(TaskFileError::NotUtf8(shown, error.utf8_error().valid_up_to())),
    };
    if name.extension().is_some_and(|ending| ending == "py") {
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        return Ok(TaskFile::Program(text));
    }
    let spec = body::parse_task(text.as_bytes()).map_err(|problem| TaskFileError::NotATask { name: shown, problem })?;
    Ok(TaskFile::Task(Box::new(spec)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, bytes: &[u8]) -> String {
        read(Path::new(name), bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_program_is_known_by_its_name_and_a_task_by_its_fields() {
        let program = TaskFile::Program("print(1)\n".to_owned());
        assert_eq!(
            read(Path::new("a/x.py"), &b"\xef\xbb\xbfprint(1)\n"[..]).unwrap(),
            program
        );
        let task = read(Path::new("-"), &b"\xef\xbb\xbf{\"pythonCode\": \"1\"}"[..]).unwrap();
        assert_eq!(task, TaskFile::Task(Box::new(TaskSpec::new("1"))));
    }

    #[test]
    fn an_error_names_the_file_the_place_and_the_remedy() {
        let list = refused("t.json", br#"{"pythonCode": "1", "dependencies": ["idna"]}"#);
        assert_eq!(
            list,
            "t.json: /dependencies: a string is expected, not a list\n\
             hint: write it as one string: \"dependencies\": \"idna\""
        );
        let syntax = refused("t.json", b"{\n  \"pythonCode\": print(1)\n}");
        assert!(syntax.starts_with("t.json:2:17: "), "{syntax}");
        let program = refused("script", b"import sys\n");
        assert!(program.contains("ends in `.py`"), "{program}");
        assert!(refused("x.py", b"print('\xe9')").contains("not UTF-8 at byte 7"));
        let large = vec![b' '; 9 << 20];
        assert!(refused("-", &large).contains("more than 8388608 bytes"));
    }
}
