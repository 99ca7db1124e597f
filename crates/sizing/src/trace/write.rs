//! Writes a trace. Later lines only name what an earlier line has described.

use std::collections::HashSet;

use super::{Definition, Header, PartLine, RequestLine, Volume};

/// Converts requests to lines. The caller appends them to a file and creates a new writer for each new file.
#[derive(Debug, Default)]
pub struct Writer {
    environments: [HashSet<String>; 2],
    parts: [HashSet<String>; 2],
}

impl Writer {
    /// The first line of a file, without its line break.
    ///
    /// # Errors
    /// Never: the types can always be written as JSON.
    pub fn header(&mut self, mut header: Header) -> Result<String, serde_json::Error> {
        for (volume, resident) in [
            (Volume::Python, &mut header.python),
            (Volume::System, &mut header.system),
        ] {
            for environment in resident.iter_mut().flat_map(|resident| &mut resident.environments) {
                self.environments[volume.index()].insert(environment.environment.clone());
                self.shorten(volume, &mut environment.made_of);
            }
        }
        serde_json::to_string(&header)
    }

    /// True if a line of this file defines the environment, so that the next line may omit the definition.
    pub fn knows(&self, volume: Volume, environment: &str) -> bool {
        self.environments[volume.index()].contains(environment)
    }

    /// A line for a request, without its line break. Definitions from earlier lines are omitted.
    ///
    /// # Errors
    /// Never: the types can always be written as JSON.
    pub fn request(&mut self, mut line: RequestLine) -> Result<String, serde_json::Error> {
        for (volume, asked) in [(Volume::Python, &mut line.python), (Volume::System, &mut line.system)] {
            let Some(asked) = asked else { continue };
            if self.knows(volume, &asked.environment) {
                asked.made_of = None;
            }
            if let Some(made_of) = &mut asked.made_of {
                self.environments[volume.index()].insert(asked.environment.clone());
                self.shorten(volume, made_of);
            }
        }
        serde_json::to_string(&line)
    }

    fn shorten(&mut self, volume: Volume, made_of: &mut Definition) {
        for part in &mut made_of.parts {
            if let PartLine::New(id, ..) = part
                && !self.parts[volume.index()].insert(id.clone())
            {
                *part = PartLine::Known(id.clone());
            }
        }
    }
}
