//! The command lines of what people use instead of hybrid-cache. Pure, so that a test holds each of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::{PackageSource, PythonTools};
use hybrid_cache_model::sample::Peer;

use super::tools::{AlternativeTools, NixShell};
use crate::peer::{program_variables, uv_variables};

/// Settings of Nix: those of the runner's builds, so that both make the same store paths.
const NIX_SETTINGS: &str = "experimental-features = nix-command flakes\nbuild-users-group =\nsandbox = false\nsandbox-paths =\n\
                            flake-registry =\naccept-flake-config = false\n";

/// One program to start, in an environment that holds nothing else. There is no `Debug`: variables may hold a password.
#[derive(Clone)]
pub struct CommandLine {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub variables: Vec<(String, String)>,
}

/// What a peer starts.
#[derive(Clone)]
pub struct CommandLines {
    /// Before the first run; not measured.
    pub once: Vec<CommandLine>,
    /// In each run, one after the other; the last one runs the program.
    pub each: Vec<CommandLine>,
}

/// What a peer works with.
pub struct Workplace<'a> {
    pub tools: &'a AlternativeTools,
    /// Its own folder, with its caches.
    pub folder: &'a Path,
    pub interpreter: &'a Path,
    /// Python packages with their versions, `name==version`, as our own run resolved them.
    pub pins: &'a [String],
    /// Names of system packages.
    pub packages: &'a [String],
}

impl CommandLine {
    fn new(program: &Path, variables: Vec<(String, String)>) -> CommandLine {
        CommandLine {
            program: program.to_owned(),
            arguments: Vec::new(),
            variables,
        }
    }

    fn args(mut self, arguments: &[&str]) -> CommandLine {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    fn path(mut self, path: &Path) -> CommandLine {
        self.arguments.push(path.into());
        self
    }
}

impl Workplace<'_> {
    /// The program, which names its packages if it is a script of `uv run`.
    pub fn program(&self) -> PathBuf {
        self.folder.join("main.py")
    }

    /// The packages as a requirements file.
    pub fn requirements(&self) -> PathBuf {
        self.folder.join("requirements.txt")
    }

    /// The virtual environment that each run makes anew.
    pub fn environment(&self) -> PathBuf {
        self.folder.join("environment")
    }

    /// The text of the program: `code`, behind its packages if the peer reads them there.
    pub fn program_text(&self, peer: Peer, code: &str) -> String {
        if peer != Peer::UvRunScript {
            return code.to_owned();
        }
        let pins: Vec<String> = self.pins.iter().map(|pin| format!("#     {pin:?},\n")).collect();
        format!("# /// script\n# dependencies = [\n{}# ]\n# ///\n{code}", pins.concat())
    }

    /// What a peer starts; `None` if it is not one of [`Peer::ALTERNATIVES`], or its tool is missing.
    pub fn command_lines(&self, peer: Peer) -> Option<CommandLines> {
        let each = match peer {
            Peer::PipVenv => self.pip(),
            Peer::UvVenv => self.uv_venv(),
            Peer::UvRunWith => vec![self.uv_run_with()],
            Peer::UvRunScript => vec![
                self.uv()
                    .args(&["run", "--no-build", "--python"])
                    .path(self.interpreter)
                    .args(&["--script"])
                    .path(&self.program()),
            ],
            Peer::PexVenv => return self.pex(),
            Peer::NixShell => vec![self.nix_shell(self.tools.nix.as_ref()?)?],
            _ => return None,
        };
        Some(CommandLines { once: Vec::new(), each })
    }

    fn pip(&self) -> Vec<CommandLine> {
        let python = self.environment().join("bin/python");
        let mut variables = self.variables();
        variables.extend(pip_variables(&self.tools.python));
        variables.push(("PIP_CACHE_DIR".to_owned(), self.inside("cache")));
        let make = CommandLine::new(self.interpreter, self.variables())
            .args(&["-m", "venv"])
            .path(&self.environment());
        let install = CommandLine::new(&python, variables)
            .args(&["-m", "pip", "install", "--only-binary=:all:", "--requirement"])
            .path(&self.requirements());
        vec![make, install, self.python(&python)]
    }

    fn uv_venv(&self) -> Vec<CommandLine> {
        let python = self.environment().join("bin/python");
        let make = self
            .uv()
            .args(&["venv", "--python"])
            .path(self.interpreter)
            .path(&self.environment());
        let install = self
            .uv()
            .args(&["pip", "install", "--no-build", "--python"])
            .path(&python)
            .args(&["--requirement"])
            .path(&self.requirements());
        vec![make, install, self.python(&python)]
    }

    fn uv_run_with(&self) -> CommandLine {
        let line = self
            .uv()
            .args(&["run", "--no-project", "--no-build", "--python"])
            .path(self.interpreter);
        let with = |line: CommandLine, pin: &String| line.args(&["--with", pin]);
        self.pins.iter().fold(line, with).path(&self.program())
    }

