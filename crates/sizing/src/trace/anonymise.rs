//! Removes the names from a trace: keys, parts and tenants become numbers in the order in which they appear, and labels are
//! removed.
//!
//! Sizes, times and results stay, so the recommendation is the same. Unlike a hash, a number cannot be reversed by guessing.

use std::collections::HashMap;

use super::{Definition, Header, PartLine, RequestLine, UseLine, Volume};

/// Replaces the names of one trace. The same name always becomes the same number.
#[derive(Debug, Default)]
pub struct Anonymiser {
    numbers: HashMap<(&'static str, String), usize>,
}

impl Anonymiser {
    /// A header without names.
    pub fn header(&mut self, mut header: Header) -> Header {
        for (volume, resident) in [
            (Volume::Python, &mut header.python),
            (Volume::System, &mut header.system),
        ] {
            for one in resident.iter_mut().flat_map(|resident| &mut resident.environments) {
                self.rename(environment(volume), &mut one.environment);
                self.definition(volume, &mut one.made_of);
            }
        }
        header
    }

    /// A request without names.
    pub fn request(&mut self, mut line: RequestLine) -> RequestLine {
        if !line.tenant.is_empty() {
            self.rename("tenant-", &mut line.tenant);
        }
        for (volume, asked) in [(Volume::Python, &mut line.python), (Volume::System, &mut line.system)] {
            if let Some(UseLine {
                request,
                environment: key,
                made_of,
                ..
            }) = asked
            {
                self.rename(
                    match volume {
                        Volume::Python => "request-",
                        Volume::System => "system-request-",
                    },
                    request,
                );
                self.rename(environment(volume), key);
                if let Some(made_of) = made_of {
                    self.definition(volume, made_of);
                }
            }
        }
        line
    }

    fn definition(&mut self, volume: Volume, made_of: &mut Definition) {
        made_of.label.clear();
        let kind = match volume {
            Volume::Python => "part-",
            Volume::System => "path-",
        };
        for part in &mut made_of.parts {
            let (PartLine::New(id, ..) | PartLine::Known(id)) = part;
            self.rename(kind, id);
        }
    }

    fn rename(&mut self, kind: &'static str, name: &mut String) {
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry((kind, std::mem::take(name))).or_insert(next);
        *name = format!("{kind}{number}");
    }
}

fn environment(volume: Volume) -> &'static str {
    match volume {
        Volume::Python => "environment-",
        Volume::System => "set-",
    }
}
