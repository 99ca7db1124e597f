//! The commands that the guides show: in blocks of pages, in comments of manifests, and in the examples.

use std::fmt;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a line of an indented block, of a comment or of an example begins with if it is a command.
const PROGRAMS: [&str; 26] = [
    "bash",
    "cargo",
    "cat",
    "cd",
    "cp",
    "curl",
    "docker",
    "echo",
    "export",
    "git",
    "helm",
    "kind",
    "kubectl",
    "make",
    "mkdir",
    "mv",
    "nix",
    "openssl",
    "pip",
    "promtool",
    "python",
    "python3",
    "schemathesis",
    "sed",
    "sqlite3",
    "sudo",
];

/// A command, and where a reader finds it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub page: String,
    pub line: usize,
    /// Without prompt and comment.
    pub command: String,
    /// Lines of the same block before it that change the folder or set a variable: a reader has typed them.
    pub before: Vec<String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: `{}`", self.page, self.line, self.command)
    }
}

/// How a line of a page is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Every line is a command.
    Shell,
    /// Lines behind `$ ` are.
    Console,
    /// Every line is a command, if the first one is.
    Indented,
    /// Output, code or data.
    Other,
}

/// All commands of all guides, page by page.
pub fn shown() -> Vec<Shown> {
    let mut all = Vec::new();
    for file in files() {
        let page = file.strip_prefix(root()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("md") => of_page(&page, &text, &mut all),
            Some("py") => of_example(&page, &text, &mut all),
            _ => of_comments(&page, &text, &mut all),
        }
    }
    all
}

/// The pages and files that show commands.
fn files() -> Vec<PathBuf> {
    let root = root();
    let mut files: Vec<_> = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "compose.yaml"]
        .map(|name| root.join(name))
        .into();
    for folder in ["docs", "manifests", "images", "reports", "bench-scenarios"] {
        files_below(&root.join(folder), &mut files);
    }
    files.sort();
    files
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, into);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy();
        let ending = name.rsplit('.').next().unwrap_or_default();
        if matches!(ending, "md" | "yaml" | "py" | "Dockerfile") {
            into.push(path);
        }
    }
}

fn of_page(page: &str, text: &str, into: &mut Vec<Shown>) {
    let mut block: Option<Block> = None;
    let mut before = Vec::new();
    let mut fenced = false;
    let mut was_empty = true;
    for (line, text) in whole_lines(text) {
        if let Some(language) = text.trim_start().strip_prefix("```") {
            fenced = !fenced;
            before.clear();
            block = fenced.then(|| match language.trim() {
                "sh" | "bash" | "shell" => Block::Shell,
                "console" => Block::Console,
                _ => Block::Other,
            });
            continue;
        }
        if !fenced {
            let is_indented = text.starts_with("    ") && (block.is_some() || was_empty || is_command(text.trim()));
            block = match (is_indented, block) {
                _ if text.trim().is_empty() => block,
                (false, _) => None,
                (true, Some(block)) => Some(block),
                (true, None) if is_command(text.trim()) => Some(Block::Indented),
                (true, None) => Some(Block::Other),
            };
            if block.is_none() {
                before.clear();
            }
        }
        was_empty = text.trim().is_empty();
        let command = match block {
            Some(Block::Shell | Block::Indented) => Some(text.trim()),
            Some(Block::Console) => text.strip_prefix("$ "),
            _ => None,
        };
        push(page, line, command, &mut before, into);
    }
}

/// Lines with what follows a backslash, each with the number of its first one.
fn whole_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in text.lines().enumerate() {
        let (part, more) = match line.strip_suffix(" \\") {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, whole)) => *whole += &format!(" {}", part.trim_start()),
            None => lines.push((at + 1, part.to_owned())),
        }
        goes_on = more;
    }
    lines
}

/// The indented lines of an example's text.
fn of_example(page: &str, text: &str, into: &mut Vec<Shown>) {
    let described = text.split("\"\"\"").nth(1).unwrap_or_default();
    let mut before = Vec::new();
    for (line, text) in whole_lines(described) {
        let command = Some(text.trim()).filter(|command| text.starts_with("    ") && is_command(command));
        push(page, line, command, &mut before, into);
    }
}

