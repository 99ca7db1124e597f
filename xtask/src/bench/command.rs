//! Writes command lines for a bench run: its own for the report, and that of its own task service.

use std::ffi::OsString;
use std::path::Path;

use clap::ValueEnum;

use crate::flags::{self, DriverName};

/// The command as a reader would type it again, without the paths of this machine.
pub fn for_report(flags: &flags::Bench) -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    if let Some(url) = &flags.service_url {
        words.push(format!("--service-url {url}"));
    } else if flags.driver != DriverName::Local {
        words.push(format!("--driver {}", name_of(flags.driver)));
    }
    words.extend(flags.standby.map(|standby| format!("--standby {standby}")));
    words.extend(flags.scenario.iter().map(|name| format!("--scenario {name}")));
    if let Some(per_s) = flags.load {
        words.push(format!("--load {per_s} --load-seconds {}", flags.load_seconds));
        return words.join(" ");
    }
    match &flags.against {
        // The path of a program says nothing elsewhere.
        Some(named) if Path::new(named).is_file() => words.push("--against PROGRAM".to_owned()),
        Some(revision) => words.push(format!("--against {revision}")),
        None if flags.self_check => words.push("--self-check".to_owned()),
        None => {}
    }
    words.extend((flags.peers != "default").then(|| format!("--peers {}", flags.peers)));
    if let Some(mode) = &flags.mirror {
        let (kbits, us) = (flags.mirror_bandwidth / 1000, flags.mirror_rtt);
        let network = format!(" --mirror-bandwidth {kbits}kbit --mirror-rtt {us}us");
        words.push(format!(
            "--mirror {mode}{}",
            if mode == "replay" { network } else { String::new() }
        ));
    }
    words.extend(flags.seed.map(|seed| format!("--seed {seed}")));
    if let Some(each) = flags.levels {
        words.push(format!(
            "--levels {each} --runs-from-nothing {}",
            flags.runs_from_nothing
        ));
        return words.join(" ");
    }
    if let Some(width) = flags.until {
        words.push(format!("--until {width} --until-minutes {}", flags.until_minutes));
        return words.join(" ");
    }
    words.extend((flags.service_url.is_none()).then(|| format!("--first-runs {}", flags.first_runs)));
    words.push(format!("--cached-runs {}", flags.cached_runs));
    words.extend((flags.uncached_runs > 0).then(|| format!("--uncached-runs {}", flags.uncached_runs)));
    words.join(" ")
}

