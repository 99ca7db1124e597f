//! Writes a trace. What a line has described, later lines only name.

use std::collections::HashSet;

use super::{Definition, Header, PartLine, RequestLine, Volume};

/// Turns requests into lines. The caller appends them to a file and begins a new writer with each new file.
#[derive(Debug, Default)]
pub struct Writer {
    environments: [HashSet<String>; 2],
    parts: [HashSet<String>; 2],
}

impl Writer {
    /// The first line of a file, without its line break.
    ///
    /// # Errors
    /// Never: the types have no form that JSON lacks.
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

    /// True if a line of this file says what the environment is made of, so that the next one may leave it out.
    pub fn knows(&self, volume: Volume, environment: &str) -> bool {
        self.environments[volume.index()].contains(environment)
    }

    /// A line for a request, without its line break. What earlier lines defined is left out.
    ///
    /// # Errors
    /// Never: the types have no form that JSON lacks.
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
