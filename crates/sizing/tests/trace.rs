//! Traces that were written are read; what is wrong with a trace is reported by line, and the rest counts.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use hybrid_cache_sizing::trace::{
    Anonymiser, Definition, FaultKind, Faults, Header, Met, PartLine, Reader, RequestLine, ResidentEnvironment,
    ResidentVolume, TraceError, UseLine, VERSION, Writer,
};
use hybrid_cache_sizing::{Catalog, Event, Volume, Weight};

const SECOND: u64 = 1_000_000;

fn part(id: &str, bytes: u64) -> PartLine {
    PartLine::New(id.to_owned(), bytes, 1)
}

fn made_of(parts: &[(&str, u64)]) -> Definition {
    Definition {
        label: "numpy".to_owned(),
        own: Weight::new(10, 2),
        parts: parts.iter().map(|(id, bytes)| part(id, *bytes)).collect(),
    }
}

fn asked(environment: &str, result: Met, made_of: Option<Definition>) -> Option<UseLine> {
    Some(UseLine {
        request: format!("request-{environment}"),
        environment: environment.to_owned(),
        result,
        downloaded_bytes: 5,
        made_of,
    })
}

fn request(at_s: u64, environment: &str, result: Met) -> RequestLine {
    RequestLine {
        at_us: at_s * SECOND,
        tenant: "default".to_owned(),
        python: asked(environment, result, Some(made_of(&[("shared", 100), (environment, 7)]))),
        wait_us: Some(1500),
        phases_us: [
            ("python_install", 900),
            ("python_publish", 50),
            ("user_code", 7),
            ("system_realise", 3),
        ]
        .map(|(name, us)| (name.to_owned(), us))
        .into(),
        ..RequestLine::default()
    }
}

fn header() -> Header {
    Header {
        hybrid_cache_trace: VERSION,
        begun_us: 1000 * SECOND,
        max_age_s: Some(3600),
        python: Some(ResidentVolume {
            rest: Weight::new(4096, 3),
            environments: [("late", 900), ("early", 800)]
                .map(|(key, used_s)| ResidentEnvironment {
                    environment: key.to_owned(),
                    used_us: used_s * SECOND,
                    made_of: made_of(&[("shared", 100)]),
                })
                .into(),
        }),
        system: None,
    }
}

fn written(requests: Vec<RequestLine>) -> Vec<String> {
    let mut writer = Writer::default();
    let mut lines = vec![writer.header(header()).unwrap()];
    lines.extend(requests.into_iter().map(|line| writer.request(line).unwrap()));
    lines
}

fn read(lines: &[String]) -> Result<(Vec<Event>, Catalog, Faults), TraceError> {
    let mut reader = Reader::new();
    let mut events = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_whole = at + 1 < lines.len();
        reader.line(line.as_bytes(), is_whole, &mut |event| events.push(event.clone()))?;
    }
    let (catalog, faults) = reader.finish()?;
    Ok((events, catalog, faults))
}

fn kinds(faults: &Faults) -> Vec<(u64, &FaultKind)> {
    faults.first.iter().map(|fault| (fault.line, &fault.kind)).collect()
}

fn times(events: &[Event]) -> Vec<u64> {
    let requests = events.iter().filter_map(|event| match event {
        Event::Request(request) => Some(request.at_us / SECOND),
        Event::Resident(..) => None,
    });
    requests.collect()
}

