//! Reads a task's output as server-sent events. The length of a line and of an event is bounded.

use std::io::{self, BufRead, BufReader, Read};

use crate::events::{EndEvent, StreamName};

/// Longest line and longest event that is read, in bytes. The service sends far shorter ones.
const MAX_BYTES: usize = 16 << 20;

/// One event of a task's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of output.
    Output {
        /// The stream it is from.
        stream: StreamName,
        /// The text; bytes that are not UTF-8 are replaced.
        text: String,
        /// Bytes of both streams up to its end: pass it as `from` to continue after this event. `None` if the service
        /// does not say.
        next: Option<u64>,
    },
    /// The task has ended; no event follows.
    End(EndEvent),
}

/// The events of one connection. Dropping it closes the connection.
pub struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
}

#[derive(Default)]
struct Fields {
    event: String,
    data: String,
    id: Option<u64>,
}

impl Events {
    pub(crate) fn new(body: impl Read + Send + 'static) -> Events {
        Events {
            lines: BufReader::new(Box::new(body)),
        }
    }

    /// Waits for the next event. `None` means that the stream ended before the task did: follow again from the last
    /// `next`.
    ///
    /// # Errors
    /// The connection broke, was silent for too long, or the response is not a stream of events.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        let mut fields = Fields::default();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if !line.is_empty() {
                fields.take(&line)?;
                continue;
            }
            if let Some(event) = std::mem::take(&mut fields).event()? {
                return Ok(Some(event));
            }
        }
    }

    /// Reads the response to its end, so that the connection can be used again.
    pub fn finish(mut self) {
        // If it fails, the next request opens another connection.
        let _ = io::copy(&mut self.lines.by_ref().take(MAX_BYTES as u64), &mut io::sink());
    }

    /// A whole line without its end; `None` at the end of the stream, and for a line that breaks off there.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.lines
            .by_ref()
            .take(MAX_BYTES as u64)
            .read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            if line.len() + 1 >= MAX_BYTES {
                return Err(too_long());
            }
            return Ok(None);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("an event has more than {MAX_BYTES} bytes"),
    )
}

impl Fields {
    /// Takes one line. Comments, `retry` and unknown fields mean nothing here.
    fn take(&mut self, line: &str) -> io::Result<()> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.data.len() + value.len() > MAX_BYTES {
                    return Err(too_long());
                }
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = value.parse().ok(),
            _ => {}
        }
        Ok(())
    }

    fn event(self) -> io::Result<Option<Event>> {
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if self.event == "end" {
            return Ok(Some(Event::End(serde_json::from_str(&self.data).map_err(malformed)?)));
        }
        let Some(stream) = StreamName::parse(&self.event) else {
            return Ok(None);
        };
        Ok(Some(Event::Output {
            stream,
            text: serde_json::from_str(&self.data).map_err(malformed)?,
            next: self.id,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndName, StateName};

    fn events(text: &'static str) -> Vec<Event> {
        let mut events = Events::new(text.as_bytes());
        std::iter::from_fn(|| events.next_event().unwrap()).collect()
    }

    fn output(stream: StreamName, text: &str, next: u64) -> Event {
        Event::Output {
            stream,
            text: text.to_owned(),
            next: Some(next),
        }
    }

    #[test]
    fn output_and_the_end_are_events_and_comments_are_not() {
        let text = "retry: 1000\n\n: still here\n\nid: 2\nevent: stdout\ndata: \"3\\n\"\n\nid: 4\r\nevent: stderr\r\ndata: \"!\"\r\n\r\n\
                    event: new\ndata: 1\n\nevent: end\ndata: {\"end\":\"exited\",\"exitCode\":0,\"state\":\"ended\"}\n\n";
        let end = EndEvent {
            end: Some(EndName::Exited),
            exit_code: Some(0),
            state: StateName::Ended,
        };
        let expected = [
            output(StreamName::Stdout, "3\n", 2),
            output(StreamName::Stderr, "!", 4),
            Event::End(end),
        ];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn an_event_that_breaks_off_is_not_delivered() {
        assert_eq!(events("event: end\ndata: {\"state\":\"ended\"}\n"), []);
        assert_eq!(events("id: 2\nevent: stdout\ndata: \"3"), []);
        let mut broken = Events::new(&b"event: stdout\ndata: {\n\n"[..]);
        assert!(broken.next_event().is_err());
    }

    #[test]
    fn data_of_several_lines_is_joined_by_line_breaks() {
        let text = "event: stdout\ndata: \ndata: \"a\"\n\n";
        assert!(matches!(&events(text)[..], [Event::Output { text, .. }] if text == "a"));
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_refused() {
        let mut line = Events::new(io::repeat(b'a'));
        assert_eq!(line.next_event().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let piece = format!("data: {}\n", "b".repeat(1 << 20));
        let lines = piece.repeat(MAX_BYTES / (1 << 20) + 1);
        let mut event = Events::new(io::Cursor::new(lines));
        assert_eq!(event.next_event().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
