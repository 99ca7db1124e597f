//! Limits of tasks that run on this machine.

use clap::Args;
use hybrid_cache_model::protocol::Limits;

/// Bounds on each task; on a cluster the resources of its pod count.
#[derive(Clone, Debug, Default, Args)]
pub struct Bounds {
    /// Let a task's /tmp, its working folder included, hold at most SIZE [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = hybrid_cache_model::quantity::parse_size, global = true)]
    pub tmp_size: Option<u64>,
    /// Keep at most SIZE of a task's standard output, and of its standard error, also on a cluster [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = hybrid_cache_model::quantity::parse_size, global = true)]
    pub output_size: Option<u64>,
    /// Let a task's /dev/shm hold at most SIZE [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = hybrid_cache_model::quantity::parse_size, global = true)]
    pub shm_size: Option<u64>,
    /// Let a task use at most SIZE of memory, files in /tmp and /dev/shm included [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = hybrid_cache_model::quantity::parse_size, global = true)]
    pub memory: Option<u64>,
    /// Let a task have at most N processes and threads [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(8..=4_194_304), global = true)]
    pub max_processes: Option<u64>,
    /// Let each process of a task have at most N open files [default: 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(32..=1_048_576), global = true)]
    pub max_open_files: Option<u64>,
}

impl Bounds {
    /// The limits of a task, with defaults for what is not given.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            tmp_bytes: self.tmp_size.unwrap_or(default.tmp_bytes),
            output_bytes: self.output_size.unwrap_or(default.output_bytes),
            shm_bytes: self.shm_size.unwrap_or(default.shm_bytes),
            memory_bytes: self.memory.unwrap_or(default.memory_bytes),
            processes: self.max_processes.unwrap_or(default.processes),
            open_files: self.max_open_files.unwrap_or(default.open_files),
            ..default
        }
    }
}
