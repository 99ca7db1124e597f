//! Options of `completions`.

use clap::{Args, ValueEnum};

/// `completions`
#[derive(Clone, Copy, Debug, Args)]
pub struct Completions {
    /// Shell that reads the script
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: ShellName,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShellName {
    /// Source the script in ~/.bashrc
    Bash,
    /// Save it as _cargo-xtask in a folder of fpath
    Zsh,
    /// Save it in ~/.config/fish/conf.d
    Fish,
}