#[test]
fn a_written_trace_is_read_back_and_repeated_things_are_only_named() {
    let lines = written(vec![
        request(1001, "a", Met::Miss),
        request(1002, "b", Met::Miss),
        request(1003, "a", Met::Hit),
    ]);
    // The header says what `shared` takes.
    assert!(lines[1].contains(r#""parts":["shared",["a",7,1]]"#), "{}", lines[1]);
    assert!(!lines[3].contains("made_of"), "{}", lines[3]);
    let (events, catalog, faults) = read(&lines).unwrap();
    assert_eq!(faults.count, 0, "{faults:?}");
    let python = catalog.volume(Volume::Python);
    let keys: Vec<&str> = python.environments().iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["late", "early", "a", "b"]);
    // Least recently used first.
    assert_eq!(
        events[..2],
        [Event::Resident(Volume::Python, 1), Event::Resident(Volume::Python, 0)]
    );
    assert_eq!(
        (python.rest, python.weight(2)),
        (Weight::new(4096, 3), Weight::new(117, 4))
    );
    let Event::Request(first) = &events[2] else {
        panic!("{events:?}")
    };
    let used = first.on(Volume::Python).unwrap();
    assert_eq!(
        (used.met, used.prepare_us, first.wait_us, used.downloaded_bytes),
        (Met::Miss, Some(900), Some(1500), 5)
    );
    assert!(first.on(Volume::System).is_none());
}

#[test]
fn a_request_is_due_if_it_expired_or_is_missed_beyond_its_age() {
    let asked = vec![
        request(1001, "a", Met::Miss),
        request(1002, "a", Met::Hit),
        request(3000, "a", Met::Miss),
        request(7000, "a", Met::Miss),
        request(7001, "a", Met::Expired),
    ];
    let (events, ..) = read(&written(asked)).unwrap();
    let due: Vec<bool> = events[2..]
        .iter()
        .map(|event| matches!(event, Event::Request(request) if request.on(Volume::Python).unwrap().is_due))
        .collect();
    assert_eq!(due, [false, false, false, true, true]);
}

#[test]
fn faulty_lines_are_reported_by_number_and_the_others_count() {
    let mut lines = written(vec![
        request(1001, "a", Met::Miss),
        request(1010, "a", Met::Hit),
        request(1005, "a", Met::Hit),
        request(1011, "a", Met::Hit),
    ]);
    lines[2] = lines[2]
        .replacen("\"at_us\"", "\"colour\":\"red\",\"at_us\"", 1)
        .replacen("\"result\"", "\"mood\":3,\"result\"", 1);
    lines.insert(3, "{\"at_us\":".to_owned());
    lines.push(r#"{"at_us":1012000000,"python":{"request":"r","environment":"nowhere","result":"hit"}}"#.to_owned());
    let more = r#"{"at_us":1013000000,"python":{"request":"r","environment":"x","result":"hit","made_of":{"parts":["lost"]}}}"#;
    lines.push(more.to_owned());
    lines.push(lines[1][..30].to_owned());
    let (events, _, faults) = read(&lines).unwrap();
    assert_eq!(times(&events), [1001, 1010, 1010, 1011, 1013]);
    let reported = kinds(&faults);
    let lines: Vec<u64> = reported.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5, 7, 8, 9], "{reported:?}");
    let FaultKind::UnknownFields(names) = reported[0].1 else {
        panic!("{reported:?}")
    };
    assert!(names.contains("colour") && names.contains("mood"), "{names}");
    assert!(matches!(reported[1].1, FaultKind::Malformed(_)));
    assert_eq!(reported[2].1, &FaultKind::OutOfOrder(5 * SECOND));
    assert_eq!(reported[3].1, &FaultKind::UnknownEnvironment("nowhere".to_owned()));
    assert_eq!(
        (reported[4].1, reported[5].1),
        (&FaultKind::UnknownParts(1), &FaultKind::Truncated)
    );
}

#[test]
fn time_goes_on_when_the_clock_is_set_back() {
    let day = 86_400;
    let asked = vec![
        request(2_000_000, "a", Met::Miss),
        request(2_000_000 - day, "a", Met::Hit),
        request(2_000_060 - day, "a", Met::Hit),
        request(9_000_000, "a", Met::Hit),
    ];
    let (events, _, faults) = read(&written(asked)).unwrap();
    assert_eq!(times(&events), [2_000_000, 2_000_000, 2_000_060, 9_000_000 + day]);
    let reported = kinds(&faults);
    assert_eq!(reported[0], (3, &FaultKind::ClockStep(day * SECOND)));
    assert!(
        matches!(reported[1], (5, FaultKind::Gap(_))) && reported.len() == 2,
        "{reported:?}"
    );
}