fn name_of(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The options of `run` that correspond to those of `bench`: those that decide what a task may do, in the words of older builds.
pub fn for_run(flags: &flags::Bench) -> Vec<OsString> {
    let local = &flags.local;
    let mut words: Vec<OsString> = vec!["--no-trace".into()];
    words.extend(["--network".into(), name_of(local.network()).into()]);
    words.extend(["--nix-provider".into(), name_of(local.choice.nix_provider).into()]);
    words.extend(["--package-source".into(), name_of(local.choice.package_source).into()]);
    let switches = [
        (local.private_index, "--private-index"),
        (local.no_builds, "--no-builds"),
    ];
    let set = switches.iter().filter(|(is_set, _)| *is_set);
    words.extend(set.map(|(_, flag)| OsString::from(flag)));
    words
}

/// The arguments of `serve` that correspond to those of `bench`. The service records no requests and ends with this process.
pub fn for_service(flags: &flags::Bench, data: &Path, token_file: &Path) -> Vec<OsString> {
    let fixed = "serve --with-parent --no-trace --listen 127.0.0.1:0 --grace 5";
    let mut words: Vec<OsString> = fixed.split(' ').map(OsString::from).collect();
    let mut say = |flag: &str, value: OsString| words.extend([flag.into(), value]);
    let flags::Local {
        cache_dir,
        choice,
        network: _,
        no_network: _,
        private_index,
        no_builds,
        no_trace: _,
        bounds,
    } = &flags.local;
    say("--data-dir", data.into());
    say("--token-file", token_file.into());
    say("--driver", name_of(flags.driver).into());
    say("--nix-provider", name_of(choice.nix_provider).into());
    say("--package-source", name_of(choice.package_source).into());
    say("--network", name_of(flags.local.network()).into());
    for (flag, path) in [("--cache-dir", cache_dir), ("--settings", &flags.cluster.settings)] {
        if let Some(path) = path {
            say(flag, path.into());
        }
    }
    let sizes = [
        ("--tmp-size", bounds.tmp_size),
        ("--shm-size", bounds.shm_size),
        ("--memory", bounds.memory),
        ("--max-processes", bounds.max_processes),
        ("--max-open-files", bounds.max_open_files),
    ];
    for (flag, size) in sizes {
        if let Some(size) = size {
            say(flag, size.to_string().into());
        }
    }
    if let Some(standby) = flags.standby {
        say("--standby", standby.to_string().into());
    }
    if flags.driver != DriverName::Local {
        match &flags.cluster.context {
            Some(context) => {
                say("--context", context.into());
                say("--namespace", flags.cluster.namespace.clone().into());
            }
            None => say("--name", flags.cluster.name.clone().into()),
        }
    }
    let switches = [(private_index, "--private-index"), (no_builds, "--no-builds")];
    let set = switches.iter().filter(|(is_set, _)| **is_set);
    words.extend(set.map(|(_, flag)| flag.into()));
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::place::{NetworkName, SourceName};
    use crate::flags::{Command, Flags};

    #[test]
    fn both_builds_are_told_what_the_bench_was_told_and_the_report_names_the_revision() {
        let typed = "xtask bench --against main --seed 7 --no-network --private-index --package-source debnix";
        let Command::Bench(bench) = Flags::try_parse_from(typed.split(' ')).unwrap().command else {
            panic!("this is bench");
        };
        let command = for_report(&bench);
        assert_eq!(
            command,
            "cargo xtask bench --against main --seed 7 --first-runs 3 --cached-runs 36"
        );
        let typed = "xtask bench --until 2% --until-minutes 5";
        let Command::Bench(until) = Flags::try_parse_from(typed.split(' ')).unwrap().command else {
            panic!("this is bench");
        };
        assert_eq!(for_report(&until), "cargo xtask bench --until 0.02 --until-minutes 5");
        let typed = "xtask bench --levels 12 --seed 3";
        let Command::Bench(levels) = Flags::try_parse_from(typed.split(' ')).unwrap().command else {
            panic!("this is bench");
        };
        let command = "cargo xtask bench --seed 3 --levels 12 --runs-from-nothing 3";
        assert_eq!(for_report(&levels), command);
        let words = ["xtask", "run", "--json", "task.json"]
            .map(OsString::from)
            .into_iter()
            .chain(for_run(&bench));
        let Command::Run(run) = Flags::try_parse_from(words).unwrap().command else {
            panic!("this is run");
        };
        assert_eq!(run.local.network(), NetworkName::None);
        assert_eq!(run.local.choice.package_source, SourceName::Debnix);
        assert!(run.local.private_index && !run.local.no_builds && run.local.no_trace);
    }

    #[test]
    fn the_service_is_told_what_the_bench_was_told() {
        let typed = "xtask bench --load 5 --driver kube --standby 2..8 --context here --namespace there --network none --private-index --no-builds \
                     --memory 1MiB --cache-dir /caches --package-source debnix --settings /settings.yaml";
        let Command::Bench(bench) = Flags::try_parse_from(typed.split(' ')).unwrap().command else {
            panic!("this is bench");
        };
        assert_eq!(
            for_report(&bench),
            "cargo xtask bench --driver kube --standby 2..8 --load 5 --load-seconds 60"
        );
        let words = for_service(&bench, Path::new("/folder/data"), Path::new("/token"));
        let words = std::iter::once("xtask".into()).chain(words);
        let Command::Serve(serve) = Flags::try_parse_from(words).unwrap().command else {
            panic!("this is serve");
        };
        assert_eq!(serve.driver, DriverName::Kube);
        assert_eq!(serve.standby, bench.standby);
        assert_eq!(serve.cluster.context.as_deref(), Some("here"));
        assert_eq!(serve.cluster.namespace, "there");
        assert_eq!(serve.local.network(), NetworkName::None);
        assert_eq!(serve.local.choice.package_source, SourceName::Debnix);
        assert_eq!(serve.local.bounds.memory, Some(1 << 20));
        assert_eq!(serve.cluster.settings.as_deref(), Some(Path::new("/settings.yaml")));
        assert!(serve.local.private_index && serve.local.no_builds && serve.local.no_trace && serve.with_parent);
        assert_eq!(serve.data_dir.as_deref(), Some(Path::new("/folder/data")));
        assert_eq!(serve.token_file.as_deref(), Some(Path::new("/token")));
    }
}
