//! The Python that environments are made for: the real executable behind `python3`, not a shim or a virtual environment.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hybrid_cache_model::python_start::{COMPILE, SITECUSTOMIZE};
use serde::{Deserialize, Serialize};

use crate::process;
use crate::tool_error::ToolError;

/// The oldest Python that tasks are supported on.
const OLDEST: (u32, u32) = (3, 10);

/// An interpreter, described by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PythonInterpreter {
    /// The base executable.
    pub path: PathBuf,
    /// The installation it belongs to; it must be visible wherever the interpreter runs.
    pub base_prefix: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// `cpython`.
    pub implementation: String,
    /// `cpython-311-x86_64-linux-gnu`.
    pub soabi: String,
    /// `cpython-311`: the middle of a bytecode file's name.
    pub cache_tag: String,
    /// `linux-x86_64`.
    pub platform: String,
    /// `glibc 2.36`; empty for another C library.
    #[serde(default)]
    pub libc: String,
    /// Digest of the executable's bytes.
    #[serde(default)]
    pub blake3: String,
    /// Its bytecode of what tasks run at their start, in Base64.
    #[serde(default)]
    pub start: String,
}

const PROBE: &str = "
import json, os, sys, sysconfig
try:
    libc = os.confstr('CS_GNU_LIBC_VERSION') or ''
except (ValueError, OSError):
    libc = ''
print(json.dumps({
    'path': os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable),
    'base_prefix': os.path.realpath(sys.base_prefix),
    'version': '.'.join(map(str, sys.version_info[:3])),
    'implementation': sys.implementation.name,
    'soabi': sysconfig.get_config_var('SOABI') or '',
    'cache_tag': sys.implementation.cache_tag or '',
    'platform': sysconfig.get_platform(),
    'libc': libc,
}))
";

/// Asks `python3` of PATH who it is, and checks that it will do.
pub fn find() -> Result<PythonInterpreter, ToolError> {
    let remedy = format!(
        "install CPython {}.{} or later and put its python3 into PATH",
        OLDEST.0, OLDEST.1
    );
    let lacking = |problem: String| ToolError::Unavailable {
        tool: "python3",
        problem,
        remedy: remedy.clone(),
    };
    let program = process::find("python3").ok_or_else(|| lacking("PATH has no `python3`".into()))?;
    let text = process::output(Command::new(program).args(["-I", "-c", PROBE]), Duration::from_secs(20))?;
    let mut found: PythonInterpreter =
        serde_json::from_str(&text).map_err(|e| lacking(format!("its answer is not understood: {e}")))?;
    let mut numbers = found.version.split('.').filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found.implementation != "cpython" || version < OLDEST {
        return Err(lacking(format!(
            "the python3 in PATH is {} {}",
            found.implementation, found.version
        )));
    }
    found.blake3 = digest(&found.path)?;
    let mut compile = Command::new(&found.path);
    compile.args(["-I", "-c", COMPILE, SITECUSTOMIZE]);
    found.start = process::output(&mut compile, Duration::from_secs(20))?
        .trim()
        .to_owned();
    Ok(found)
}

fn digest(path: &Path) -> Result<String, ToolError> {
    let bytes = std::fs::read(path).map_err(ToolError::io("read", path))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}
