//! Reads query parameters. The response names every parameter that is unknown, repeated or invalid.

use hybrid_cache_api::{EndName, ListQuery, Problem, StateName, TaskId};
use std::borrow::Cow;

use hybrid_cache_driver::log::Stream;
use hybrid_cache_model::labels;

use super::rejection::{Answer, Rejection};
use crate::error::ServiceError;
use hybrid_cache_api::ProblemType;

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Most states in a filter, including repeats.
const MAX_STATES: usize = 20;

fn pairs(query: Option<&str>) -> impl Iterator<Item = Pair<'_>> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
}

fn refuse<T>(name: &str, detail: impl Into<String>) -> Answer<T> {
    let name: String = name.chars().take(60).collect();
    Err(Problem::new(ProblemType::InvalidParameter, detail)
        .parameter(name)
        .into())
}

fn unknown<T>(name: &str, known: &str) -> Answer<T> {
    let hint = format!("the parameters are {known}");
    refuse(name, "unknown parameter").map_err(|rejection: Rejection| rejection.into_problem().hint(hint).into())
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Answer<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => refuse(name, "the parameter appears twice"),
    }
}

/// The id in a path. A text that cannot be an id is treated like an unknown id.
///
/// # Errors
/// The text cannot be an id.
pub fn task_id(text: &str) -> Answer<TaskId> {
    TaskId::parse(text).ok_or_else(|| ServiceError::NotFound.into())
}

/// Refuses parameters of a path that has none.
///
/// # Errors
/// There is a parameter.
pub fn none(query: Option<&str>) -> Answer<()> {
    match pairs(query).next() {
        None => Ok(()),
        Some((name, _)) => refuse(&name, "this path has no parameters"),
    }
}

/// What to list.
///
/// # Errors
/// A parameter is unknown, repeated or invalid.
pub fn list(query: Option<&str>) -> Answer<ListQuery> {
    let (mut states, mut end, mut cursor, mut limit) = (Vec::new(), None, None, None);
    let mut labels = Vec::new();
    for (name, value) in pairs(query) {
        match name.as_ref() {
            "state" => {
                for word in value.split(',') {
                    let known = StateName::ALL.into_iter().find(|state| state.name() == word);
                    let Some(state) = known.filter(|_| states.len() < MAX_STATES) else {
                        let names = StateName::ALL.map(StateName::name).join(", ");
                        return refuse("state", format!("the states are {names}"));
                    };
                    states.push(state);
                }
            }
            "end" => {
                let Some(word) = EndName::parse(&value) else {
                    return refuse(
                        "end",
                        format!("the ends are {}", EndName::ALL.map(EndName::name).join(", ")),
                    );
                };
                once(&mut end, "end", word)?;
            }
            "label" => labels.push(label(&value)?),
            "cursor" => once(&mut cursor, "cursor", value.into_owned())?,
            "limit" => match value.parse::<u32>() {
                Ok(number) => once(&mut limit, "limit", number)?,
                Err(_) => return refuse("limit", "a number from 1 to 200 is expected"),
            },
            other => return unknown(other, "state, end, label, cursor, limit"),
        }
    }
    Ok(ListQuery {
        states,
        end,
        labels,
        cursor,
        limit,
    })
}

fn label(text: &str) -> Answer<(String, String)> {
    let Some((key, value)) = text.split_once('=') else {
        return refuse("label", "a label is expected as `key=value`");
    };
    match labels::check_one(key, value) {
        Ok(()) => Ok((key.to_owned(), value.to_owned())),
        Err(refusal) => refuse("label", refusal.message)
            .map_err(|rejection: Rejection| rejection.into_problem().hint(refusal.hint).into()),
    }
}

/// A position in a task's output, in bytes; `None` unless the text is a number that fits the document's int64.
pub fn place(text: &str) -> Option<u64> {
    text.parse().ok().filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// Which part of a task's output is requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Live, as server-sent events.
    pub follow: bool,
    /// Only one stream.
    pub stream: Option<Stream>,
    /// Bytes of both streams to skip.
    pub from: Option<u64>,
}

/// Reads which part of a task's output is requested.
///
/// # Errors
/// A parameter is unknown, repeated or invalid.
pub fn logs(query: Option<&str>) -> Answer<Wanted> {
    let (mut follow, mut stream, mut from) = (None, None, None);
    for (name, value) in pairs(query) {
        match (name.as_ref(), value.as_ref()) {
            ("follow", "true") => once(&mut follow, "follow", true)?,
            ("follow", "false") => once(&mut follow, "follow", false)?,
            ("follow", _) => return refuse("follow", "true or false is expected"),
            ("stream", "stdout") => once(&mut stream, "stream", Stream::Stdout)?,
            ("stream", "stderr") => once(&mut stream, "stream", Stream::Stderr)?,
            ("stream", _) => return refuse("stream", "stdout or stderr is expected"),
            ("from", text) => match place(text) {
                Some(bytes) => once(&mut from, "from", bytes)?,
                None => return refuse("from", "a number of bytes is expected"),
            },
            (other, _) => return unknown(other, "follow, stream, from"),
        }
    }
    Ok(Wanted {
        follow: follow.unwrap_or_default(),
        stream,
        from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_parameter_is_named() {
        let query = list(Some("state=running,queued&state=ended&limit=5&cursor=c1&end=timedOut")).unwrap();
        assert_eq!(query.states, [StateName::Running, StateName::Queued, StateName::Ended]);
        assert_eq!(
            (query.limit, query.end, query.cursor.as_deref()),
            (Some(5), Some(EndName::TimedOut), Some("c1"))
        );
        let query = list(Some("label=team%3Dblue&label=app.io/x=")).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(query.labels, [pair("team", "blue"), pair("app.io/x", "")]);
        for (bad, name) in [
            ("label=team", "label"),
            ("label=a+b%3Dc", "label"),
            ("state=asleep", "state"),
            ("state=", "state"),
            ("limit=-1", "limit"),
            ("limit=1&limit=2", "limit"),
            ("end=well", "end"),
            ("Limit=1", "Limit"),
        ] {
            let problem = list(Some(bad)).unwrap_err().into_problem();
            assert_eq!(
                (problem.code, problem.parameter.as_deref()),
                (ProblemType::InvalidParameter, Some(name)),
                "{bad}"
            );
        }
        assert!(logs(Some("follow=true&stream=stderr&from=10")).unwrap().follow);
        for bad in [
            "follow=yes",
            "follow=",
            "stream=both",
            "from=-1",
            "tail=5",
            "follow=true&follow=true",
        ] {
            assert!(logs(Some(bad)).is_err(), "{bad}");
        }
        assert!(none(None).is_ok() && none(Some("")).is_ok() && none(Some("a=1")).is_err());
    }
}
