//! Environment markers: comparisons of a fixed list of variables with quoted texts, joined by `and` and `or`.
//!
//! Stricter than PEP 508, because installers disagree on parts of it: exactly one side is a variable, a version is only
//! compared with a version, and no text contains what another reader could take for an option or a path.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::refusal::{Refusal, quote};
use super::specifier::specifier;

/// Deepest accepted nesting of parentheses.
pub const MAX_MARKER_DEPTH: usize = 16;

const EXAMPLE: &str = "write a comparison such as `python_version >= \"3.11\"`";
const VERSION_VARIABLES: [&str; 3] = ["python_version", "python_full_version", "implementation_version"];
const TEXT_VARIABLES: [&str; 8] = [
    "implementation_name",
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "sys_platform",
];

/// Reads a marker and writes its normal form.
pub(super) fn normalise(text: &str) -> Result<String, Refusal> {
    let mut reader = Reader {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    let marker = reader.any()?;
    if let Some(token) = reader.peek() {
        return Err(Refusal::new(format!("{token} after the end of a marker"), EXAMPLE));
    }
    Ok(marker.to_string())
}

/// A marker in normal form: operands sorted and without repeats, none of an operand's own kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Marker {
    Comparison(String),
    All(BTreeSet<Marker>),
    Any(BTreeSet<Marker>),
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, joint) = match self {
            Marker::Comparison(text) => return f.write_str(text),
            Marker::All(parts) => (parts, " and "),
            Marker::Any(parts) => (parts, " or "),
        };
        for (index, part) in parts.iter().enumerate() {
            f.write_str(if index > 0 { joint } else { "" })?;
            match (self, part) {
                // `and` binds closer than `or`.
                (Marker::All(_), Marker::Any(_)) => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Sign(text) => f.write_str(&quote(text)),
            Token::Text(text) => write!(f, "the text {}", quote(text)),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' => 1,
            '(' | ')' => 1,
            '"' | '\'' => quoted_length(rest, first)?,
            '<' | '>' | '=' | '!' | '~' => length_of(rest, |c| matches!(c, '<' | '>' | '=' | '!' | '~')),
            c if c.is_ascii_alphanumeric() || c == '_' => {
                length_of(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
            }
            _ => return Err(Refusal::new(format!("unexpected {} in a marker", quote(rest)), EXAMPLE)),
        };
        let (token, after) = rest.split_at(length);
        match first {
            ' ' | '\t' => {}
            '"' | '\'' => tokens.push(Token::Text(token[1..length - 1].to_owned())),
            c if c.is_ascii_alphanumeric() || c == '_' => tokens.push(Token::Word(token.to_owned())),
            _ => tokens.push(Token::Sign(token.to_owned())),
        }
        rest = after;
    }
    Ok(tokens)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn quoted_length(text: &str, mark: char) -> Result<usize, Refusal> {
    match text[1..].find(mark) {
        Some(at) => Ok(at + 2),
        None => Err(Refusal::new(
            format!("an unclosed quote: {}", quote(text)),
            "close the text with the same quote",
        )),
    }
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Result<Token, Refusal> {
        let token = self
            .peek()
            .cloned()
            .ok_or_else(|| Refusal::new("a marker ends too early", EXAMPLE))?;
        self.next += 1;
        Ok(token)
    }

    fn take_if(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Marker, Refusal> {
        let mut parts = BTreeSet::new();
        loop {
            match self.all()? {
                Marker::Any(inner) => parts.extend(inner),
                other => _ = parts.insert(other),
            }
            if !self.take_if(&Token::Word("or".to_owned())) {
                return Ok(alone(parts, Marker::Any));
            }
        }
    }

    fn all(&mut self) -> Result<Marker, Refusal> {
        let mut parts = BTreeSet::new();
        loop {
            match self.operand()? {
                Marker::All(inner) => parts.extend(inner),
                other => _ = parts.insert(other),
            }
            if !self.take_if(&Token::Word("and".to_owned())) {
                return Ok(alone(parts, Marker::All));
            }
        }
    }

    fn operand(&mut self) -> Result<Marker, Refusal> {
        if !self.take_if(&Token::Sign("(".to_owned())) {
            return self.comparison().map(Marker::Comparison);
        }
        self.depth += 1;
        if self.depth > MAX_MARKER_DEPTH {
            let message = format!("a marker with more than {MAX_MARKER_DEPTH} parentheses within each other");
            return Err(Refusal::new(message, "write it flatter"));
        }
        let inner = self.any()?;
        if !self.take_if(&Token::Sign(")".to_owned())) {
            return Err(Refusal::new("an unclosed parenthesis in a marker", "close it with `)`"));
        }
        self.depth -= 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<String, Refusal> {
        let left = self.take()?;
        let operator = self.operator()?;
        let right = self.take()?;
        match (left, right) {
            (Token::Word(variable), Token::Text(text)) => variable_first(&variable, operator, &text),
            (Token::Text(text), Token::Word(variable)) => text_first(&text, operator, &variable),
            (left, right) => {
                let message = format!("a marker compares {left} with {right}");
                Err(Refusal::new(
                    message,
                    "compare one variable with one text: `sys_platform == \"linux\"`",
                ))
            }
        }
    }

    fn operator(&mut self) -> Result<Operator, Refusal> {
        let token = self.take()?;
        if token == Token::Word("not".to_owned()) && self.take_if(&Token::Word("in".to_owned())) {
            return Ok(Operator::NotIn);
        }
        match &token {
            Token::Word(text) | Token::Sign(text) => {
                OPERATORS.iter().find(|(sign, _)| sign == text).map(|(_, found)| *found)
            }
            Token::Text(_) => None,
        }
        .ok_or_else(|| {
            let hint = "the comparisons are ==, !=, <, <=, >, >=, ~=, in and not in";
            Refusal::new(format!("{token} where a marker's comparison is expected"), hint)
        })
    }
}

fn alone(mut parts: BTreeSet<Marker>, several: impl Fn(BTreeSet<Marker>) -> Marker) -> Marker {
    match parts.pop_first() {
        Some(only) if parts.is_empty() => only,
        Some(first) => {
            parts.insert(first);
            several(parts)
        }
        None => several(parts),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Compatible,
    In,
    NotIn,
}

const OPERATORS: [(&str, Operator); 9] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Less),
    ("<=", Operator::AtMost),
    (">", Operator::More),
    (">=", Operator::AtLeast),
    ("~=", Operator::Compatible),
    ("in", Operator::In),
    ("not in", Operator::NotIn),
];

impl Operator {
    fn sign(self) -> &'static str {
        OPERATORS
            .iter()
            .find(|(_, operator)| *operator == self)
            .map_or("", |(sign, _)| sign)
    }

    /// The comparison that holds when both sides change places, if there is one.
    fn turned(self) -> Option<Operator> {
        match self {
            Operator::Equal | Operator::Unequal => Some(self),
            Operator::Less => Some(Operator::More),
            Operator::AtMost => Some(Operator::AtLeast),
            Operator::More => Some(Operator::Less),
            Operator::AtLeast => Some(Operator::AtMost),
            Operator::Compatible | Operator::In | Operator::NotIn => None,
        }
    }

    fn is_membership(self) -> bool {
        matches!(self, Operator::In | Operator::NotIn)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VariableKind {
    Version,
    Text,
}

fn variable_kind(variable: &str) -> Result<VariableKind, Refusal> {
    if VERSION_VARIABLES.contains(&variable) {
        return Ok(VariableKind::Version);
    }
    if TEXT_VARIABLES.contains(&variable) {
        return Ok(VariableKind::Text);
    }
    let hint = match variable {
        "extra" => "a task has no extras of its own; name the package's: `pandas[excel]`".to_owned(),
        _ => format!(
            "known are {}, {}",
            VERSION_VARIABLES.join(", "),
            TEXT_VARIABLES.join(", ")
        ),
    };
    Err(Refusal::new(
        format!("{} is not a marker variable", quote(variable)),
        hint,
    ))
}

fn variable_first(variable: &str, operator: Operator, text: &str) -> Result<String, Refusal> {
    let kind = variable_kind(variable)?;
    check_text(text)?;
    let sign = operator.sign();
    let value = match kind {
        VariableKind::Version if operator.is_membership() => version_list(text)?,
        VariableKind::Version => {
            let normal = specifier(&format!("{sign}{text}"))?.to_string();
            normal.strip_prefix(sign).unwrap_or(text).to_owned()
        }
        VariableKind::Text if operator == Operator::Compatible => {
            let hint = "`~=` compares versions only; write `==` or `in`";
            return Err(Refusal::new(
                format!("{} is a text, not a version", quote(variable)),
                hint,
            ));
        }
        VariableKind::Text => text.to_owned(),
    };
    Ok(format!("{variable} {sign} \"{value}\""))
}

fn text_first(text: &str, operator: Operator, variable: &str) -> Result<String, Refusal> {
    if let Some(turned) = operator.turned() {
        return variable_first(variable, turned, text);
    }
    if variable_kind(variable)? == VariableKind::Version || !operator.is_membership() {
        let message = format!("a marker with {} before `{}`", quote(text), operator.sign());
        return Err(Refusal::new(
            message,
            "write the variable first, such as `python_version >= \"3.11\"`",
        ));
    }
    check_text(text)?;
    Ok(format!("\"{text}\" {} {variable}", operator.sign()))
}

/// Words between single spaces, each beginning with a letter or a digit: no word can be taken for an option, a
/// comment, a path, a URL or a variable by a reader that does not respect the quotes. (One widely used reader cuts
/// its lines at the first word that begins with a hyphen, quoted or not.)
fn check_text(text: &str) -> Result<(), Refusal> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '*' | '!' | ',' | '|' | '-');
    let plain = |word: &str| word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(inner);
    if text.split(' ').all(plain) {
        return Ok(());
    }
    let shown = if text.is_empty() {
        "an empty text".to_owned()
    } else {
        format!("the text {}", quote(text))
    };
    let hint = "words of letters, digits and `. _ + * ! , | -`, with single spaces between";
    Err(Refusal::new(format!("{shown} cannot stand in a marker"), hint))
}

fn version_list(text: &str) -> Result<String, Refusal> {
    let versions = text.split(' ').map(|one| {
        Version::from_str(one).map(|version| version.to_string()).map_err(|_| {
            let hint = "list whole versions with spaces between: `python_version in \"3.11 3.12\"`";
            Refusal::new(format!("{} is not a version", quote(one)), hint)
        })
    });
    Ok(versions.collect::<Result<Vec<_>, _>>()?.join(" "))
}
