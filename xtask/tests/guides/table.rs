//! How a command of the guides is tried; `rows.rs` has a row for each of them, word for word.

/// One command, and what it must come to.
pub struct Row {
    /// As the pages show it, without prompt and comment.
    pub command: &'static str,
    pub way: Way,
    /// Placeholders and times of the page, each with what stands in its place here.
    pub given: &'static [(&'static str, &'static str)],
    /// Options that make it shorter, or write into the scratch folder.
    pub with: &'static str,
    pub codes: &'static [i32],
    /// A part of what it prints, on either stream.
    pub printed: &'static str,
    /// It goes on until it is ended, which happens once it has printed its part.
    pub goes_on: bool,
    pub needs: &'static [Need],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Here, in the scratch folder, with caches of the test's own.
    Local(Lane),
    /// Here, against the service that the row with [`Way::Serves`] starts.
    Service,
    /// The service itself.
    Serves,
    /// On the cluster that the tests have; skipped without one.
    Cluster,
    /// A line that sets a variable or changes the folder: it runs before each line of its block that follows.
    Setting,
    /// Not here, and why.
    Elsewhere(&'static str),
}

/// Rows of different lanes share nothing and run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Tasks,
    Trials,
    Hera,
}

/// What a row does not work without. Where it is missing, the row is skipped, which the test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program.
    Program(&'static str),
    /// The tools make system packages.
    Nix,
    /// This checkout has its history.
    Git,
    /// This process may mount.
    Root,
    /// pip found an index.
    Hera,
    /// The tests' cluster has Argo.
    Argo,
}

pub const fn row(command: &'static str, way: Way, printed: &'static str) -> Row {
    Row {
        command,
        way,
        given: &[],
        with: "",
        codes: &[0],
        printed,
        goes_on: false,
        needs: &[],
    }
}

pub const fn local(command: &'static str, printed: &'static str) -> Row {
    row(command, Way::Local(Lane::Tasks), printed)
}

pub const fn trial(command: &'static str, printed: &'static str) -> Row {
    row(command, Way::Local(Lane::Trials), printed)
}

pub const fn hera(command: &'static str, printed: &'static str) -> Row {
    row(command, Way::Local(Lane::Hera), printed)
}

pub const fn service(command: &'static str, printed: &'static str) -> Row {
    row(command, Way::Service, printed)
}

pub const fn cluster(command: &'static str, printed: &'static str) -> Row {
    row(command, Way::Cluster, printed)
}

pub const fn setting(command: &'static str) -> Row {
    row(command, Way::Setting, "")
}

pub const fn elsewhere(command: &'static str, why: &'static str) -> Row {
    row(command, Way::Elsewhere(why), "")
}

impl Row {
    pub const fn given(self, given: &'static [(&'static str, &'static str)]) -> Row {
        Row { given, ..self }
    }

    pub const fn with(self, with: &'static str) -> Row {
        Row { with, ..self }
    }

    pub const fn codes(self, codes: &'static [i32]) -> Row {
        Row { codes, ..self }
    }

    pub const fn until(self, printed: &'static str) -> Row {
        Row {
            printed,
            goes_on: true,
            ..self
        }
    }

    pub const fn needs(self, needs: &'static [Need]) -> Row {
        Row { needs, ..self }
    }
}

/// The call that the page describes in a sentence.
pub const fn metrics_call() -> Row {
    row("curl -s http://localhost:8000/metrics", Way::Service, "")
}
