//! Files of a trace on a real disk, read back by the reader of the format.

use hybrid_cache_model::contents::{EnvironmentContents, PartContents, VolumeContents};
use hybrid_cache_sizing::trace::{Definition, FaultKind, Faults, Met, PartLine, Reader, VERSION};
use hybrid_cache_sizing::{Catalog, Event};

use super::*;
use crate::trace::line::LineUse;

fn line(environment: &str, made_of: Option<Definition>) -> Line {
    let asked = LineUse {
        key: format!("request-{environment}"),
        request: format!("request-{environment}"),
        environment: Some(environment.to_owned()),
        met: if made_of.is_some() { Met::Miss } else { Met::Hit },
        downloaded_bytes: 7,
        made_of,
    };
    Line {
        at_us: now_us(),
        tenant: Default::default(),
        wait_us: Some(1000),
        phases_us: Default::default(),
        uses: [Some(asked), None],
    }
}

fn made_of(part: &str) -> Option<Definition> {
    Some(Definition {
        label: "numpy".to_owned(),
        own: (4096, 3).into(),
        parts: vec![PartLine::New(part.to_owned(), 1 << 20, 100)],
    })
}

fn header() -> Header {
    Header {
        hybrid_cache_trace: VERSION,
        begun_us: now_us(),
        ..Header::default()
    }
}

fn folder(dir: &Path, max_bytes: u64) -> TraceFolder {
    TraceFolder::new(TraceConfig {
        folder: dir.join("trace"),
        max_bytes,
    })
}

fn append(folder: &mut TraceFolder, lines: Vec<Line>) {
    let (mut queue, mut supplement) = (VecDeque::from(lines), Supplement::default());
    loop {
        match folder.append(&mut queue, &mut supplement).unwrap() {
            Lack::Nothing => return,
            Lack::Header => supplement.header = Some(header()),
            lack => panic!("{lack:?} for {queue:?}"),
        }
    }
}

fn read(dir: &Path) -> (Vec<Event>, Catalog, Faults) {
    let (mut reader, mut events) = (Reader::new(), Vec::new());
    for file in files_in(&dir.join("trace")).unwrap() {
        for line in fs::read(file).unwrap().split_inclusive(|byte| *byte == b'\n') {
            let is_whole = line.ends_with(b"\n");
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            reader
                .line(text, is_whole, &mut |event| events.push(event.clone()))
                .unwrap();
        }
    }
    let (catalog, faults) = reader.finish().unwrap();
    (events, catalog, faults)
}

#[test]
fn appended_lines_are_read_and_an_environment_is_defined_once_by_any_process() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (folder(dir.path(), 1 << 20), folder(dir.path(), 1 << 20));
    append(&mut one, vec![line("a", made_of("p"))]);
    append(&mut other, vec![line("a", None), line("b", made_of("p"))]);
    append(&mut one, vec![line("b", None), line("b", made_of("p"))]);
    let (events, catalog, faults) = read(dir.path());
    assert_eq!((events.len(), faults.count), (5, 0), "{faults:?}");
    let python = catalog.volume(Volume::Python);
    assert_eq!((python.environments().len(), python.parts().len()), (2, 1));
    let text = fs::read_to_string(&files_in(&dir.path().join("trace")).unwrap()[0]).unwrap();
    assert_eq!(text.matches("made_of").count(), 2, "{text}");
    let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777;
    assert_eq!(mode(&dir.path().join("trace")), 0o700);
    assert_eq!(mode(&files_in(&dir.path().join("trace")).unwrap()[0]), 0o600);
}

#[test]
fn old_files_are_deleted_and_the_rest_stays_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let max_bytes = 64 << 10;
    let mut folder = folder(dir.path(), max_bytes);
    let mut numbers = HashSet::new();
    for round in 0..200 {
        let lines = (0..20).map(|number| line(&format!("environment-{round}-{number}"), made_of(&format!("p{round}"))));
        append(&mut folder, lines.collect());
        let entries = fs::read_dir(dir.path().join("trace")).unwrap().flatten();
        let held: u64 = entries.map(|entry| entry.metadata().unwrap().len()).sum();
        // A file is full with the line that fills it.
        assert!(held <= max_bytes + 4096, "{held} in round {round}");
        numbers.extend(files_in(&dir.path().join("trace")).unwrap());
    }
    let files = files_in(&dir.path().join("trace")).unwrap();
    assert!(
        numbers.len() > 20 && (3..=9).contains(&files.len()),
        "{} {files:?}",
        numbers.len()
    );
    let lists = fs::read_dir(dir.path().join("trace")).unwrap().flatten();
    let lists = lists.filter(|entry| entry.path().extension().is_some_and(|end| end == "known"));
    assert!(lists.count() <= files.len());
    // Each file stands alone, so a trace without its beginning is one.
    let (events, _, faults) = read(dir.path());
    assert!(events.len() > 50 && faults.count == 0, "{} {faults:?}", events.len());
}

