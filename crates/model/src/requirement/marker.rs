//! Environment markers: comparisons of a fixed list of variables with quoted texts, joined by `and` and `or`.
//!
//! A comparison without a meaning is left out, as uv does: of two texts or two variables, of a version with what is not
//! one, or in an order that versions do not have. `and` and `or` join the rest. The names of PEP 345 become those of
//! PEP 508. A list of versions may have commas between them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::refusal::{Refusal, quote};
use super::specifier::specifier;

/// Deepest accepted nesting of parentheses.
pub const MAX_MARKER_DEPTH: usize = 16;

const EXAMPLE: &str = "write a comparison such as `python_version >= \"3.11\"`";
pub(super) const VERSION_VARIABLES: [&str; 3] = ["python_version", "python_full_version", "implementation_version"];
const TEXT_VARIABLES: [&str; 9] = [
    "extra",
    "implementation_name",
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "sys_platform",
];

/// Older names of variables, with today's.
const OLD_NAMES: [(&str, &str); 6] = [
    ("os.name", "os_name"),
    ("platform.machine", "platform_machine"),
    ("platform.python_implementation", "platform_python_implementation"),
    ("platform.version", "platform_version"),
    ("python_implementation", "platform_python_implementation"),
    ("sys.platform", "sys_platform"),
];

/// Reads a marker and writes its normal form; `None` if no comparison in it has a meaning.
pub(super) fn normalise(text: &str) -> Result<Option<String>, Refusal> {
    Ok(read(text)?.map(|marker| marker.to_string()))
}

/// Reads a marker; `None` if no comparison in it has a meaning.
pub(super) fn read(text: &str) -> Result<Option<Marker>, Refusal> {
    let mut reader = Reader {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    let marker = reader.any()?;
    if let Some(token) = reader.peek() {
        return Err(Refusal::new(format!("{token} after the end of a marker"), EXAMPLE));
    }
    Ok(marker)
}

/// A marker in normal form: operands sorted and without repeats, none of an operand's own kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Marker {
    Comparison(Comparison),
    All(BTreeSet<Marker>),
    Any(BTreeSet<Marker>),
}

/// A comparison in normal form. The order of markers is that of their texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) variable: &'static str,
    pub(super) operator: Operator,
    /// Without quotes.
    pub(super) text: String,
    /// True for `"x" in variable`.
    pub(super) text_first: bool,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.text.contains('"') { '\'' } else { '"' };
        let text = format!("{mark}{}{mark}", self.text);
        let sign = self.operator.sign();
        match self.text_first {
            true => write!(f, "{text} {sign} {}", self.variable),
            false => write!(f, "{} {sign} {text}", self.variable),
        }
    }
}

impl Ord for Comparison {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for Comparison {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, joint) = match self {
            Marker::Comparison(one) => return one.fmt(f),
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

    fn any(&mut self) -> Result<Option<Marker>, Refusal> {
        let mut parts = BTreeSet::new();
        loop {
            match self.all()? {
                Some(Marker::Any(inner)) => parts.extend(inner),
                other => parts.extend(other),
            }
            if !self.take_if(&Token::Word("or".to_owned())) {
                return Ok(alone(parts, Marker::Any));
            }
        }
    }

    fn all(&mut self) -> Result<Option<Marker>, Refusal> {
        let mut parts = BTreeSet::new();
        loop {
            match self.operand()? {
                Some(Marker::All(inner)) => parts.extend(inner),
                other => parts.extend(other),
            }
            if !self.take_if(&Token::Word("and".to_owned())) {
                return Ok(alone(parts, Marker::All));
            }
        }
    }

