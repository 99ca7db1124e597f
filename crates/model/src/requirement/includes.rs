//! Finds the lines of a requirements file that name another one, for a command line that can read it.

use super::lines::physical_lines;
use super::scan::without_comment;

/// What a named file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncludeKind {
    /// Further requirements: `-r`.
    Requirements,
    /// Constraints: `-c`.
    Constraints,
}

/// The file that a line `-r FILE` or `-c FILE` names, with the line's number from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// The line.
    pub line: usize,
    /// Which of the two.
    pub kind: IncludeKind,
    /// The file's name as it is written.
    pub file: String,
}

/// Takes the lines `-r FILE` and `-c FILE` out of a text: the text with empty lines in their place, and the files.
pub fn split_includes(text: &str) -> (String, Vec<Include>) {
    let (mut rest, mut includes) = (String::with_capacity(text.len()), Vec::new());
    let mut continues = false;
    for (line, text) in physical_lines(text) {
        match named_file(without_comment(text)).filter(|_| !continues) {
            Some((kind, file)) => includes.push(Include {
                line,
                kind,
                file: file.to_owned(),
            }),
            None => rest.push_str(text),
        }
        rest.push('\n');
        continues = text.ends_with('\\');
    }
    (rest, includes)
}

fn named_file(line: &str) -> Option<(IncludeKind, &str)> {
    let line = line.trim_matches([' ', '\t']);
    let options = [
        ("--requirement", IncludeKind::Requirements),
        ("-r", IncludeKind::Requirements),
        ("--constraint", IncludeKind::Constraints),
        ("-c", IncludeKind::Constraints),
    ];
    let (rest, kind) = options
        .into_iter()
        .find_map(|(option, kind)| Some((line.strip_prefix(option)?, kind)))?;
    let is_option = if line.starts_with("--") {
        rest.starts_with([' ', '\t', '='])
    } else {
        !rest.is_empty()
    };
    let file = rest.trim_matches([' ', '\t']);
    let file = file.strip_prefix('=').unwrap_or(file).trim_matches([' ', '\t']);
    let unquoted = |mark| file.strip_prefix(mark).and_then(|inner: &str| inner.strip_suffix(mark));
    let file = unquoted('"').or_else(|| unquoted('\'')).unwrap_or(file);
    (is_option && !file.is_empty()).then_some((kind, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_a_file_are_taken_out_and_keep_the_numbers_of_the_others() {
        let text = "a\n-r base.txt # why\n  --requirement=\"b c.txt\"\r--requirement d.txt\n-rx.txt\n# -r e\nb \\\n-r f\n--requirements g\n-r\n";
        let (rest, includes) = split_includes(text);
        let found: Vec<_> = includes.iter().map(|one| (one.line, one.file.as_str())).collect();
        assert_eq!(found, [(2, "base.txt"), (3, "b c.txt"), (4, "d.txt"), (5, "x.txt")]);
        assert!(includes.iter().all(|one| one.kind == IncludeKind::Requirements));
        assert_eq!(rest, "a\n\n\n\n\n# -r e\nb \\\n-r f\n--requirements g\n-r\n\n");
        let (rest, includes) = split_includes("-c a.txt\n--constraint=b.txt\n-cc.txt\n--constraints d\n");
        let found: Vec<_> = includes.iter().map(|one| (one.line, one.file.as_str())).collect();
        assert_eq!(found, [(1, "a.txt"), (2, "b.txt"), (3, "c.txt")]);
        assert!(includes.iter().all(|one| one.kind == IncludeKind::Constraints));
        assert_eq!(rest, "\n\n\n--constraints d\n\n");
    }
}