#[test]
fn an_incomplete_line_of_a_crash_is_reported_and_the_rest_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = folder(dir.path(), 1 << 20);
    append(&mut first, vec![line("a", made_of("p"))]);
    let file = &files_in(&dir.path().join("trace")).unwrap()[0];
    let mut torn = OpenOptions::new().append(true).open(file).unwrap();
    torn.write_all(b"{\"at_us\":17,\"tenant\":\"def").unwrap();
    let (events, _, faults) = read(dir.path());
    assert_eq!((events.len(), &faults.first[0].kind), (1, &FaultKind::Truncated));
    append(&mut folder(dir.path(), 1 << 20), vec![line("a", None)]);
    let (events, _, faults) = read(dir.path());
    assert_eq!((events.len(), faults.count), (2, 1), "{faults:?}");
    assert!(matches!(faults.first[0].kind, FaultKind::Malformed(_)), "{faults:?}");
}

#[test]
fn concurrent_writers_lose_nothing_and_mix_no_lines() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = dir.path();
            scope.spawn(move || {
                let mut folder = folder(path, 1 << 20);
                for number in 0..100 {
                    let environment = format!("{}", (writer + number) % 7);
                    append(&mut folder, vec![line(&environment, made_of("p"))]);
                }
            });
        }
    });
    let (events, catalog, faults) = read(dir.path());
    assert_eq!((events.len(), faults.count), (400, 0), "{faults:?}");
    assert_eq!(catalog.volume(Volume::Python).environments().len(), 7);
    let times = events.iter().filter_map(|event| match event {
        Event::Request(request) => Some(request.at_us),
        Event::Resident(..) => None,
    });
    assert!(times.is_sorted());
}

#[test]
fn an_undefined_environment_is_looked_up_and_left_out_if_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = folder(dir.path(), 1 << 20);
    append(&mut folder, vec![line("a", made_of("p"))]);
    let mut queue = VecDeque::from([
        line("a", None),
        line("known", None),
        line("gone", None),
        line("a", None),
    ]);
    let mut supplement = Supplement::default();
    assert_eq!(folder.append(&mut queue, &mut supplement).unwrap(), Lack::Definition);
    assert_eq!(queue.len(), 3);
    let listed = VolumeContents {
        rest: (0, 0),
        parts: vec![PartContents("p".to_owned(), 1 << 20, 100)],
        environments: vec![EnvironmentContents {
            name: "known".to_owned(),
            label: "numpy".to_owned(),
            used_us: 1,
            own: (8192, 2),
            parts: vec![0],
        }],
    };
    supplement.contents = Some(Contents {
        python: Some(listed),
        system: None,
    });
    assert_eq!(folder.append(&mut queue, &mut supplement).unwrap(), Lack::Definition);
    assert_eq!(queue.len(), 2);
    supplement.leaves_out_undefined = true;
    assert_eq!(folder.append(&mut queue, &mut supplement).unwrap(), Lack::Nothing);
    let (events, catalog, faults) = read(dir.path());
    assert_eq!((events.len(), faults.count), (4, 0), "{faults:?}");
    let python = catalog.volume(Volume::Python);
    let known = python.find("known").unwrap();
    assert_eq!(python.weight(known).bytes, (1 << 20) + 8192);
}

#[test]
fn a_header_that_lists_too_much_drops_the_least_recently_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = folder(dir.path(), 64 << 10);
    let environments = (0..500).map(|number| hybrid_cache_sizing::trace::ResidentEnvironment {
        environment: format!("environment-{number}"),
        used_us: number,
        made_of: made_of("p").unwrap(),
    });
    let mut supplement = Supplement {
        header: Some(Header {
            python: Some(ResidentVolume {
                environments: environments.collect(),
                ..ResidentVolume::default()
            }),
            ..header()
        }),
        ..Supplement::default()
    };
    let mut queue = VecDeque::from([line("environment-499", None)]);
    assert_eq!(folder.append(&mut queue, &mut supplement).unwrap(), Lack::Nothing);
    let (_, catalog, faults) = read(dir.path());
    let python = catalog.volume(Volume::Python);
    assert!(python.find("environment-499").is_some() && python.find("environment-0").is_none());
    assert_eq!(faults.count, 0, "{faults:?}");
}
