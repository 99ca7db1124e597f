//! Why a task's text is refused: the field, its line, what is wrong and what to write instead.
//!
//! Every parser of a field returns [`TaskError`]; [`TaskErrors`] holds all faults of a task, so that one answer names them.

use std::fmt;

/// Largest accepted list of system packages, in bytes.
pub const MAX_LIST_BYTES: usize = 64 << 10;
/// Most faults that one answer shows, and most further lines that it gives for one of them.
pub const MAX_SHOWN: usize = 10;

/// Why a task's text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}{}: {message}{}", at_line(*line), at_hint(hint.as_deref()))]
pub struct TaskError {
    /// The field, as a JSON pointer: `/requirementsFile`.
    pub pointer: &'static str,
    /// The line within a text field, from 1; absent if the whole field is meant.
    pub line: Option<usize>,
    /// What is wrong with it, in lower case.
    pub message: String,
    /// The next step, if there is one.
    pub hint: Option<String>,
}

impl TaskError {
    /// True if the same remedy in the same field mends both.
    fn is_of_one_kind(&self, other: &TaskError) -> bool {
        let same_text = self.hint.is_some() || self.message == other.message;
        self.pointer == other.pointer && self.hint == other.hint && same_text
    }
}

/// The faults of a task: at least one, those with one remedy in one field as one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskErrors {
    first: Box<TaskErrorGroup>,
    others: Vec<TaskErrorGroup>,
    total: usize,
}

/// Faults of one field with one remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskErrorGroup {
    /// The first of them.
    pub first: TaskError,
    /// How many there are.
    pub count: usize,
    /// The lines of the others, at most [`MAX_SHOWN`].
    pub more_lines: Vec<usize>,
}

impl TaskErrorGroup {
    fn new(first: TaskError) -> TaskErrorGroup {
        TaskErrorGroup {
            first,
            count: 1,
            more_lines: Vec::new(),
        }
    }

    fn join(&mut self, error: &TaskError) {
        self.count += 1;
        if self.more_lines.len() < MAX_SHOWN {
            self.more_lines.extend(error.line);
        }
    }
}

impl TaskErrors {
    /// The first fault.
    pub fn first(&self) -> &TaskError {
        &self.first.first
    }

    /// The groups in the order of their first faults, at most [`MAX_SHOWN`].
    pub fn groups(&self) -> impl Iterator<Item = &TaskErrorGroup> {
        std::iter::once(&*self.first).chain(&self.others)
    }

    /// How many faults there are; those that are not shown count as well.
    pub fn total(&self) -> usize {
        self.total
    }

    fn push(&mut self, error: TaskError) {
        self.total += 1;
        let mut groups = std::iter::once(&mut *self.first).chain(&mut self.others);
        if let Some(group) = groups.find(|group| group.first.is_of_one_kind(&error)) {
            group.join(&error);
        } else if self.others.len() + 1 < MAX_SHOWN {
            self.others.push(TaskErrorGroup::new(error));
        }
    }

    fn append(&mut self, more: TaskErrors) {
        let total = self.total + more.total;
        for group in std::iter::once(*more.first).chain(more.others) {
            if self.others.len() + 1 < MAX_SHOWN {
                self.others.push(group);
            }
        }
        self.total = total;
    }
}

impl From<TaskError> for TaskErrors {
    fn from(error: TaskError) -> TaskErrors {
        TaskErrors {
            first: Box::new(TaskErrorGroup::new(error)),
            others: Vec::new(),
            total: 1,
        }
    }
}

impl std::error::Error for TaskErrors {}

/// One fault as itself; several with their number in front, one after the other.
impl fmt::Display for TaskErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total == 1 {
            return write!(f, "{}", self.first.first);
        }
        write!(f, "{} errors", self.total)?;
        let mut shown = 0;
        for group in self.groups() {
            shown += group.count;
            write!(f, "\n{}", group.first)?;
            if group.count > 1 {
                write!(f, "\n{}", group.others())?;
            }
        }
        match self.total - shown {
            0 => Ok(()),
            hidden => write!(f, "\nand {hidden} more"),
        }
    }
}

impl TaskErrorGroup {
    /// Where else the same is wrong: `the same on lines 4, 5 and 3 more`.
    pub fn others(&self) -> String {
        let hidden = self.count - 1 - self.more_lines.len();
        let lines: Vec<_> = self.more_lines.iter().map(ToString::to_string).collect();
        match (lines.as_slice(), hidden) {
            ([], hidden) => format!("the same {hidden} more times"),
            ([line], 0) => format!("the same on line {line}"),
            (lines, 0) => format!("the same on lines {}", lines.join(", ")),
            (lines, hidden) => format!("the same on lines {} and {hidden} more", lines.join(", ")),
        }
    }
}

/// Collects the faults of several fields while their good parts are read on.
#[derive(Debug, Default)]
pub struct Faults(Option<TaskErrors>);

impl Faults {
    /// Adds a fault.
    pub fn push(&mut self, error: TaskError) {
        match &mut self.0 {
            Some(errors) => errors.push(error),
            none => *none = Some(error.into()),
        }
    }

    /// The value, or its default with the faults noted.
    pub fn keep<T: Default>(&mut self, result: Result<T, TaskErrors>) -> T {
        result.unwrap_or_else(|more| {
            match &mut self.0 {
                Some(errors) => errors.append(more),
                none => *none = Some(more),
            }
            T::default()
        })
    }

    /// `value`, if there was no fault.
    ///
    /// # Errors
    /// All faults.
    pub fn result<T>(self, value: T) -> Result<T, TaskErrors> {
        match self.0 {
            Some(errors) => Err(errors),
            None => Ok(value),
        }
    }
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" line {line}")).unwrap_or_default()
}

/// The hint as a line of its own behind a message.
pub(crate) fn at_hint(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}
