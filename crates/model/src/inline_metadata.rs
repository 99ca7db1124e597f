//! Metadata that a program carries in a comment block (inline script metadata, PEP 723).
//!
//! A block begins with the line `# /// script`, ends with `# ///`, and holds TOML behind `# `:
//!
//! ```text
//! # /// script
//! # requires-python = ">=3.11"
//! # dependencies = ["requests<3", "rich"]
//! # ///
//! ```
//!
//! Tables such as `[tool.uv]` belong to other tools and are ignored.

use std::ops::Range;
use std::str::FromStr;

use pep440_rs::VersionSpecifiers;
use serde::Deserialize;

use crate::requirement::{Refusal, Requirement};
use crate::task_error::{Faults, TaskError, TaskErrors};

const POINTER: &str = "/pythonCode";
const OPENING: &str = "# /// script";
const CLOSING: &str = "# ///";
/// Largest accepted block, in bytes.
const MAX_BLOCK_BYTES: usize = 64 << 10;

/// What a program says of its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InlineMetadata {
    /// The packages, in the order of the block.
    pub requirements: Vec<Requirement>,
    /// The Python versions that it accepts. Empty means any.
    pub requires_python: VersionSpecifiers,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    dependencies: Vec<toml::Spanned<String>>,
    requires_python: Option<toml::Spanned<String>>,
}

/// Reads the block of a program. Without one, nothing is asked for.
///
/// # Errors
/// The block has no end, there are two, it is not TOML, or some of its values are not acceptable. Each error names its line.
pub fn read(code: &str) -> Result<InlineMetadata, TaskErrors> {
    let Some((first, block)) = find(code)? else {
        return Ok(InlineMetadata::default());
    };
    let line_of = |at: usize| first + block[..at.min(block.len())].matches('\n').count();
    let document: Document = toml::from_str(&block).map_err(|error| {
        let at = error.span().map_or(0, |span: Range<usize>| span.start);
        let message = format!("the `script` block is not valid: {}", error.message().trim());
        refuse(
            line_of(at),
            message,
            "write it as PEP 723 says: `# dependencies = [\"idna\"]`",
        )
    })?;
    let (mut metadata, mut faults) = (InlineMetadata::default(), Faults::default());
    for dependency in document.dependencies {
        match dependency.get_ref().trim().parse() {
            Ok(requirement) => metadata.requirements.push(requirement),
            Err(refusal) => faults.push(Refusal::at(refusal, POINTER, Some(line_of(dependency.span().start)))),
        }
    }
    if let Some(text) = document.requires_python {
        match VersionSpecifiers::from_str(text.get_ref()) {
            Ok(range) => metadata.requires_python = range,
            Err(_) => {
                let message = format!("{} is not a range of Python versions", Refusal::quote(text.get_ref()));
                let line = line_of(text.span().start);
                faults.push(refuse(line, message, "write a range such as `>=3.11`"));
            }
        }
    }
    faults.result(metadata)
}

/// The block of a program as it stands there, to its last line; `None` if there is none.
pub(crate) fn block(code: &str) -> Option<String> {
    let (_, block) = find(code).ok()??;
    let lines = block.lines().flat_map(|line| match line {
        "" => ["#", "", "\n"],
        line => ["# ", line, "\n"],
    });
    Some(
        [OPENING, "\n"]
            .into_iter()
            .chain(lines)
            .chain([CLOSING, "\n"])
            .collect(),
    )
}