    fn pex(&self) -> Option<CommandLines> {
        let file = self.folder.join("app.pex");
        let mut variables = self.variables();
        variables.extend(pip_variables(&self.tools.python));
        let pex = self.tools.pex.as_ref()?;
        variables.extend([
            ("PYTHONPATH".to_owned(), pex.library.display().to_string()),
            ("PEX_ROOT".to_owned(), self.inside("pex")),
        ]);
        let make = CommandLine::new(&pex.interpreter, variables)
            .args(&["-m", "pex", "--venv", "--sh-boot", "--use-pip-config", "--no-build"])
            .args(&["--python"])
            .path(self.interpreter)
            .args(&["--python-shebang"])
            .path(self.interpreter)
            .args(&["--output-file"])
            .path(&file)
            .args(&["--requirement"])
            .path(&self.requirements());
        let mut variables = self.variables();
        variables.push(("PEX_ROOT".to_owned(), self.inside("pex")));
        Some(CommandLines {
            once: vec![make],
            each: vec![CommandLine::new(&file, variables).path(&self.program())],
        })
    }

    /// `nix shell` with a store of its own. Nix finds it at `/nix`, which bubblewrap puts there, because this machine may have no
    /// such folder; everything else is as outside.
    fn nix_shell(&self, nix: &NixShell) -> Option<CommandLine> {
        let (program, before) = nix.bubblewrap.split_first()?;
        let mut variables = self.variables();
        variables.extend(nix.tools.variables.iter().cloned());
        let mut settings = NIX_SETTINGS.to_owned();
        if matches!(nix.tools.source, PackageSource::Debnix { .. }) {
            settings.push_str("substituters =\n");
        }
        variables.extend([
            ("USER".to_owned(), "nix".to_owned()),
            ("NIX_CONFIG".to_owned(), settings),
        ]);
        let mut line = CommandLine::new(Path::new(program), variables);
        line.arguments.extend(before.iter().map(OsString::from));
        for folder in &nix.root_folders {
            line = line.args(&["--dev-bind"]).path(folder).path(folder);
        }
        line = line
            .args(&["--proc", "/proc", "--bind"])
            .path(&self.folder.join("nix"))
            .args(&["/nix"])
            .path(&nix.program)
            .args(&["shell"]);
        line = match &nix.tools.source {
            PackageSource::Nixpkgs { flake } => {
                let add = |line: CommandLine, package: &String| line.args(&[&format!("{flake}#{package}")]);
                self.packages.iter().fold(line, add)
            }
            PackageSource::Debnix {
                folder,
                mirrors,
                busybox,
            } => {
                let packages: Vec<&str> = self.packages.iter().map(String::as_str).collect();
                line.args(&["--file"])
                    .path(&Path::new(folder).join("default.nix"))
                    .args(&packages)
                    .args(&["--argstr", "mirror", mirrors.first()?.trim_end_matches('/')])
                    .args(&["--argstr", "busybox", busybox])
            }
        };
        Some(line.args(&["--command"]).path(self.interpreter).path(&self.program()))
    }

    /// The program in an environment.
    fn python(&self, python: &Path) -> CommandLine {
        CommandLine::new(python, self.variables()).path(&self.program())
    }

    fn uv(&self) -> CommandLine {
        let mut variables = self.variables();
        variables.extend(uv_variables(&self.tools.python, self.folder));
        CommandLine::new(Path::new(&self.tools.python.uv), variables)
    }

    /// What the runner also sets for a program. Bytecode may be written, as everywhere outside of our sandbox.
    fn variables(&self) -> Vec<(String, String)> {
        let mut variables = program_variables(&self.folder.join("home"), self.tools.threads);
        variables.push(("TMPDIR".to_owned(), self.inside("tmp")));
        variables
    }

    fn inside(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// The settings of the index that uv gets, in pip's words. pip's files are not read: these settings come from them.
fn pip_variables(tools: &PythonTools) -> Vec<(String, String)> {
    let mut variables = vec![
        ("PIP_CONFIG_FILE".to_owned(), "/dev/null".to_owned()),
        ("PIP_DISABLE_PIP_VERSION_CHECK".to_owned(), "1".to_owned()),
        ("PIP_NO_INPUT".to_owned(), "1".to_owned()),
    ];
    for (name, value) in &tools.variables {
        // uv takes commas, and a name before an address.
        let blanks = value.replace(',', " ");
        let unnamed = |word: &str| match word.split_once('=') {
            Some((label, address)) if !label.contains("://") => address.to_owned(),
            _ => word.to_owned(),
        };
        let addresses: Vec<String> = blanks.split_whitespace().map(unnamed).collect();
        let translated = match name.as_str() {
            "UV_DEFAULT_INDEX" => ("PIP_INDEX_URL", addresses.join(" ")),
            "UV_INDEX" => ("PIP_EXTRA_INDEX_URL", addresses.join(" ")),
            "UV_FIND_LINKS" => ("PIP_FIND_LINKS", blanks),
            "UV_INSECURE_HOST" => ("PIP_TRUSTED_HOST", blanks),
            "UV_NO_INDEX" => ("PIP_NO_INDEX", value.clone()),
            "SSL_CERT_FILE" => ("PIP_CERT", value.clone()),
            _ => (name.as_str(), value.clone()),
        };
        if !translated.0.starts_with("UV_") {
            variables.push((translated.0.to_owned(), translated.1));
        }
    }
    variables
}

#[cfg(test)]
mod tests;
