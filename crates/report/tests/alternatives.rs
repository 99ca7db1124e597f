//! What people would use instead, in every rendering; and the kubelet's delay, which no figure includes.

mod fixture;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{AbsentPeer, Acceptance, FailedPeer, Peer, PeerSample, RunRecord};
use hybrid_cache_report::{Color, FigureKind, Summary, html, markdown, terminal, write_run};

/// How many times as long as our run each peer takes.
const TIMES: [(Peer, u64); 5] = [
    (Peer::PexVenv, 1),
    (Peer::UvRunScript, 3),
    (Peer::UvRunWith, 4),
    (Peer::UvVenv, 5),
    (Peer::PipVenv, 50),
];

/// The fixture with alternatives of two scenarios; pex is missing for the second one, and `uv run --with` fails there.
fn record() -> RunRecord {
    let mut record = fixture::record();
    for name in ["python-only", "large-wheel"] {
        let own = record.samples.iter().filter(|sample| sample.scenario == name);
        let own =
            own.filter(|sample| sample.temperature == Temperature::Cached && sample.acceptance == Acceptance::Accepted);
        let own: Vec<_> = own
            .map(|sample| (sample.sequence, sample.place, sample.wall_us))
            .collect();
        for (peer, times) in TIMES {
            match (name, peer) {
                ("large-wheel", Peer::PexVenv) => record.absent_peers.push(AbsentPeer {
                    scenario: name.into(),
                    peer,
                    reason: "no index has it".into(),
                }),
                ("large-wheel", Peer::UvRunWith) => {
                    record
                        .failed_peers
                        .extend(own.iter().map(|(sequence, place, _)| FailedPeer {
                            scenario: name.into(),
                            peer,
                            sequence: *sequence,
                            place: *place,
                            reason: "uv ended with exit status: 2:\nno such index".into(),
                        }))
                }
                _ => record
                    .peers
                    .extend(own.iter().map(|(sequence, place, wall_us)| PeerSample {
                        scenario: name.into(),
                        peer,
                        sequence: *sequence,
                        place: *place,
                        // The clock of the peer is a little off, so that no two pairs are alike.
                        wall_us: wall_us * times + u64::from(*sequence) * wall_us / 4000,
                        runner_us: None,
                        state_us: None,
                    })),
            }
        }
    }
    record
}

fn part<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("{from} is not in: {text}"));
    let end = text[start + from.len()..]
        .find(to)
        .map_or(text.len(), |at| start + from.len() + at);
    &text[start..end]
}

#[test]
fn the_terminal_and_the_markdown_read_well() {
    for (name, width) in [("terminal-wide", 132), ("terminal-narrow", 80)] {
        let text = terminal(&record(), width, Color::Plain);
        insta::assert_snapshot!(name, part(&text, "what people would use instead", "\nwarning:"));
    }
    insta::assert_snapshot!(
        "markdown",
        part(&markdown(&record()), "## What people would use instead", "\n## ")
    );
}

#[test]
fn a_ratio_is_taken_pair_by_pair_in_rounds() {
    let summary = Summary::from_record(&record());
    let of = |peer| {
        let mut all = summary.alternatives.iter();
        all.find(|one| one.scenario == "python-only" && one.peer == peer)
            .unwrap()
    };
    for (peer, times) in TIMES {
        let one = of(peer);
        let interval = one.ratio.interval.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let expected = 1.0 / times as f64;
        assert!(interval.low <= one.ratio.value && one.ratio.value <= interval.high);
        assert!(
            (expected * 0.9..=expected).contains(&one.ratio.value),
            "{peer:?}: {:?}",
            one.ratio
        );
        assert_eq!((one.ratio.rounds, one.pairs), (12, 36));
    }
    let order: Vec<Peer> = summary.alternatives.iter().map(|one| one.peer).take(3).collect();
    assert_eq!(
        order,
        [Peer::DirectExec, Peer::PexVenv, Peer::UvRunScript],
        "the limit comes first"
    );
    assert_eq!(
        summary.figures,
        Summary::from_record(&fixture::record()).figures,
        "no verdict depends on them"
    );
}

