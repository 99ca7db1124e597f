//! The command line of the container's program. It has few flags: settings are files in a manifest.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_driver::kube::Reach;
use hybrid_cache_driver::trace::DEFAULT_MAX_BYTES;
use hybrid_cache_model::quantity::parse_size;
use hybrid_cache_service::host::Settings;
use lexopt::{Arg, Parser, ValueExt};

pub const USAGE: &str = "\
usage: hybrid-cache-service --driver-config FILE [flag]...    serve tasks that run on a cluster
       hybrid-cache-service --probe ADDRESS                   check whether a service there accepts tasks

  --driver-config FILE   read namespace, image, claims, bounds and network from FILE, which `cargo xtask up` writes
  --kubeconfig FILE      reach the cluster with FILE [default: as a pod of the cluster]
  --listen ADDRESS       listen on ADDRESS [default: 127.0.0.1:8000]; an address that others can reach needs --token-file
  --token-file FILE      require the token in FILE, or one of its lines `TENANT TOKEN`; only its owner may read FILE
  --host NAME            accept NAME as the Host header; may be repeated [default: any name, with a token]
  --data-dir DIR         store tasks and their output in DIR [default: /data]
  --max-running N        run at most N tasks at the same time [default: 16]
  --max-queued N         let at most N tasks of one tenant wait [default: 1000]
  --retain-days DAYS     delete ended tasks after DAYS [default: 30]
  --retain-tasks N       keep at most N ended tasks of each tenant [default: 100000]
  --retain-size SIZE     keep at most SIZE of output and database, such as 20GiB [default: a tenth of the volume]
  --retain-saved HOURS   delete tasks that no client has run after HOURS [default: 24]
  --trace-size SIZE      record at most SIZE of requests for `cargo xtask size`; 0 records none [default: 64MiB]
  --output-size SIZE     keep at most SIZE of a task's standard output, and of its standard error [default: 16MiB]
  --timeout SECONDS      end a task's program after SECONDS, with SIGTERM and 5 s later SIGKILL [default: 600]
  --grace SECONDS        give tasks that end with this process SECONDS at shutdown [default: 10]; tasks on a cluster go on";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the flags.
    Help,
    /// Print the version.
    Version,
    /// Check whether another process serves at this address.
    Probe(SocketAddr),
    /// Serve.
    Serve(Box<Serve>),
}

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    pub driver_config: PathBuf,
    pub reach: Reach,
    pub listen: SocketAddr,
    pub token_file: Option<PathBuf>,
    pub names: Vec<String>,
    pub data_dir: PathBuf,
    pub settings: Settings,
    pub trace_bytes: u64,
    pub grace: Duration,
}

/// Parses the command line.
///
/// # Errors
/// A flag is unknown, lacks its value, or has an invalid one.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut driver_config = None;
    let mut serve = Serve {
        driver_config: PathBuf::new(),
        reach: Reach::Inside,
        listen: ([127, 0, 0, 1], 8000).into(),
        token_file: None,
        names: Vec::new(),
        data_dir: "/data".into(),
        settings: Settings::on_cluster(),
        trace_bytes: DEFAULT_MAX_BYTES,
        grace: Duration::from_secs(10),
    };
    let settings = &mut serve.settings;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Long("probe") => return Ok(Command::Probe(parser.value()?.parse()?)),
            Arg::Long("driver-config") => driver_config = Some(parser.value()?.into()),
            Arg::Long("kubeconfig") => serve.reach = Reach::Kubeconfig(parser.value()?.into()),
            Arg::Long("listen") => serve.listen = parser.value()?.parse()?,
            Arg::Long("token-file") => serve.token_file = Some(parser.value()?.into()),
            Arg::Long("host") => serve.names.push(parser.value()?.string()?),
            Arg::Long("data-dir") => serve.data_dir = parser.value()?.into(),
            Arg::Long("max-running") => settings.running = number(&mut parser, 1, 1000)?,
            Arg::Long("max-queued") => settings.queued = number(&mut parser, 1, 1_000_000)?,
            Arg::Long("retain-days") => settings.retain_days = number(&mut parser, 1, 36_500)?,
            Arg::Long("retain-tasks") => settings.retain_tasks = number(&mut parser, 1, 10_000_000)?,
            Arg::Long("retain-size") => settings.retain_bytes = Some(parse_size(&parser.value()?.string()?)?),
            Arg::Long("retain-saved") => settings.retain_saved_hours = number(&mut parser, 1, 876_000)?,
            Arg::Long("trace-size") => serve.trace_bytes = parse_size(&parser.value()?.string()?)?,
            Arg::Long("output-size") => settings.output_bytes = parse_size(&parser.value()?.string()?)?,
            Arg::Long("timeout") => settings.timeout_s = number(&mut parser, 1, 604_800)?,
            Arg::Long("grace") => serve.grace = Duration::from_secs(number(&mut parser, 0, 3600)?),
            _ => return Err(argument.unexpected()),
        }
    }
    serve.driver_config = driver_config.ok_or("--driver-config is missing; `cargo xtask up` writes such a file")?;
    Ok(Command::Serve(Box::new(serve)))
}

fn number<T: TryFrom<u64>>(parser: &mut Parser, least: u64, most: u64) -> Result<T, lexopt::Error> {
    let value: u64 = parser.value()?.parse()?;
    let fits = (least..=most)
        .contains(&value)
        .then(|| T::try_from(value).ok())
        .flatten();
    Ok(fits.ok_or_else(|| format!("{value} is not between {least} and {most}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_documented_flag_is_accepted() {
        let line = "--driver-config /d --kubeconfig /k --listen 0.0.0.0:80 --token-file /t --host a --host b \
                    --data-dir /x --max-running 1 --max-queued 2 --retain-days 3 --retain-tasks 4 --retain-size 1GiB \
                    --retain-saved 6 --trace-size 2MiB --output-size 3MiB --timeout 5 \
                    --grace 0";
        let Command::Serve(serve) = parsed(line).unwrap() else {
            panic!("it serves");
        };
        assert_eq!(serve.reach, Reach::Kubeconfig("/k".into()));
        assert_eq!(serve.names, ["a", "b"]);
        assert_eq!((serve.settings.running, serve.settings.timeout_s), (1, 5));
        assert_eq!(serve.settings.output_bytes, 3 << 20);
        assert_eq!(
            (serve.settings.retain_bytes, serve.trace_bytes),
            (Some(1 << 30), 2 << 20)
        );
        let options = USAGE.lines().filter_map(|line| line.trim().strip_prefix("--"));
        for flag in options.filter_map(|line| line.split_whitespace().next()) {
            assert!(line.contains(&format!("--{flag} ")), "{flag}");
        }
    }

    #[test]
    fn an_invalid_flag_is_named() {
        for (line, what) in [
            ("", "--driver-config"),
            ("--driver-config /d --retain-day 3", "--retain-day"),
            ("--driver-config /d --retain-size 1parsec", "parsec"),
            ("--driver-config /d --max-running 0", "between 1 and 1000"),
            ("--driver-config /d --listen here", "here"),
            ("--driver-config", "--driver-config"),
            ("--driver-config /d more", "more"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
