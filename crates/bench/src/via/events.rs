//! Reads the server-sent events of a task's output.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;

/// Longest line that is read, in bytes: a piece of output is far shorter.
const MAX_LINE: u64 = 16 << 20;

/// An event of a followed task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of standard output, and the position after it.
    Stdout(String, Option<u64>),
    /// A piece of standard error, and the position after it.
    Stderr(Option<u64>),
    /// The task has ended.
    End,
}

/// A stream of events.
pub struct Events<R> {
    lines: BufReader<R>,
}

#[derive(Default)]
struct Fields {
    event: String,
    data: String,
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    #[serde(rename = "state")]
    _state: String,
}

impl<R: Read> Events<R> {
    /// Reads events from the body of an answer.
    pub fn new(lines: BufReader<R>) -> Events<R> {
        Events { lines }
    }

    /// The next event; `None` if the stream ends, by itself or within an event.
    ///
    /// # Errors
    /// The connection broke, or the body is not such a stream.
    pub fn next(&mut self) -> io::Result<Option<Event>> {
        let mut fields = Fields::default();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if !line.is_empty() {
                fields.take(&line);
                continue;
            }
            if let Some(event) = std::mem::take(&mut fields).event()? {
                return Ok(Some(event));
            }
        }
    }

    /// Reads to the end, so that the connection can be used again.
    pub fn finish(mut self) {
        // If this fails, the next request opens another connection.
        let _ = io::copy(&mut self.lines.by_ref().take(MAX_LINE), &mut io::sink());
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

impl Fields {
    /// Comments, `retry` and unknown fields are ignored.
    fn take(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => self.data.push_str(value),
            "id" => self.id = value.parse().ok(),
            _ => {}
        }
    }

    fn event(self) -> io::Result<Option<Event>> {
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        Ok(match self.event.as_str() {
            "stdout" => {
                let text = serde_json::from_str(&self.data).map_err(malformed)?;
                Some(Event::Stdout(text, self.id))
            }
            "stderr" => Some(Event::Stderr(self.id)),
            "end" => {
                serde_json::from_str::<Ended>(&self.data).map_err(malformed)?;
                Some(Event::End)
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let mut events = Events::new(BufReader::new(text.as_bytes()));
        std::iter::from_fn(|| events.next().unwrap()).collect()
    }

    #[test]
    fn output_and_the_end_are_told_and_signs_of_life_are_not() {
        let text = "retry: 1000\n\n: still here\n\nid: 2\nevent: stdout\ndata: \"3\\n\"\n\nid: 4\r\nevent: stderr\r\ndata: \"!\"\r\n\r\n\
                    event: new\ndata: 1\n\nevent: end\ndata: {\"end\":\"exited\",\"exitCode\":0,\"state\":\"ended\"}\n\n";
        let expected = [
            Event::Stdout("3\n".to_owned(), Some(2)),
            Event::Stderr(Some(4)),
            Event::End,
        ];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn an_event_that_breaks_off_never_came() {
        assert_eq!(events("event: end\ndata: {\"state\":\"ended\"}\n"), []);
        assert_eq!(events("id: 2\nevent: stdout\ndata: \"3"), []);
        let mut broken = Events::new(BufReader::new(&b"event: stdout\ndata: {\n\n"[..]));
        assert!(broken.next().is_err());
    }
}