#[test]
fn what_was_not_measured_is_named_with_its_reason_and_the_scenario() {
    let missing = Summary::from_record(&record()).missing_peers;
    let reported: Vec<(Peer, &str)> = missing.iter().map(|one| (one.peer, one.reason.as_str())).collect();
    assert_eq!(
        reported,
        [
            (Peer::PexVenv, "not measured: no index has it"),
            (
                Peer::UvRunWith,
                "36 of 36 runs failed and do not count: uv ended with exit status: 2: no such index"
            )
        ]
    );
    assert!(missing.iter().all(|one| one.scenarios == ["large-wheel"]));
}

#[test]
fn a_run_that_was_not_asked_for_them_says_nothing_of_them() {
    let record = fixture::record();
    for text in [html(&record), markdown(&record), terminal(&record, 132, Color::Plain)] {
        assert!(!text.to_lowercase().contains("use instead"), "{text}");
    }
}

#[test]
fn a_peer_of_any_run_that_fails_is_named() {
    let mut record = fixture::record();
    record.failed_peers.push(FailedPeer {
        scenario: "python-only".into(),
        peer: Peer::PlainUv,
        sequence: 3,
        place: None,
        reason: "uv ended with exit status: 2".into(),
    });
    for text in [html(&record), markdown(&record), terminal(&record, 132, Color::Plain)] {
        assert!(
            text.contains("1 of 13 runs failed and do not count: uv ended with exit status: 2"),
            "{text}"
        );
        assert!(!text.contains("use instead"), "{text}");
    }
}

#[test]
fn the_picture_is_well_formed_described_and_holds_no_text_of_others_unescaped() {
    let mut record = record();
    record.absent_peers[0].reason = "<script>alert('x')</script>\u{1b}[2J".into();
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-alternatives");
    write_run(&dir, &record).unwrap();
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(!page.contains("<script"));
    let section = part(&page, "<section id=\"instead\"", "</section>").replace('\u{1b}', "") + "</section>";
    let document = roxmltree::Document::parse(&section).unwrap();
    let pictures: Vec<_> = document
        .descendants()
        .filter(|node| node.attribute("role") == Some("img"))
        .collect();
    assert_eq!(pictures.len(), 2, "one for each scenario with alternatives");
    for picture in pictures {
        let children: Vec<&str> = picture.children().map(|child| child.tag_name().name()).collect();
        assert_eq!(children[..2], ["title", "desc"]);
        let said: String = picture.descendants().filter_map(|node| node.text()).collect();
        assert!(
            said.contains("bare interpreter (the limit)") && said.contains("uv run --script"),
            "{said}"
        );
    }
}

#[test]
fn a_bare_pod_whose_end_was_seen_in_another_way_is_compared_with_nothing() {
    let mut record = fixture::cluster::record();
    let summary = Summary::from_record(&record);
    assert!(summary.figures_of(FigureKind::BarePod).count() > 0);
    assert!(summary.kubelet.iter().all(|one| one.delay.median_us > 400_000.0) && !summary.kubelet.is_empty());
    for text in [html(&record), markdown(&record), terminal(&record, 132, Color::Plain)] {
        assert!(
            text.to_lowercase().contains("kubelet's delay") && text.contains("412"),
            "{text}"
        );
    }
    // A record from before: its wall time ends with the container's state.
    record.peers.iter_mut().for_each(|peer| peer.state_us = None);
    let summary = Summary::from_record(&record);
    assert_eq!(
        (summary.figures_of(FigureKind::BarePod).count(), summary.kubelet.len()),
        (0, 0)
    );
    // Argo's tasks are seen to end there too.
    record.provenance.driver = "argo".into();
    assert!(Summary::from_record(&record).figures_of(FigureKind::BarePod).count() > 0);
}
