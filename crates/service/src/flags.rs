//! The command line of the container's program. Few flags, for manifests rather than for people.

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
usage: hybrid-cache-service --driver-config FILE [flag]...    serves tasks that run on a cluster
       hybrid-cache-service --probe ADDRESS                   asks a service there whether it takes tasks

  --driver-config FILE   what `cargo xtask up` writes as driver.json: namespace, image, claims, bounds, network
  --kubeconfig FILE      how to reach the cluster [default: as a pod of it]
  --listen ADDRESS       [default: 127.0.0.1:8000]; any but this machine's own needs --token-file
  --token-file FILE      the token which clients must send, or a line `TENANT TOKEN` for each tenant; for its owner alone
  --host NAME            name that clients may call this service by; may be repeated [default: any, with a token]
  --data-dir DIR         tasks and their output [default: /data]
  --max-running N        tasks at one time [default: 16]
  --max-queued N         tasks of one tenant that may wait [default: 1000]
  --retain-days DAYS     for which tasks that have ended are kept [default: 30]
  --retain-tasks N       of which so many are kept for each tenant [default: 100000]
  --retain-size SIZE     of output and database, such as 20GiB; the oldest go first [default: a tenth of the volume]
  --retain-saved HOURS   for which tasks are kept that nobody asks to run [default: 24]
  --trace-size SIZE      of recorded requests, for `cargo xtask size`; 0 records none [default: 64MiB]
  --timeout SECONDS      until a task's program is killed [default: 600]
  --grace SECONDS        for tasks that cannot live without this process [default: 10]; on a cluster they can";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To be told about the flags.
    Help,
    /// To be told the version.
    Version,
    /// Whether another process serves there.
    Probe(SocketAddr),
    /// To serve.
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

/// Reads it.
///
/// # Errors
/// A flag is not known, lacks its value or has one that makes no sense.
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
    fn every_flag_that_is_told_about_is_taken() {
        let line = "--driver-config /d --kubeconfig /k --listen 0.0.0.0:80 --token-file /t --host a --host b \
                    --data-dir /x --max-running 1 --max-queued 2 --retain-days 3 --retain-tasks 4 --retain-size 1GiB \
                    --retain-saved 6 --trace-size 2MiB --timeout 5 --grace 0";
        let Command::Serve(serve) = parsed(line).unwrap() else {
            panic!("it serves");
        };
        assert_eq!(serve.reach, Reach::Kubeconfig("/k".into()));
        assert_eq!(serve.names, ["a", "b"]);
        assert_eq!((serve.settings.running, serve.settings.timeout_s), (1, 5));
        assert_eq!(
            (serve.settings.retain_bytes, serve.trace_bytes),
            (Some(1 << 30), 2 << 20)
        );
        let told = USAGE.lines().filter_map(|line| line.trim().strip_prefix("--"));
        for flag in told.filter_map(|line| line.split_whitespace().next()) {
            assert!(line.contains(&format!("--{flag} ")), "{flag}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
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