/// The TOML of the block, and the line of the code on which it begins, counted from 1.
fn find(code: &str) -> Result<Option<(usize, String)>, TaskError> {
    let lines: Vec<&str> = code.lines().map(str::trim_end).collect();
    let mut found = None;
    let mut next = 0;
    while let Some(offset) = lines[next..].iter().position(|line| *line == OPENING) {
        let opening = next + offset;
        let comments = lines[opening + 1..]
            .iter()
            .take_while(|line| **line == "#" || line.starts_with("# "))
            .count();
        let body = &lines[opening + 1..opening + 1 + comments];
        // The last one counts: a closing line may also be part of a text within the block.
        let Some(length) = body.iter().rposition(|line| *line == CLOSING) else {
            let message = "the `script` block has no end".to_owned();
            return Err(refuse(opening + 1, message, "end it with the line `# ///`"));
        };
        if found.is_some() {
            let message = "a second `script` block".to_owned();
            return Err(refuse(opening + 1, message, "write all packages into the first one"));
        }
        let block: String = body[..length]
            .iter()
            .flat_map(|line| [line.strip_prefix("# ").unwrap_or_default(), "\n"])
            .collect();
        if block.len() > MAX_BLOCK_BYTES {
            let message = format!("the `script` block has more than {MAX_BLOCK_BYTES} bytes");
            return Err(refuse(opening + 1, message, "move the packages to `requirementsFile`"));
        }
        found = Some((opening + 2, block));
        next = opening + 1 + length;
    }
    Ok(found)
}

fn refuse(line: usize, message: String, hint: &str) -> TaskError {
    TaskError {
        pointer: POINTER,
        line: Some(line),
        message,
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        let read = read(code).unwrap();
        read.requirements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let code = "#!/usr/bin/env python3\n# /// script\n# requires-python = \">=3.11\"\n# dependencies = [\n#   \"requests<3\",\n\
                    #   \"rich\",\n# ]\n#\n# [tool.uv]\n# exclude-newer = \"2030-01-01\"\n# ///\n\nimport requests\n";
        let read = read(code).unwrap();
        assert_eq!(names(code), ["requests<3", "rich"]);
        assert_eq!(read.requires_python.to_string(), ">=3.11");
        assert_eq!(names(&code.replace('\n', "\r\n")), ["requests<3", "rich"]);
    }

    #[test]
    fn code_without_a_block_asks_for_nothing() {
        for code in [
            "print(1)",
            "# /// pyproject\n# x = 1\n# ///",
            "#/// script\n# dependencies = ['x']",
            "x = '''\n  # /// script\n'''",
            "# /// script\n# ///",
        ] {
            assert_eq!(read(code).unwrap(), InlineMetadata::default(), "{code}");
        }
    }

    #[test]
    fn every_mistake_in_a_block_names_its_line() {
        for (code, line, words) in [
            ("\n# /// script\n# dependencies = []\nprint(1)", 2, "has no end"),
            // The standard's expression lets the first block end at the last closing line, so these are one.
            ("# /// script\n# ///\n# /// script\n# ///", 2, "not valid"),
            (
                "# /// script\n# x = 1\n# ///\n\n# /// script\n# x = 1\n# ///",
                5,
                "a second `script` block",
            ),
            (
                "# /// script\n# dependencies = [\n#   idna,\n# ]\n# ///",
                3,
                "not valid",
            ),
            ("# /// script\n# dependencies = \"idna\"\n# ///", 2, "not valid"),
            (
                "# /// script\n# dependencies = [\n#   \"idna\",\n#   \"--pre\",\n# ]\n# ///",
                4,
                "`--pre`",
            ),
            ("1\n\n# /// script\n# requires-python = \"three\"\n# ///", 4, "`three`"),
        ] {
            let errors = read(code).unwrap_err();
            let error = errors.first();
            assert_eq!((error.pointer, error.line), (POINTER, Some(line)), "{code}: {error}");
            assert!(error.message.contains(words), "{code}: {error}");
        }
        let large = format!("# /// script\n{}# ///", "# # padding\n".repeat(10_000));
        assert!(read(&large).unwrap_err().to_string().contains("more than 65536 bytes"));
    }

    #[test]
    fn all_mistakes_in_a_block_come_together() {
        let code = "# /// script\n# dependencies = [\n#   \"--pre\",\n#   \"idna\",\n#   \"a b\",\n# ]\n# requires-python = \"x\"\n# ///";
        assert_eq!(read(code).unwrap_err().total(), 3);
    }
}