    fn operand(&mut self) -> Result<Option<Marker>, Refusal> {
        if !self.take_if(&Token::Sign("(".to_owned())) {
            return Ok(self.comparison()?.map(Marker::Comparison));
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

    fn comparison(&mut self) -> Result<Option<Comparison>, Refusal> {
        let left = self.take()?;
        let operator = self.operator()?;
        let right = self.take()?;
        match (left, right) {
            (Token::Word(variable), Token::Text(text)) => variable_first(known(&variable)?, operator, &text),
            (Token::Text(text), Token::Word(variable)) => text_first(&text, operator, known(&variable)?),
            (Token::Word(left), Token::Word(right)) => known(&left).and(known(&right)).map(|_| None),
            (Token::Text(_), Token::Text(_)) => Ok(None),
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

fn alone(mut parts: BTreeSet<Marker>, several: impl Fn(BTreeSet<Marker>) -> Marker) -> Option<Marker> {
    let first = parts.pop_first()?;
    if parts.is_empty() {
        return Some(first);
    }
    parts.insert(first);
    Some(several(parts))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
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
    pub(super) fn sign(self) -> &'static str {
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

    pub(super) fn is_membership(self) -> bool {
        matches!(self, Operator::In | Operator::NotIn)
    }
}

/// Today's name of a variable.
fn known(variable: &str) -> Result<&'static str, Refusal> {
    let today = OLD_NAMES.iter().find(|(old, _)| *old == variable);
    let name = today.map_or(variable, |(_, today)| today);
    let mut names = VERSION_VARIABLES.into_iter().chain(TEXT_VARIABLES);
    names.find(|one| *one == name).ok_or_else(|| {
        let names = format!("{}, {}", VERSION_VARIABLES.join(", "), TEXT_VARIABLES.join(", "));
        Refusal::new(
            format!("{} is not a marker variable", quote(variable)),
            format!("use one of {names}; put texts in quotes"),
        )
    })
}

fn variable_first(variable: &'static str, operator: Operator, text: &str) -> Result<Option<Comparison>, Refusal> {
    check_text(text)?;
    let sign = operator.sign();
    let text = match operator {
        _ if variable == "extra" => match operator {
            Operator::Equal | Operator::Unequal => text.to_owned(),
            _ => return Ok(None),
        },
        _ if !VERSION_VARIABLES.contains(&variable) => match operator {
            Operator::Compatible => return Ok(None),
            _ => text.to_owned(),
        },
        Operator::In | Operator::NotIn => match version_list(text) {
            Some(versions) => versions,
            None => return Ok(None),
        },
        _ => match specifier(&format!("{sign}{text}")) {
            Ok(normal) => {
                let normal = normal.to_string();
                normal.strip_prefix(sign).unwrap_or(text).to_owned()
            }
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(Comparison {
        variable,
        operator,
        text,
        text_first: false,
    }))
}

fn text_first(text: &str, operator: Operator, variable: &'static str) -> Result<Option<Comparison>, Refusal> {
    if let Some(turned) = operator.turned() {
        return variable_first(variable, turned, text);
    }
    check_text(text)?;
    // A part of a version is not a version, and a task has no extras.
    let has_order = VERSION_VARIABLES.contains(&variable) || variable == "extra";
    if has_order || !operator.is_membership() {
        return Ok(None);
    }
    Ok(Some(Comparison {
        variable,
        operator,
        text: text.to_owned(),
        text_first: true,
    }))
}

/// Checks that a text can be quoted, and holds nothing that uv ends a requirement at.
fn check_text(text: &str) -> Result<(), Refusal> {
    let words = || text.split(' ').skip(1);
    let ends = words().any(|word| word.starts_with("--") || word.starts_with('#'));
    let printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if (text.contains('"') && text.contains('\'')) || ends || !printable {
        let hint = "use letters, digits and signs of ASCII; no word may begin with `--` or `#`";
        let message = format!("the text {} cannot stand in a marker", quote(text));
        return Err(Refusal::new(message, hint));
    }
    Ok(())
}

/// The versions of a list with spaces, commas or bars between them, if there are only versions in it.
fn version_list(text: &str) -> Option<String> {
    let words = text.split([' ', ',', '|']).filter(|word| !word.is_empty());
    let versions = words.map(|one| Version::from_str(one).map(|version| version.to_string()).ok());
    let versions = versions.collect::<Option<Vec<_>>>()?;
    Some(versions.join(" "))
}
