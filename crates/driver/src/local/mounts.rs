//! Where the sandboxes see the volumes and their own folders.

/// Mount point of the Python volume in every sandbox.
pub const PYTHON_MOUNT: &str = "/cache/python";
/// Mount point of the store in every sandbox.
pub const NIX_MOUNT: &str = "/nix";
/// Mount point of an environment that is not published yet. Its own folder is renamed while the task runs.
pub const STAGED_MOUNT: &str = "/cache/staged";
/// Where a preparation sees what builds have left for it.
pub const BUILDS_MOUNT: &str = "/hybrid-cache/builds";
/// Where the runner leaves the files of a build, out of reach of the program that made them.
pub const BUILD_OUT_MOUNT: &str = "/hybrid-cache/out";
/// The task's own folder.
pub const SCRATCH: &str = "/tmp/task";
/// The search path after those of the environments.
pub const BASE_PATH: &str = "/hybrid-cache/bin";
/// The runner.
pub const RUNNER: &str = "/hybrid-cache/runner";