/// Comments that stand further in than the sentences around them.
fn of_comments(page: &str, text: &str, into: &mut Vec<Shown>) {
    let mut before = Vec::new();
    for (line, text) in whole_lines(text) {
        let comment = text.trim_start().strip_prefix("#  ").map(str::trim);
        let command = comment.filter(|command| is_command(command));
        push(page, line, command, &mut before, into);
    }
}

fn push(page: &str, line: usize, command: Option<&str>, before: &mut Vec<String>, into: &mut Vec<Shown>) {
    let Some(command) = command.map(without_comment).filter(|command| !command.is_empty()) else {
        return;
    };
    into.push(Shown {
        page: page.to_owned(),
        line,
        command: command.to_owned(),
        before: before.clone(),
    });
    if is_setting(command) {
        before.push(command.to_owned());
    }
}

/// What follows two blanks and a hash says what a command does, and so does what follows several blanks.
fn without_comment(line: &str) -> &str {
    let end = ["  # ", "    "].iter().filter_map(|mark| line.find(mark)).min();
    line[..end.unwrap_or(line.len())].trim()
}

/// True for a line that only changes the folder or sets variables.
pub fn is_setting(command: &str) -> bool {
    let first = command.split(' ').next().unwrap_or_default();
    let is_assignment = is_assignment(first) && (first == command || command.contains("=$("));
    first == "cd" || first == "export" || (is_assignment && !command.contains(") "))
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name).unwrap_or_default();
    let is_of_name = |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
    !name.is_empty() && name.bytes().all(is_of_name)
}

fn is_command(line: &str) -> bool {
    let first = line.trim_start_matches("$ ").split(' ').next().unwrap_or_default();
    PROGRAMS.contains(&first) || is_assignment(first) || first.starts_with("target/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_every_kind_of_block() {
        let page = "text\n\n    cargo xtask up      # makes it\n    unknown-program\n\n    kubectl get pods\n\ntext\n\n    a drawing\n\n\
                    ```sh\ncd /x\nA=$(cargo xtask status)\necho \\\n  two\n```\n\n```console\n$ curl -s a\nprinted\n```\n\n- item\n\n  ```sh\n  git pull\n  ```\n";
        let mut found = Vec::new();
        of_page("p.md", page, &mut found);
        let commands: Vec<_> = found.iter().map(|shown| (shown.line, shown.command.as_str())).collect();
        let expected = [
            (3, "cargo xtask up"),
            (4, "unknown-program"),
            (6, "kubectl get pods"),
            (13, "cd /x"),
            (14, "A=$(cargo xtask status)"),
            (15, "echo two"),
            (20, "curl -s a"),
            (27, "git pull"),
        ];
        assert_eq!(commands, expected);
        assert_eq!(found[5].before, ["cd /x", "A=$(cargo xtask status)"]);
        assert!(found[6].before.is_empty());
    }

    #[test]
    fn comments_and_examples_show_commands_where_they_stand_further_in() {
        let mut found = Vec::new();
        of_comments(
            "m.yaml",
            "# kind cluster together\n#   kubectl apply -f x.yaml\n  #   kind of thing\n",
            &mut found,
        );
        of_example(
            "e.py",
            "\"\"\"It prints.\n\n    pip install x\n\"\"\"\nimport cargo\n",
            &mut found,
        );
        let commands: Vec<_> = found.iter().map(|shown| shown.command.as_str()).collect();
        assert_eq!(commands, ["kubectl apply -f x.yaml", "kind of thing", "pip install x"]);
    }

    #[test]
    fn a_variable_before_a_command_is_no_setting() {
        assert!(is_setting("A=$(cargo xtask status)") && is_setting("export A=b c") && is_setting("cd x"));
        assert!(!is_setting("A=b cargo test") && !is_setting("A=$(cargo xtask image) cargo xtask up"));
        assert!(!is_setting("cargo xtask up"));
    }
}
