//! Console scripts of popular packages that have to run in a sandbox and in a pod.

/// The package, the call of its script, and what its first line of output has.
pub const SCRIPTS: [(&str, &[&str], &str); 20] = [
    ("alembic", &["alembic", "--version"], "alembic "),
    ("black", &["black", "--version"], "black, "),
    ("coverage", &["coverage", "--version"], "Coverage.py"),
    ("cowsay", &["cowsay", "-t", "moo"], "___"),
    ("django", &["django-admin", "--version"], "."),
    ("flake8", &["flake8", "--version"], "pyflakes"),
    ("flask", &["flask", "--version"], "Python 3"),
    ("flit", &["flit", "--version"], "Flit"),
    ("gunicorn", &["gunicorn", "--version"], "gunicorn"),
    ("httpie", &["http", "--version"], "."),
    ("isort", &["isort", "--version-number"], "."),
    ("markdown", &["markdown_py", "--version"], "markdown"),
    ("mypy", &["mypy", "--version"], "mypy "),
    ("pygments", &["pygmentize", "-V"], "Pygments version"),
    ("pylint", &["pylint", "--version"], "pylint "),
    ("pytest", &["pytest", "--version"], "pytest "),
    ("ruff", &["ruff", "--version"], "ruff "),
    ("tqdm", &["tqdm", "--version"], "."),
    ("uvicorn", &["uvicorn", "--version"], "uvicorn"),
    ("yt-dlp", &["yt-dlp", "--version"], "."),
];

/// A program that makes the call, with a stranger's `python` in the current folder, and prints the first line.
pub fn program(call: &[&str]) -> String {
    format!(
        "import os, subprocess\n\
         open('python', 'w').write('#!/bin/sh\\necho stranger\\n')\n\
         os.chmod('python', 0o755)\n\
         said = subprocess.run({call:?}, capture_output=True, text=True, timeout=60)\n\
         told = (said.stdout or said.stderr).strip()\n\
         print(told.splitlines()[0] if said.returncode == 0 and told else said)\n"
    )
}