#[test]
fn a_file_that_is_not_a_trace_is_refused_with_the_reason() {
    let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let of = |lines: &[&str]| read(&text(lines)).unwrap_err();
    assert_eq!(of(&[]), TraceError::Empty);
    assert_eq!(
        of(&[r#"{"hybrid_cache_trace":2,"begun_us":0}"#]),
        TraceError::Version { found: 2 }
    );
    for first in ["", "hello", "{}", r#"{"at_us":1}"#, "\0\0\0"] {
        assert_eq!(of(&[first, "x"]), TraceError::NoHeader, "{first:?}");
    }
    assert_eq!(
        of(&[r#"{"hybrid_cache_trace":1,"begun_us":0}"#]),
        TraceError::NoRequests
    );
}

#[test]
fn concatenated_files_are_one_trace_and_another_version_is_left_out() {
    let mut lines = written(vec![request(1001, "a", Met::Miss)]);
    lines.extend(written(vec![request(1002, "a", Met::Hit)]));
    lines.push(r#"{"hybrid_cache_trace":7,"begun_us":0}"#.to_owned());
    lines.push(r#"{"at_us":1003000000,"something":"else"}"#.to_owned());
    lines.extend(written(vec![request(1004, "a", Met::Hit)]));
    let (events, catalog, faults) = read(&lines).unwrap();
    assert_eq!(times(&events), [1001, 1002, 1004]);
    let residents = events
        .iter()
        .filter(|event| matches!(event, Event::Resident(..)))
        .count();
    assert_eq!((residents, catalog.volume(Volume::Python).environments().len()), (2, 3));
    assert_eq!(kinds(&faults), [(5, &FaultKind::OtherVersion(7))]);
}

#[test]
fn endless_faults_are_counted_and_only_the_first_are_kept() {
    let mut lines = written(vec![request(1001, "a", Met::Miss)]);
    lines.extend((0..5000).map(|_| "nonsense".to_owned()));
    lines.push(String::new());
    let (_, _, faults) = read(&lines).unwrap();
    assert_eq!((faults.count, faults.first.len()), (5000, 20));
}

#[test]
fn an_anonymised_trace_has_no_names_and_the_same_distances() {
    let asked = || {
        vec![
            request(1001, "a", Met::Miss),
            request(1002, "b", Met::Miss),
            request(1003, "a", Met::Hit),
        ]
    };
    let lines = written(asked());
    let mut anonymiser = Anonymiser::default();
    let mut nameless = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        nameless.push(if at == 0 {
            serde_json::to_string(&anonymiser.header(serde_json::from_str(line).unwrap())).unwrap()
        } else {
            serde_json::to_string(&anonymiser.request(serde_json::from_str(line).unwrap())).unwrap()
        });
    }
    let text = nameless.join("\n");
    for name in ["default", "numpy", "shared", "request-a", "early", "\"a\"", "\"b\""] {
        assert!(
            lines.join("\n").contains(name) && !text.contains(name),
            "{name}: {text}"
        );
    }
    let (events, catalog, faults) = read(&lines).unwrap();
    let (hidden, hidden_catalog, _) = read(&nameless).unwrap();
    let environments = |events: &[Event]| -> Vec<u32> {
        events
            .iter()
            .map(|event| match event {
                Event::Request(request) => request.on(Volume::Python).unwrap().environment,
                Event::Resident(_, environment) => *environment,
            })
            .collect()
    };
    assert_eq!((faults.count, environments(&events)), (0, environments(&hidden)));
    assert_eq!(
        catalog.volume(Volume::Python).union(),
        hidden_catalog.volume(Volume::Python).union()
    );
}
